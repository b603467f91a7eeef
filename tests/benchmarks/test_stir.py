"""Our runs stand beside what was published of the same system on the same kind of data, and beside nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.stir import comparison, published
from report.scale.protocol import scale_runs
from tests.report.scale.folders import write_run


def test_the_published_table_is_whole() -> None:
    """Eleven systems, four scenarios, two kinds of data; the last number that the notes have is in its place."""
    assert len(published()) == 11 * 4 * 2
    assert published()["mnist", 4, "conv3d"] == (94.7, 0.5) and published()["emoji", 2, "pixel_pool"] == (76.6, 3.9)


def test_a_system_is_compared_with_itself_alone(tmp_path: Path) -> None:
    """41.9 % is .8 published deviations of 3.7 points above the published 39.1 % of the plain network on faces."""
    faces = {"name": "stir/emoji-dejavu"}
    write_run(tmp_path, "standard", 1, known=0.838, data=faces)
    write_run(tmp_path, "rescale", 1, known=0.838, data=faces | {"rescale": [0.5, 2.0]})
    write_run(tmp_path, "pixel_pool_coarse", 1, known=0.838, data=faces)
    runs = scale_runs(tmp_path)
    beside = comparison(runs[0].protocol, runs)
    assert beside == {
        "published, mean (%)": {"standard": "39.1 ± 3.7"},
        "its deviations apart": {"standard": "+0.8"},
    }


def test_what_was_judged_by_other_items_is_beside_nothing_published(tmp_path: Path) -> None:
    write_run(tmp_path, "standard", 1, known=0.8, data={"name": "stir/emoji-dejavu"}, split="validation")
    runs = scale_runs(tmp_path)
    assert comparison(runs[0].protocol, runs) == {"published, mean (%)": {}, "its deviations apart": {}}
