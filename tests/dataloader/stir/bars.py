"""A container that is drawn at once, and recipes on it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from config.schema import Config, EvaluationConfig, ModelConfig, StirData, TrainConfig
from dataloader.stir.container import Container
from dataloader.stir.drawing import drawn, placed

NAMES, COUNT = ("whole", "lying", "standing"), 2


@functools.cache
def bars(channels: int = 1) -> Container:
    """Squares and bars as long as the object, each as bright as no other of its class and size: in all splits."""

    def draw(split: int, label: int, side: int, positions: np.ndarray) -> np.ndarray:
        thin = (slice(None), slice(None), slice(side // 4))
        own = [slice(None), thin, (thin[0], thin[2], thin[1])][label]
        objects = np.zeros((len(positions), side, side), np.uint8)
        for number, one in enumerate(objects):
            one[own if isinstance(own, slice) else own[1:]] = 100 + 20 * (COUNT * split + number)
        canvas = placed(objects, positions)
        return canvas if channels == 1 else np.repeat(canvas[..., None], 3, axis=-1)

    return drawn(draw, NAMES, COUNT, 0, {"title": "bars"})


def written(folder: Path, channels: int = 1) -> Path:
    """A file of it."""
    path = folder / f"bars{channels}.npz"
    bars(channels).write(path)
    return path


def recipe_on(file: Path, *, patience: int | None = None, evaluation: EvaluationConfig | None = None, **data) -> Config:
    """A recipe on such a file."""
    return Config(
        model=ModelConfig(backbone="stir2_standard", pretrained=False, image_size=None),
        data=StirData(name="stir/FILE", file=str(file), **data),
        train=TrainConfig(batch_size=8, patience=patience),
        evaluation=evaluation or EvaluationConfig(batch_size=50),
    )
