"""Pooling of lifted maps over space, level by level.

Ordinary 2 x 2 pooling breaks the equivariance of Deep Scale Spaces, because its window spans the same pixels at every
level. A window whose places lie base^s pixels apart at level s keeps it exactly: the window then grows with the level,
as the kernels do. The stride is the same at all levels, so that the result is one tensor.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_count, require_lifted
from layers.scale.dilation import check_base, level_dilations


class SpacePool2d(nn.Module):
    """(B, C, S, H, W) to (B, C, S, H // size, W // size). Rows and columns that are left over are dropped.

    Args:
        size: side of the window and stride.
        kind: "max" or "avg".
        dilated: whether the window grows with the level. What it sees beyond the border, to the right and below, is
            left out of a maximum and counts as 0 in an average. False is the ordinary pooling, which is the published.
        base: of the dilations, as in ``ScaleCorrelation``.
    """

    def __init__(
        self, size: int = 2, kind: Literal["max", "avg"] = "max", *, dilated: bool = True, base: float = 2
    ) -> None:
        super().__init__()
        require_count("size", size)
        if kind not in ("max", "avg"):
            raise ValueError(f"kind is {kind!r}; expected 'max' or 'avg'")
        if dilated:
            check_base(base)
        self.size, self.kind, self.dilated, self.base = size, kind, dilated, base

    @overload
    def forward(self, x: Tensor, return_indices: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, return_indices: Literal[True]) -> tuple[Tensor, Tensor]: ...
    def forward(self, x: Tensor, return_indices: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Indices are those of the winners in the flattened H x W of their level."""
        require_lifted(x, "SpacePool2d")
        if min(x.shape[-2:]) < self.size:
            raise ValueError(
                f"SpacePool2d got {x.shape[-2]} x {x.shape[-1]}, of {tuple(x.shape)}; expected at least {self.size} "
                f"x {self.size}, the size of its window"
            )
        if return_indices and self.kind == "avg":
            raise ValueError("return_indices is True with kind='avg'; an average has no winner: take kind='max'")
        if not self.dilated:
            found = self._pooled(x.flatten(1, 2), 1, return_indices)
            value, indices = (part.unflatten(1, x.shape[1:3]) for part in found)
            return (value, indices) if return_indices else value
        dilations = level_dilations(self.base, x.shape[2])
        levels = zip(x.unbind(2), dilations, strict=True)
        values, places = zip(
            *(self._pooled(level, dilation, return_indices) for level, dilation in levels), strict=True
        )
        value = torch.stack(values, dim=2)
        return (value, torch.stack(places, dim=2)) if return_indices else value

    def _pooled(self, x: Tensor, dilation: int, indexed: bool) -> tuple[Tensor, Tensor]:
        """One level and, if ``indexed``, the places of its winners; else the second is of no use."""
        H, W = x.shape[-2:]
        rows, columns = H // self.size, W // self.size
        reach = (self.size - 1) * dilation
        right, below = (max(0, (n - 1) * self.size + reach + 1 - side) for n, side in ((columns, W), (rows, H)))
        padded = F.pad(x, (0, right, 0, below), value=float("-inf") if self.kind == "max" else 0.0)
        if self.kind == "avg":
            mean = self._mean(padded, dilation, rows, columns)
            return mean, mean
        value, place = F.max_pool2d(padded, self.size, self.size, dilation=dilation, return_indices=True)
        value, place = value[..., :rows, :columns], place[..., :rows, :columns]
        return value, place // (W + right) * W + place % (W + right) if indexed else place

    def _mean(self, padded: Tensor, dilation: int, rows: int, columns: int) -> Tensor:
        """Over the window; ``F.avg_pool2d`` knows no dilation, so rows and then columns are added up."""
        if not self.dilated:
            return F.avg_pool2d(padded, self.size)[..., :rows, :columns]
        starts = range(0, self.size * dilation, dilation)
        tall, wide = (rows - 1) * self.size + 1, (columns - 1) * self.size + 1
        down = sum(padded[..., i : i + tall : self.size, :] for i in starts)
        assert isinstance(down, Tensor)
        across = sum(down[..., j : j + wide : self.size] for j in starts)
        assert isinstance(across, Tensor)
        return across / self.size**2
