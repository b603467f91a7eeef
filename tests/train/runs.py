"""A recipe that trains in a second, and runs of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import train_mnist
from config.load import load_recipes
from config.schema import Config
from dataloader.build import build_splits
from models.build import build_model
from train.build import build_trainer
from train.distributed import Process
from train.loop import Trainer

SEED = 42
SINGLE = Process(0, 1, torch.device("cpu"))
INTERVALS = [[0.5, 1.5], [0.5, 1.5]]
TINY: dict[str, Any] = {
    "data": {
        "name": "digits",
        "n_digits": 2,
        "cell_size": 56,
        "channels": 1,
        "workers": 0,
        "scales": INTERVALS,
        "test_scales": INTERVALS,
        "train_items": 96,
    },
    "model": {"backbone": "test_vit", "pretrained": False, "image_size": 32},
    "warp": {"grid_size": 3},
    "train": {"epochs": 2, "batch_size": 32, "device": "cpu"},
    "evaluation": {"items": 9, "calibration_items": 8, "local_scale_items": 2, "local_scale_draws": 1},
}
DEC = {
    "name": "dec",
    "sites": [{"stage": "image", "grid_size": 4}],
    "channels": [1, 4],
    "kernel_sizes": [3],
    "pools": [2],
    "normalize": False,
    "input_size": 16,
    "strength": 0.5,
    "images_at_once": 64,
}
RESIDUAL = {
    "name": "dec",
    "equilibrium": "residual",
    "sites": [{"stage": "input", "grid_size": 4}],
    "correction": {"channels": [4, 8], "pools": [2, 2], "dilations": [1, 1], "input_size": 16},
    "images_at_once": 64,
}
ENERGY = {
    "name": "energy",
    "sites": [{"stage": "image", "grid_size": 4}],
    "channels": [1, 4],
    "kernel_sizes": [3],
    "input_size": 16,
    "steps": 2,
    "unroll": 2,
}
OWN_RATE = {"canonicalizer_lr": 0.01}
ALONE = {"trains": ["canonicalizer"]}
WITH_DEC: dict[str, Any] = {"method": DEC, "train": OWN_RATE}


def joined(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over settings, section by section."""
    total: dict[str, Any] = {}
    for part in settings:
        for name, value in part.items():
            both = isinstance(value, Mapping) and isinstance(total.get(name), dict)
            total[name] = joined(total[name], value) if both else copy.deepcopy(value)
    return total


def phases(*several: Mapping[str, Any]) -> dict[str, Any]:
    """The setting of these phases; none is one in which all trains on all."""
    return {"train": {"phases": [dict(phase) for phase in several]}}


def recipe(folder: Path, *settings: Mapping[str, Any], name: str = "tiny") -> Path:
    """A file with the tiny recipe under these settings."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({name: joined(TINY, *settings)}))
    return path


def train(file: Path, folder: Path, *words: str, script: ModuleType = train_mnist) -> dict[str, Any]:
    """Run a script in this process, and return the summary that it wrote."""
    script.main(["--config_file", str(file), "--run_dir", str(folder), *words])
    return json.loads((folder / "summary.json").read_text())


def refusal(capsys: pytest.CaptureFixture[str], *words: str, script: ModuleType = train_mnist) -> str:
    """The one line that a script ends with where it cannot go on."""
    with pytest.raises(SystemExit) as end:
        script.main(list(words))
    code = end.value.code
    assert isinstance(code, str) and code.startswith("error: ") and "\n" not in code  # python prints it and exits by 1
    assert "error:" not in capsys.readouterr().err
    return code


def config_of(folder: Path, *settings: Mapping[str, Any]) -> Config:
    return load_recipes(recipe(folder, *settings))[0][1]


def trainer_of(config: Config, seed: int = SEED, process: Process = SINGLE) -> Trainer:
    """What the script trains."""
    splits = build_splits(config, seed, process.share)
    assert splits.train is not None
    return build_trainer(config, build_model(config, splits.num_classes, seed), splits.train, seed, process)


def fitted(config: Any, seed: int = SEED, steps: int = 0) -> tuple[Trainer, list[dict[str, float]]]:
    trainer = trainer_of(config, seed)
    metrics: list[dict[str, float]] = []
    trainer.fit(lambda: None, metrics.append, max_steps=steps)
    return trainer, metrics


def assert_same_run(folder: Path, other: Path) -> None:
    """Two runs ended with the same numbers and files, and left nothing half-written."""
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    metrics, others = (json.loads((run / "summary.json").read_text())["metrics"] for run in (folder, other))
    assert metrics == others
    with np.load(folder / "items.npz") as items, np.load(other / "items.npz") as other_items:
        assert items.files == other_items.files
        assert all(np.array_equal(items[key], other_items[key]) for key in items.files)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in other.iterdir())
    assert not list(folder.glob("*.part")) and not list(folder.glob(".*.part"))


class Stopped(BaseException):
    """Ends a run like a kill that leaves Python time to clean up."""


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the next run end in front of its step after so many."""
    original, count = Trainer._step, 0

    def step(self: Trainer, *args: Any, **options: Any) -> None:
        nonlocal count
        if count == steps:
            raise Stopped
        count += 1
        original(self, *args, **options)

    monkeypatch.setattr(Trainer, "_step", step)


def note_items(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let every process of the next run write the items of its steps into a file of its own, PATH-RANK."""
    original = Trainer._step

    def step(self: Trainer, wrapped: Any, batch: Any, *args: Any, **options: Any) -> None:
        line = [self.place.epoch, self.place.step, batch.items]
        with path.with_name(f"{path.name}-{self.process.rank}").open("a") as file:
            file.write(json.dumps(line) + "\n")
        original(self, wrapped, batch, *args, **options)

    monkeypatch.setattr(Trainer, "_step", step)


def noted_items(path: Path) -> dict[tuple[int, int], list[int]]:
    """By (epoch, step), what all processes noted."""
    found: dict[tuple[int, int], list[int]] = {}
    for part in sorted(path.parent.glob(f"{path.name}-[0-9]")):
        for epoch, step, items in map(json.loads, part.read_text().splitlines()):
            found.setdefault((epoch, step), []).extend(items)
    return {place: sorted(items) for place, items in found.items()}
