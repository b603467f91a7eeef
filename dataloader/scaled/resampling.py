"""Images rescaled about their centre on a canvas of one size, a whole batch at once, each by a factor of its own.

Both ways of resampling are separable: an image becomes A @ image @ A.T, where A has a row for each line of the canvas.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

Resampling = Literal["modern", "published", "spline"]
ROUNDING = 1e-6  # of a grey level, that rounding errors must not take a whole one away where values are cut off
SLOPE = -1.0  # of Keys' cubic convolution, at a distance of one pixel: PIL's for affine maps


def rescaled(images: np.ndarray, factors: np.ndarray, side: int, resampling: Resampling) -> np.ndarray:
    """uint8 (B, H, H) or (B, H, H, C) -> uint8 (B, side, side) or (B, side, side, C), with zeros around the images.

    Args:
        images: square ones.
        factors: (B,), above 1 for larger objects.
        side: of the canvas.
        resampling: "modern": cubic convolution about the centre, without antialiasing, where grey levels are cut off to
            whole ones. "published": the same about a point half a pixel to the right of the centre and below it, as the
            published MNIST-scale was made. "spline": see ``spline_matrix``; grey levels are rounded.
    """
    colours = images if images.ndim == 4 else images[..., None]
    size = images.shape[1]
    if resampling == "spline":
        matrices = np.stack([spline_matrix(size, size_at(size, factor), side) for factor in factors])
    else:
        matrices = cubic_matrices(size, factors, side, shift=0.5 if resampling == "published" else 0.0)
    planes = np.moveaxis(colours, -1, 1).astype(np.float64)  # (B, C, H, H)
    found = matrices[:, None] @ planes @ matrices[:, None].swapaxes(-1, -2)
    found = np.moveaxis(found, 1, -1).clip(0, 255) + (0.5 if resampling == "spline" else ROUNDING)
    return found.astype(np.uint8).reshape(-1, side, side, *images.shape[3:])


def cubic_matrices(size: int, factors: np.ndarray, side: int, shift: float = 0.0) -> np.ndarray:
    """(B, side, size) of one axis. Taps beyond the border read the border; lines beyond the image are zero.

    Args:
        size: of the image.
        factors: (B,).
        side: of the canvas.
        shift: of the fixed point from the centres of image and canvas.
    """
    place = (np.arange(side) + 0.5 - side / 2 - shift) / np.asarray(factors, float)[:, None] + size / 2 + shift
    is_inside = (place >= 0) & (place < size)
    first = np.floor(place - 0.5).astype(int) - 1
    matrices = np.zeros((*place.shape, size))
    for tap in range(4):
        pixel = first + tap
        weight = _cubic(np.abs(place - 0.5 - pixel)) * is_inside
        at = pixel.clip(0, size - 1)[..., None]
        np.put_along_axis(matrices, at, np.take_along_axis(matrices, at, -1) + weight[..., None], -1)
    return matrices


def size_at(size: int, factor: float) -> int:
    """Pixels that a spline zoom leaves of so many, at least one."""
    return max(1, round(size * float(factor)))


@lru_cache(maxsize=4096)
def spline_matrix(size: int, target: int, side: int) -> np.ndarray:
    """(side, size) of one axis: a zoom to ``target`` pixels by cubic splines, then pasted in the middle of zeros.

    The first and the last pixel stay where they are, so that ``target`` pixels are (target - 1) / (size - 1) times as
    large. What is larger than the canvas loses its margins.
    """
    zoomed = ndimage.zoom(np.eye(size), (target / size, 1), order=3)
    start = (side - target) // 2  # below 0 where margins are lost
    matrix = np.zeros((side, size))
    matrix[max(start, 0) : max(start, 0) + min(target, side)] = zoomed[max(-start, 0) : max(-start, 0) + side]
    return matrix


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel at a distance of 0 to 2 pixels."""
    near = (SLOPE + 2) * t**3 - (SLOPE + 3) * t**2 + 1
    far = SLOPE * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
