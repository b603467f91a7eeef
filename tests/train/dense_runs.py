"""A recipe of dense prediction that trains in a second, and runs of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import train_dense
from config.load import load_recipes
from config.schema import Config
from tests.train import runs
from tests.train.runs import TINY, joined

DENSE: dict[str, Any] = {
    "data": {"name": "dense/digits", "cell_size": 28, "scales": [[0.5, 1.0]] * 2, "test_scales": [[0.5, 1.0]] * 2},
    "model": {"backbone": "test_resnet", "image_size": None, "decoder": {"indices": [1, 2, 3]}},
    "train": {"batch_size": 24},
    "evaluation": {"calibration_items": 1, "warp_items": 5, "floor_items": 5},
}
TINY_DENSE = joined(TINY, DENSE)
for _name in ("local_scale_items", "local_scale_draws"):
    TINY_DENSE["evaluation"].pop(_name)


def recipe(folder: Path, *settings: Mapping[str, Any], name: str = "tiny") -> Path:
    """A file with the tiny recipe under these settings."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({name: joined(TINY_DENSE, *settings)}))
    return path


def config_of(folder: Path, *settings: Mapping[str, Any]) -> Config:
    return load_recipes(recipe(folder, *settings), kind="dense")[0][1]


def train(file: Path, folder: Path, *words: str) -> dict[str, Any]:
    return runs.train(file, folder, *words, script=train_dense)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return runs.refusal(capsys, *words, script=train_dense)
