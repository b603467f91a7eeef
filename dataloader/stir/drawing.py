"""Objects at all 48 sizes and random places, whatever draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dataloader.stir.container import SIDE, SIDES, SPLITS, Container

Draw = Callable[[int, int, int, np.ndarray], np.ndarray]
"""Of split, class and side, and the places (m, 2), the uint8 canvases (m, 64, 64) or (m, 64, 64, 3)."""


def drawn(draw: Draw, names: Sequence[str], count: int, seed: int, metadata: dict[str, str]) -> Container:
    """A container of ``count`` instances of every class.

    The places are uniform, and drawn for every split, size, class and instance by one generator: they depend on the
    seed alone.
    """
    generator = np.random.default_rng(seed)
    shape = (len(SPLITS), len(SIDES), len(names), count)
    room = SIDE - np.array(SIDES).reshape(1, -1, 1, 1, 1)
    positions = (generator.random((*shape, 2)) * (room + 1)).astype(np.int64)
    images = np.stack(
        [
            np.stack(
                [
                    np.stack([draw(split, label, side, positions[split, scale, label]) for label in range(len(names))])
                    for scale, side in enumerate(SIDES)
                ]
            )
            for split in range(len(SPLITS))
        ]
    )
    labels = np.broadcast_to(np.arange(len(names)).reshape(1, 1, -1, 1), shape).copy()
    sides = np.broadcast_to(np.array(SIDES).reshape(1, -1, 1, 1), shape).copy()
    return Container(images, labels, sides, positions, tuple(names), metadata)


def placed(objects: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(m, s, s) or (m, s, s, 3) objects on black canvases, at (m, 2) of left and top."""
    side = objects.shape[1]
    canvas = np.zeros((len(objects), SIDE, SIDE, *objects.shape[3:]), objects.dtype)
    for number, (left, top) in enumerate(positions):
        canvas[number, top : top + side, left : left + side] = objects[number]
    return canvas
