"""Resizing of images and maps as a matrix per axis: linear, so that its adjoint is known, and at any positions.

A row of a matrix says which entries of an axis are read at a position, and with which weights. Rescaling by ``scale``
about a centre c reads at c + (q - c) / scale: below 1 the content shrinks. What lies outside is read at the border.
"""

from __future__ import annotations

from math import ceil
from typing import Literal, get_args

import torch
from torch import Tensor

Operator = Literal["bicubic", "area", "subsample", "ideal"]
CUBIC = -0.5  # Keys' parameter, as antialiased resizing has it


def reading_matrix(operator: Operator, size: int, positions: Tensor, scale: float) -> Tensor:
    """The (positions, size) weights in float64, whose rows sum to 1.

    Args:
        operator: "bicubic" is the cubic convolution, made wider where the content shrinks, against aliasing. "area" is
            the mean over the interval of length 1 / scale about a position. "subsample" is the nearest entry, for
            identities that hold exactly at whole factors. "ideal" keeps the frequencies below the new Nyquist
            frequency, and takes the axis to be periodic.
        size: entries of the axis.
        positions: in entries, from the first one's centre; those outside are moved to the border.
        scale: by which the content grows.
    """
    if operator not in get_args(Operator):
        raise ValueError(f"operator is {operator!r}; expected one of {', '.join(get_args(Operator))}")
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale is {scale}; expected a finite number above 0")
    at = positions.double().clamp(0, size - 1)
    entries = torch.arange(size, dtype=torch.float64, device=at.device)
    apart = at[:, None] - entries
    if operator == "subsample":
        nearest = (at + 0.5).floor().clamp(0, size - 1)  # a tie always goes upwards, on an image and on its maps alike
        return (entries == nearest[:, None]).double()
    if operator == "ideal":
        return _dirichlet(apart, size, scale)
    if operator == "area":
        half = 0.5 / scale
        overlap = (half + 0.5 - apart.abs()).clamp(0, min(1.0, 2 * half))
        return overlap / overlap.sum(1, keepdim=True)
    weight = _cubic(apart * min(scale, 1.0))
    return weight / weight.sum(1, keepdim=True)


def rescaled_positions(size: int, scale: float, centre: float) -> Tensor:
    """Where each of so many entries reads when the content is rescaled about a centre."""
    return centre + (torch.arange(size, dtype=torch.float64) - centre) / scale


def centre_of(size: int, operator: Operator) -> float:
    """What content is rescaled about: the middle, or the entry next to it, so that whole factors read whole entries."""
    return float(size // 2) if operator == "subsample" else (size - 1) / 2


def read(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply (h, H) and (w, W) matrices to (..., H, W)."""
    return rows.to(x) @ x @ columns.to(x).T


def rescale(x: Tensor, scale: float, operator: Operator = "bicubic") -> Tensor:
    """Rescale the content of (..., H, W) about its middle, at the same size."""
    rows, columns = (
        reading_matrix(operator, n, rescaled_positions(n, scale, centre_of(n, operator)), scale) for n in x.shape[-2:]
    )
    return read(x, rows, columns)


def _cubic(t: Tensor) -> Tensor:
    """Keys' kernel at distances t."""
    t = t.abs()
    near = ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1
    far = CUBIC * (((t - 5) * t + 8) * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def _dirichlet(apart: Tensor, size: int, scale: float) -> Tensor:
    """The periodic function of all frequencies below min(scale, 1) times the Nyquist frequency."""
    limit = min(scale, 1.0) * size / 2
    weights = torch.ones_like(apart)
    for frequency in range(1, ceil(limit)):
        weights += 2 * torch.cos(2 * torch.pi * frequency / size * apart)
    if scale >= 1 and size % 2 == 0:  # the Nyquist frequency itself, without which the identity would not be one
        weights += torch.cos(torch.pi * apart)
    return weights / size
