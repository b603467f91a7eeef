"""The command that draws what a finished run says."""

import pytest
from PIL import Image

from benchmarks.segments import main
from tests.train import runs
from tests.train.dense_runs import recipe, train
from tests.train.runs import OWN_RATE, RESIDUAL


@pytest.mark.parametrize("has_dec", [False, True])
def test_a_finished_run_is_drawn(tmp_path, has_dec, capsys):
    sites = [{"stage": "input", "grid_size": 4, "restore": True, "restore_at": "output"}]
    dec = {"method": {**RESIDUAL, "sites": sites}, "train": OWN_RATE}
    folder = tmp_path / "tiny" / "42"
    train(recipe(tmp_path, {"train": {"epochs": 0}}, dec if has_dec else {}), folder)
    main([str(folder), "--items", "2"])
    assert capsys.readouterr().out.rstrip().endswith("segments.png")
    with Image.open(folder / "segments.png") as image:
        assert image.width > (2.4 if has_dec else 1.6) * image.height


def test_another_kind_of_run_is_refused(tmp_path):
    folder = tmp_path / "tiny" / "42"
    runs.train(runs.recipe(tmp_path, {"train": {"epochs": 0}}), folder)
    with pytest.raises(SystemExit, match=r"has data of kind digits; expected a run of train_dense\.py"):
        main([str(folder)])
    with pytest.raises(SystemExit, match="expected the folder of a finished run"):
        main([str(tmp_path)])
