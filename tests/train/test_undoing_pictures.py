"""A residual DEC that learns on pictures without labels, and a backbone that then goes on behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dataloader.pictures.shapes import draw
from models.build import read_weights
from tests.train.picture_runs import joined, recipe, refusal, train, write_pictures
from tests.train.runs import OWN_RATE

ALONE = {"trains": ["canonicalizer"], "terms": {"task": 0.0}}
EARLY: dict[str, Any] = {
    "data": {"side": 48},
    "augmentation": {"mixup": 0.0, "cutmix": 0.0, "erase": 0.0},
    "method": {
        "name": "dec",
        "equilibrium": "residual",
        "condition": "early",
        "sites": [{"stage": "input", "grid_size": 4}],
        "early": {"indices": [0, 1], "width": 8, "channels": [8], "pools": [1], "dilations": [1]},
        "solver": {"name": "fixed_point", "max_steps": 1, "early_stop": False},
        "images_at_once": 8,
    },
    "loss": {"undo": {"weight": 1.0}, "orbit": {"evaluations": 2, "grid_sizes": [4]}},
    "train": {**OWN_RATE, "phases": [ALONE]},
    "evaluation": {"evaluations": [1, 2], "strengths": [0.5], "interpolations": ["bicubic"]},
}
SIBLING: dict[str, Any] = {"loss": {"undo": {"weight": 0.0}, "sibling": {"weight": 1.0, "side": 32}}}
BACK = "backbone."


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("undo"))


@pytest.fixture(scope="module")
def canonicalizer(data: Path, tmp_path_factory) -> Path:
    """A finished run of a canonicalizer alone."""
    folder = tmp_path_factory.mktemp("run")
    train(recipe(folder, data, EARLY), folder / "run")
    return folder / "run"


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_canonicalizer_alone_is_measured_at_all_that_the_recipe_lists(canonicalizer: Path) -> None:
    metrics = json.loads((canonicalizer / "summary.json").read_text())["metrics"]
    listed = {"warp_accuracy_after_1", "accuracy_after_2", "warp_accuracy_at_0.5", "warp_accuracy_by_bicubic"}
    assert listed | {"undone", "displacement", "accuracy_bypassed", "warp_oracle_accuracy"} <= metrics.keys()
    assert [line["train_undo"] > 0 for line in lines(canonicalizer)[:2]] == [True, True]
    assert not any("train_task" in line for line in lines(canonicalizer))


def test_a_backbone_goes_on_behind_it(canonicalizer: Path, data: Path, tmp_path: Path) -> None:
    """The canonicalizer rests, and with it the copy that it reads early features from."""
    behind = {"loss": {"undo": {"weight": 0.0}}, "train": {"phases": [{"trains": ["backbone"]}]}}
    file = recipe(tmp_path, data, EARLY, behind)
    train(file, tmp_path / "run", f"warm_start={canonicalizer / 'model.safetensors'}")
    before, after = (read_weights(run / "model.safetensors") for run in (canonicalizer, tmp_path / "run"))
    assert before.keys() == after.keys()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if not name.startswith(BACK)} <= same
    assert f"{BACK}blocks.0.attn.qkv.weight" not in same


def test_siblings_are_members_of_the_pictures_groups(data: Path, tmp_path: Path) -> None:
    train(recipe(tmp_path, data, EARLY, SIBLING), tmp_path / "run")
    assert all(line["train_sibling"] > 0 for line in lines(tmp_path / "run")[:2])


def test_plain_pictures_have_no_siblings(tmp_path: Path, capsys) -> None:
    for split in ("train", "val"):
        for number in range(8):
            kind = ("disc", "square")[number % 2]
            path = tmp_path / "plain" / split / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(kind, 1.0, number).save(path)
    file = recipe(tmp_path, tmp_path / "plain", EARLY, SIBLING, {"data": {"train_samples": 6}})
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert "NAME_scale_1" in message and not (tmp_path / "run" / "state.pt").exists()


def test_mixed_pictures_have_no_siblings(data: Path, tmp_path: Path, capsys) -> None:
    mixed = joined(SIBLING, {"augmentation": {"mixup": 0.8}})
    file = recipe(tmp_path, data, EARLY, mixed)
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert "loss.sibling has a weight with augmentation.mixup or cutmix; a mixed image has no sibling" in message
