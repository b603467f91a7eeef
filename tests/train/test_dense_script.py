"""The script for dense prediction, from its command line to its files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

import train_dense
from tests.dataloader.dense.test_sources import coco
from tests.train.dense_runs import TINY_DENSE, recipe, refusal, train
from tests.train.runs import OWN_RATE, RESIDUAL, Stopped, assert_same_run, stop_after


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped: its recipe and its folder."""
    folder = tmp_path_factory.mktemp("dense")
    file = recipe(folder, {"warp": {"probability": 0.5}})
    train(file, folder / "whole")
    return file, folder / "whole"


def test_a_run_tells_of_pixels(whole) -> None:
    metrics = json.loads((whole[1] / "summary.json").read_text())["metrics"]
    assert {"mean_iou", "image_iou", "iou_at_0", "pixel_accuracy", "warp_mean_iou"} <= metrics.keys()
    assert 0 < metrics["mean_iou"] < 1 and "accuracy" not in metrics and "temperature" not in metrics
    line = json.loads((whole[1] / "metrics.jsonl").read_text().splitlines()[0])
    assert 0 < line["train_pixel_accuracy"] < 1
    with np.load(whole[1] / "items.npz") as items:
        assert len(items["image_iou"]) == len(items["labelled_index"]) == 9 and len(items["warp_image_iou"]) == 5


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_numbers(whole, tmp_path, monkeypatch, steps) -> None:
    file, expected = whole
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, steps)
        train(file, tmp_path / "run", "train.checkpoint_steps=1")
    train(file, tmp_path / "run", "train.checkpoint_steps=1", "--resume")
    (tmp_path / "run" / "config.yaml").unlink()
    (tmp_path / "run" / "config.yaml").write_bytes((expected / "config.yaml").read_bytes())
    assert_same_run(tmp_path / "run", expected)


def test_a_finished_run_is_measured_again_to_the_same_numbers(whole) -> None:
    file, folder = whole
    train_dense.main(["--config_file", str(file), "--run_dir", str(folder), "--eval_only"])
    again, first = (
        json.loads((folder.with_name(name) / "summary.json").read_text()) for name in ("whole_eval", "whole")
    )
    assert again["metrics"] == first["metrics"]


def test_a_canonicalizer_learns_in_front_of_a_segmenter(tmp_path) -> None:
    """Undoing needs no label; equivariance, the two views and parts of batches go the way of classification."""
    sites = [{"stage": "input", "grid_size": 4}]
    settings = {
        "method": {**RESIDUAL, "sites": sites},
        "loss": {"two_views": True, "equivariance": {"weight": 0.1}, "undo": {"weight": 1.0}},
        "train": {**OWN_RATE, "epochs": 1, "accumulate": 2},
    }
    summary = train(recipe(tmp_path, settings), tmp_path / "run")
    assert {"undone", "displacement", "residual"} <= summary["metrics"].keys()
    assert "accuracy_bypassed" not in summary["metrics"]


def test_settings_of_other_data_are_refused(tmp_path, capsys) -> None:
    words = ["--config_file", str(recipe(tmp_path)), "--run_dir", str(tmp_path / "run")]
    assert "evaluation.local_scale_draws is set, which is about digits" in refusal(
        capsys, *words, "evaluation.local_scale_draws=3"
    )
    assert "data.name is digits, of digits; expected dense" in refusal(capsys, *words, "data.name=digits")
    assert "decoder.indices is [2, 1]; expected null" in refusal(capsys, *words, "model.decoder.indices=[2, 1]")
    assert "indices is [9]; expected increasing numbers below 5" in refusal(capsys, *words, "model.decoder.indices=[9]")
    assert TINY_DENSE["data"]["name"] == "dense/digits"


def test_a_mask_that_a_worker_finds_wrong_ends_in_one_line(tmp_path, capsys) -> None:
    """A mask that was exchanged after the start: those before it are checked where the run begins."""
    folder = coco(tmp_path / "set")
    with Image.open(folder / "images" / "1.png") as image:
        image.resize((10, 10)).save(folder / "images" / "1.png")
    data = {"name": "dense/coco", "root": str(folder), "side": 32, "workers": 1, "val_items": 1}
    file = tmp_path / "tiny.yaml"
    content = {"data": data, "model": {"backbone": "test_resnet"}, "train": {"epochs": 1, "batch_size": 2}}
    file.write_text(yaml.safe_dump({"tiny": content}))
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert message.strip().count("\n") == 0 and "1.png has 10 x 10 pixels; its annotations are for 30 x 20" in message
