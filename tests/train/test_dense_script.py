"""The script for dense prediction, from its command line to its files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import train_dense
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
        assert len(items["image_iou"]) == len(items["index"]) == 9 and len(items["warp_image_iou"]) == 5


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
