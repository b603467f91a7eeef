"""A local warp: what lies around a place becomes larger or smaller, and the rest gives way, with no fold."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from layers.grid import SHARPNESS, WarpParams
from layers.monotone import monotone_warp

GRID_SIZE = 9
WIDTH = 0.2  # standard deviation of the bump, of the image's side


def bumped(image: Tensor, centre: tuple[float, float], strength: float, grid_size: int = GRID_SIZE) -> Tensor:
    """(B, C, H, W) with what lies around a centre larger by up to ``strength``, or smaller where that is below 1."""
    phi = bump(centre, strength, grid_size)
    return monotone_warp(image, WarpParams(*(part.to(image).expand(len(image), -1, -1) for part in phi)))


def bump(centre: tuple[float, float], strength: float, grid_size: int = GRID_SIZE) -> WarpParams:
    """A local warp (1, R, R - 1): where an interval of knots is near the centre, its increment is divided by strength.

    Increments of a row are positive and sum to 1 whatever their parameters are. So no warp folds along an axis, and
    intervals further away take up what those near the centre give.

    Args:
        centre: x and y in [0, 1].
        strength: by what the centre would grow if all else gave way; 1 is the identity.
        grid_size: R, the number of knots per axis.
    """
    if not 0 < strength < float("inf"):
        raise ValueError(f"strength is {strength}; expected a finite number above 0, where 1 changes nothing")
    if grid_size < 2:
        raise ValueError(f"grid_size is {grid_size}; expected at least 2")
    knots = torch.linspace(0, 1, grid_size)
    between = (knots[1:] + knots[:-1]) / 2
    x, y = centre

    def bell(along: float, across: float) -> Tensor:  # (R, R - 1), of (row, interval) or (column, interval)
        squares = (between - along).square() + (knots - across).square()[:, None]
        return torch.exp(-squares / (2 * WIDTH**2))

    height = -log(strength) / SHARPNESS
    return WarpParams(height * bell(x, y)[None], height * bell(y, x)[None])
