"""How a stage lays out its feature, and how to get a grid of pixels out of it and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, cat

Order = Literal["NCHW", "NHWC", "tokens"]


@dataclass(frozen=True)
class Layout:
    """Where the axes of a feature are.

    Args:
        order: "NCHW", "NHWC", or "tokens" for (B, N, C) in row-major order.
        num_prefix_tokens: class, distillation and register tokens in front, which have no place on the grid.
    """

    order: Order
    num_prefix_tokens: int = 0

    def on_grid(self, warp: Callable[[Tensor], Tensor], feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Apply a function of (B, C, H, W) -> (B, C, H, W) to a feature that covers a grid of this (H, W)."""
        warped = warp(self.to_grid(feature, size))
        if self.order == "NCHW":
            return warped
        if self.order == "NHWC":
            return warped.permute(0, 2, 3, 1).contiguous()  # stages may call view on what they get
        return cat([feature[:, : self.num_prefix_tokens], warped.flatten(2).transpose(1, 2)], dim=1)

    def to_grid(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """The part of a feature that lies on the grid, as (B, C, H, W)."""
        if self.order == "NCHW":
            return feature
        if self.order == "NHWC":
            return feature.permute(0, 3, 1, 2)
        return feature[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, size)

    def size_of(self, feature: Tensor, expected: tuple[int, int]) -> tuple[int, int]:
        """The feature's (H, W); tokens do not tell, so theirs is checked against what is expected."""
        if self.order == "tokens":
            count = feature.shape[1] - self.num_prefix_tokens if feature.ndim == 3 else -1
            if count != expected[0] * expected[1]:
                raise ValueError(
                    f"a feature of shape {tuple(feature.shape)} does not hold {self.num_prefix_tokens} prefix tokens "
                    f"and a grid of {expected[0]} x {expected[1]}; tokens that are dropped or merged cannot be warped"
                )
            return expected
        if feature.ndim != 4:
            raise ValueError(f"a feature of shape {tuple(feature.shape)} is no {self.order} map")
        H, W = feature.shape[2:] if self.order == "NCHW" else feature.shape[1:3]
        return H, W
