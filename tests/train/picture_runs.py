"""A small multi-scale folder, a recipe that trains on it in a second, and runs of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import train_imagenet
from dataloader.pictures.groups import scale_groups
from dataloader.pictures.shapes import draw
from dataloader.split import split_indices
from layers.seeds import seed_of
from tests.train import runs
from tests.train.runs import OWN_RATE, SEED, joined

CLASSES = ("disc", "square", "stripe")
SCALES = (1.0, 0.7, 1.4)
OBJECTS = {"train": 15, "val": 6}
BROKEN = b"\xff\xd8\xff\xe0 no picture"
TINY: dict[str, Any] = {
    "model": {"backbone": "test_vit", "pretrained": False, "image_size": 32, "options": {"drop_rate": 0.1}},
    "data": {"class_map": None, "train_samples": 24, "workers": 0},
    "augmentation": {"scale": [0.6, 1.0], "erase": 0.25, "mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1},
    "warp": {"grid_size": 3, "strength": 0.2},
    "train": {"epochs": 2, "batch_size": 8, "backbone_lr": 0.001, "clip": 5.0, "device": "cpu"},
    "evaluation": {"calibration_items": 6, "warp_items": 4, "batch_size": 6},
}
AUG: dict[str, Any] = {"warp": {"probability": 0.5}}
EQUIV: dict[str, Any] = joined(AUG, {"loss": {"equivariance": {"distance": "mse", "weight": 0.1}}})
CANDIDATES: dict[str, Any] = {"name": "candidates", "values": [0.8, 1.0], "limit": 3, "channels": [3, 4, 1]}
CANNON: dict[str, Any] = joined(AUG, {"method": CANDIDATES})
DEC: dict[str, Any] = {
    "sites": [{"stage": "image", "grid_size": 4}],
    "channels": [3, 4],
    "kernel_sizes": [3],
    "pools": [2],
    "normalize": False,
    "input_size": 16,
    "strength": 0.5,
    "images_at_once": 64,
}
DEM: dict[str, Any] = joined(EQUIV, {"method": {"name": "dec", **DEC}, "train": OWN_RATE})
METHODS = {"base": {}, "aug": AUG, "equiv": EQUIV, "cannon": CANNON, "dem": DEM}


def write_pictures(root: Path) -> Path:
    """Write both splits, an object of which is shown at every scale."""
    for split, count in OBJECTS.items():
        for item in range(count):
            kind = CLASSES[item % len(CLASSES)]
            (root / split / kind).mkdir(parents=True, exist_ok=True)
            for scale in SCALES:
                path = root / split / kind / f"{item:02d}_scale_{scale:g}.png"
                draw(kind, scale, seed_of("tests", split, item)).save(path)
    return root


def trained_on(data: Path) -> Path:
    """A picture that is trained on, where all are that the temperature is not fitted on."""
    paths = sorted(path.relative_to(data / "train").as_posix() for path in data.glob("train/*/*"))
    groups = scale_groups(paths).members
    return data / "train" / paths[groups[split_indices(len(groups), SEED, len(groups))[0][-1]][0]]


def recipe(folder: Path, data: Path, *settings: Mapping[str, Any], name: str = "tiny") -> Path:
    """A file with the tiny recipe under these settings."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({name: joined(TINY, {"data": {"root": str(data)}}, *settings)}))
    return path


train = functools.partial(runs.train, script=train_imagenet)
refusal = functools.partial(runs.refusal, script=train_imagenet)
