"""A recipe that trains on bars of many sizes in a second, and runs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import train_scale
from tests.dataloader.stir.bars import written
from tests.train import runs
from tests.train.runs import joined

TINY: dict[str, Any] = {
    "data": {"name": "stir/FILE"},
    "model": {"backbone": "test_resnet"},
    "warp": {"grid_size": 3},
    "train": {"epochs": 12, "patience": 2, "batch_size": 32, "backbone_lr": 0.01, "device": "cpu"},
    "evaluation": {"items": 30, "calibration_items": 10, "warp_items": 6, "floor_items": 2},
}


def recipes(folder: Path, several: Mapping[str, Mapping[str, Any]]) -> Path:
    """A file with the tiny recipe under these settings, by name, and the suite "all" of them."""
    tiny = joined(TINY, {"data": {"file": str(written(folder))}})
    path = folder / "recipes.yaml"
    content = {name: joined(tiny, settings) for name, settings in several.items()}
    path.write_text(yaml.safe_dump({"all": {"suite": [*several]}, **content}, sort_keys=False))
    return path


def recipe(folder: Path, *settings: Mapping[str, Any]) -> Path:
    """A file with the tiny recipe, called "tiny"."""
    return recipes(folder, {"tiny": joined(*settings)})


def train(file: Path, folder: Path, *words: str) -> dict[str, Any]:
    return runs.train(file, folder, "--config", "tiny", *words, script=train_scale)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return runs.refusal(capsys, *words, script=train_scale)


def watching(monkeypatch: pytest.MonkeyPatch, values: Sequence[float]) -> None:
    """Let the epochs of the next run be worth these values."""
    left = iter(values)
    monkeypatch.setattr(train_scale, "build_watch", lambda data, process: lambda model: next(left))
