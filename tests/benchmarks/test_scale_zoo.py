"""The gallery of scale-equivariant systems: its identities hold, its tables are written, and its figure is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from benchmarks import report, scale_zoo
from benchmarks.scale_identities import IDENTITIES, error_of
from benchmarks.scale_kernels import draw, rows
from models.scale_zoo.stir2 import SYSTEMS


@pytest.fixture
def results(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A folder for results, and as many threads afterwards as before."""
    threads = torch.get_num_threads()
    for module in (report, scale_zoo):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    yield tmp_path
    torch.set_num_threads(threads)


def test_every_system_has_an_identity() -> None:
    assert IDENTITIES.keys() == SYSTEMS.keys()


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_hold(name: str) -> None:
    error = error_of(name)
    assert 0 <= error <= IDENTITIES[name].bound
    assert error_of(name) == error


def test_a_quick_run_writes_tables_and_a_figure(results: Path, capsys) -> None:
    words = ["standard", "pixel_pool", "dss_v2", "ScaleCorrelation", "SiConv2d, all sides", scale_zoo.BASIS]
    scale_zoo.main(["--quick", "--repeats", "1", "--only", *words])
    told = json.loads((results / "scale_zoo.json").read_text())
    first, second = told["rows"]
    assert (first["system"], second["system"]) == ("standard", "dss_v2")  # without what --quick leaves out
    assert first["parameters"] == second["parameters"] == 26_250
    assert first["M"] == pytest.approx((58**2 * 16 * 49 + 52**2 * 32 * 16 * 49 + 320) / 1e6)
    assert second["M"] > first["M"] and second["error"] < 1e-12
    assert [row["layer"] for row in told["layers"]] == ["ScaleCorrelation"]
    assert told["basis"][0]["ms from disk"] < 1e3 * told["basis"][0]["seconds to solve"]
    text = (results / "scale_zoo.md").read_text()
    assert text.count("\n| --- |") == 3 and "hardware" in text and text.strip() in capsys.readouterr().out
    assert imread(results / "scale_zoo.png").std() > 0.05


@pytest.mark.parametrize("name", sorted(scale_zoo.LAYERS.keys() - set(scale_zoo.FULL)))
def test_bare_convolutions_make_as_much_as_the_layer(name: str) -> None:
    pair = scale_zoo.LAYERS[name]()
    with torch.no_grad():
        made, bare = pair.layer(pair.x), pair.bare(pair.bare_x)
    if name.startswith("SiConv2d"):
        assert len(bare) == made.shape[2]
    elif name == "KanazawaConv2d":
        assert bare.shape[1:] == made.shape[1:]
    else:
        assert sum(part.numel() for part in (bare if isinstance(bare, list) else [bare])) == made.numel()


def test_what_is_not_known_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        scale_zoo.main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_the_figure_has_four_scales_of_each_kind_and_is_small(tmp_path: Path) -> None:
    assert len(rows()) == 8
    for row in rows():
        assert len(row.kernels) == len(row.scales) == 4
        assert len({kernel.shape for kernel in row.kernels}) == 1  # one frame, in which sizes compare
    draw(tmp_path / "zoo.png")
    assert (tmp_path / "zoo.png").stat().st_size < 150_000
