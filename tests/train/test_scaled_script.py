"""The script for scaled networks on rescaled pictures, and on digits at local scales, from command line to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import train_scale
from config.load import load_recipes
from dataloader.build import build_splits
from tests.dataloader.scaled.pools import stl10_files
from tests.train import runs
from train.optim import rate_at

SETTINGS: dict[str, Any] = {
    "model": {"backbone": "mnist3_standard"},
    "data": {"name": "scaled/digits", "train_items": 64, "validation_items": 30},
    "train": {"epochs": 2, "patience": 2, "batch_size": 32, "device": "cpu"},
    "evaluation": {"items": 40, "warp_items": 4, "floor_items": 2, "scales": [1.0, 0.5]},
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> tuple[Path, Path]:
    """A file with a suite of a network, without and with random scales in training, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("suite")
    plus = {"extends": "plain", "data": {"rescale": [0.5, 2.0]}, "train": {"patience": None, "epochs": 1}}
    content = {"all": {"suite": ["plain", "plus"]}, "plain": SETTINGS, "plus": plus}
    file = folder / "recipes.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    train_scale.main(["--config_file", str(file), "--config", "all", "--run_dir", str(folder / "runs")])
    return file, folder / "runs"


def test_a_run_writes_what_is_known_of_every_factor(suite) -> None:
    _, root = suite
    summary = json.loads((root / "plain" / "42" / "summary.json").read_text())
    metrics = summary["metrics"]
    assert {"accuracy_at_1", "accuracy_at_0.5", "worst_factor_accuracy", "temperature"} <= metrics.keys()
    assert metrics["test_error"] == pytest.approx(1 - metrics["accuracy"])
    assert "local_scale_error" not in metrics and summary["best_epoch"] in (1, 2)
    bins = [name for name in metrics if name.startswith("factor_accuracy_at_")]
    assert 10 < len(bins) <= 18  # of 1.74 octaves


def test_a_suite_ends_with_a_table_and_curves_over_factors(suite) -> None:
    _, root = suite
    folder = root / "all" / "42"
    assert sorted(path.name for path in folder.iterdir()) == ["factors.png", "scales.png", "table.md"]
    text = (folder / "table.md").read_text()
    assert "test_error" in text and "factor_accuracy_at" not in text


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(suite, tmp_path) -> None:
    """With factors that are drawn anew, whose epochs begin in the middle."""
    file, _ = suite
    words = ["--config", "plain", "data.rescale=[0.5,2.0]", "data.fresh=true", "train.checkpoint_steps=1"]
    runs.train(file, tmp_path / "whole", *words, script=train_scale)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(runs.Stopped):
        runs.stop_after(patch, 3)
        runs.train(file, tmp_path / "run", *words, script=train_scale)
    runs.train(file, tmp_path / "run", *words, "--resume", script=train_scale)
    runs.assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_kind_of_a_recipe_is_that_of_the_data_it_names(suite) -> None:
    file, _ = suite
    places = ((file, "plus"), ("scale/stir.yaml", "quick_hermite"), ("mnist/quickstart.yaml", "quickstart_base"))
    of = {name: load_recipes(path, name, kind=train_scale.KINDS)[0][1].data.kind for path, name in places}
    assert of == {"plus": "scaled", "quick_hermite": "stir", "quickstart_base": "digits"}
    ((_, config),) = load_recipes(file, "plus", kind=train_scale.KINDS)
    assert (config.train.backbone_lr, config.train.schedule.name, config.train.epochs) == (0.01, "step", 1)


def test_other_kinds_are_refused(suite, capsys) -> None:
    file, _ = suite
    message = runs.refusal(
        capsys, "--config_file", str(file), "--config", "plain", "data.name=folder", script=train_scale
    )
    assert "data.name is folder, of pictures; expected scaled" in message


def test_a_canvas_that_the_network_is_not_made_for_is_refused_before_training(suite, tmp_path, capsys) -> None:
    file, _ = suite
    words = ["--config_file", str(file), "--config", "plain", "data.canvas=168", "data.interval=[1.0,8.0]"]
    message = runs.refusal(capsys, *words, "--run_dir", str(tmp_path / "large"), script=train_scale)
    assert "the model cannot take images of (1, 168, 168): Mnist3 has (11, 11) places" in message
    assert "model.image_size resizes them" in message
    train_scale.main([*words, "model.image_size=28", "--dry_run", "--run_dir", str(tmp_path / "run")])
    assert "two steps of 4 items ran" in capsys.readouterr().out


def test_stl10_trains_as_published_on_files_of_its_layout(tmp_path) -> None:
    images, _ = stl10_files(tmp_path)
    words = [f"data.root={tmp_path}", "data.train_items=30", "data.workers=0"]
    ((_, config),) = load_recipes("scale/stl10.yaml", "stl10_hermite_b", words, kind=train_scale.KINDS)
    assert config.model.backbone == "wrn16_8_hermite_b" and config.train.optimizer == "sgd"
    schedule = config.train.schedule
    rates = [rate_at(epoch, schedule, 1000, 0.1) for epoch in (0, 299, 300, 400, 600, 800, 999)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.004, 0.0008, 0.00016, 0.00016])
    splits = build_splits(config, seed=0)
    assert splits.train is not None and splits.watched is None and splits.calibration is None
    image, label, number = next(iter(splits.train))
    assert image.shape == (30, 3, 96, 96) and len(label) == 30
    items = splits.train.dataset.dataset
    clean = torch.from_numpy(images[items.draw.numbers[number]]).permute(0, 3, 1, 2) / 255
    is_black = (image == 0).all(1).float().mean((1, 2))  # the cut square, and what the shift left
    assert not torch.equal(image, clean) and is_black.min() > 0.02 and is_black.max() < 0.4
    tested, *_ = next(iter(splits.evaluated["test"].loader(splits.evaluated["test"].batches)))
    numbers = splits.evaluated["test"].composed.draw.numbers
    assert torch.equal((255 * tested).round().byte().permute(0, 2, 3, 1), torch.from_numpy(images[numbers]))
