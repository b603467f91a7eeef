"""Handwritten digits at every size, by the published recipe: resized, placed, blurred, and sharpened again.

Every step is linear but the last ones, and the same for all digits of a size. So it is a matrix, and a size takes a few
products instead of one call per digit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import ndimage

from dataloader.stir.container import SIDE, SPLITS, Container
from dataloader.stir.drawing import drawn, placed

Resizing = Literal["published", "modern"]
INSTANCES, SEED = 50, 42  # of the published set: instances of every class, and the draw of them
DIGIT = 28


def mnist(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int = 0,
    *,
    count: int = INSTANCES,
    resizing: Resizing = "published",
    title: str = "mnist",
) -> Container:
    """Digits of (images, labels): training and validation of the training file, and test of the test file.

    Args:
        train: uint8 (N, 28, 28) and (N,).
        test: the same.
        seed: of the places.
        count: of every class.
        resizing: "published": as scikit-image 0.18 did it, of which the published set was made; or "modern".
        title: of the container.
    """
    own = {
        "train": chosen(*train, 0, count),
        "validation": chosen(*train, count, count),
        "test": chosen(*test, 0, count),
    }

    def draw(split: int, label: int, side: int, positions: np.ndarray) -> np.ndarray:
        return finished(placed(resized(own[SPLITS[split]][label], side, resizing), positions), side)

    described = {"title": title, "description": f"digits at 17 to 64 pixels, {resizing} resizing", "version": str(seed)}
    return drawn(draw, [str(label) for label in range(10)], count, seed, described)


def chosen(images: np.ndarray, labels: np.ndarray, first: int, count: int) -> np.ndarray:
    """(10, count, 28, 28): of each digit, shuffled as published, those from ``first`` on."""
    found = []
    for label in range(10):
        own = images[labels == label].copy()
        np.random.RandomState(SEED).shuffle(own)
        if len(own) < first + count:
            raise ValueError(f"there are {len(own)} images of digit {label}; expected at least {first + count}")
        found.append(own[first : first + count])
    return np.stack(found)


def resized(images: np.ndarray, side: int, resizing: Resizing) -> np.ndarray:
    """float64 (m, side, side) of uint8 (m, 28, 28), within the range of each image."""
    images = blurred(images, side, resizing)
    matrix = _resizing_matrix(side, resizing)
    found = matrix @ images @ matrix.T
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return found.clip(low, high)


def blurred(images: np.ndarray, side: int, resizing: Resizing) -> np.ndarray:
    """What scikit-image does before it makes images smaller. The old one kept whole numbers, and cut off the rest."""
    exact = images.astype(np.float64)
    if side >= images.shape[-1]:
        return exact
    matrix = _gaussian(images.shape[-1], (images.shape[-1] / side - 1) / 2, "mirror")
    if resizing == "modern":
        return matrix @ exact @ matrix.T
    rows = np.floor(matrix @ exact + 1e-9)
    return np.floor(rows @ matrix.T + 1e-9)


def finished(canvases: np.ndarray, side: int) -> np.ndarray:
    """uint8 of float64 (m, 64, 64): blurred in proportion to the object, sharpened, and spread to 0..255."""
    matrix = _gaussian(SIDE, 7 / 8 * side / DIGIT, "nearest")
    value = matrix @ canvases @ matrix.T
    value = 2 / np.pi * np.arctan(0.02 * (value - 128))
    low, high = value.min((1, 2), keepdims=True), value.max((1, 2), keepdims=True)
    return (255 * ((value - low) / (high - low))).astype(np.uint8)


@lru_cache(maxsize=256)
def _gaussian(size: int, sigma: float, border: str) -> np.ndarray:
    return ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode=border)


@lru_cache(maxsize=128)
def _resizing_matrix(side: int, resizing: Resizing) -> np.ndarray:
    """(side, 28) of one axis."""
    if resizing == "modern":
        return ndimage.zoom(np.eye(DIGIT), (side / DIGIT, 1), order=3, mode="mirror", grid_mode=True)
    place = (np.arange(side) + 0.5) * DIGIT / side - 0.5
    first = np.floor(place).astype(int) - 1
    matrix = np.zeros((side, DIGIT))
    for tap in range(4):
        source = first + tap
        mirrored = np.abs(source)
        mirrored = np.where(mirrored > DIGIT - 1, 2 * (DIGIT - 1) - mirrored, mirrored)
        np.add.at(matrix, (np.arange(side), mirrored), _catmull_rom(place - source))
    return matrix


def _catmull_rom(t: np.ndarray) -> np.ndarray:
    t = np.abs(t)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
