"""Deformable scale correlation: offsets that are counted in steps of the level, not in pixels.

    y(s, x) = bias + sum over taps t of  weight(t) f(s, x + base^s (t + o_t(s, x)))

Level s is read on the lattice of every base^s-th pixel through x, also between its points, where it is interpolated.
So a level never learns of pixels that are gone once the image is shrunk, and equivariance is exact for any offsets.
Dilation base^s with offsets base^s o, interpolated on the pixels, would not be equivariant at all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.scale.checks import require_count, require_lifted, require_odd
from layers.scale.deformable import DeformableConv2d
from layers.scale.dilation import level_dilations


def polyphase(x: Tensor, d: int | tuple[int, int]) -> Tensor:
    """(B, C, H, W) to (B d d, C, H / d, W / d): the images of every d-th pixel, one for each first pixel.

    Sides must be multiples of d, which may also be a pair, for rows and for columns. A convolution of the parts, put
    together by ``interleaved``, is a convolution of dilation d.
    """
    down, across = (d, d) if isinstance(d, int) else d
    B, C, H, W = x.shape
    if H % down or W % across:
        raise ValueError(f"polyphase got {H} x {W}; expected multiples of {down} and {across}: pad the image first")
    parts = x.reshape(B, C, H // down, down, W // across, across).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(B * down * across, C, H // down, W // across)


def interleaved(x: Tensor, d: int | tuple[int, int]) -> Tensor:
    """(B d d, C, h, w) to (B, C, h d, w d): undoes ``polyphase``."""
    down, across = (d, d) if isinstance(d, int) else d
    count, C, h, w = x.shape
    if count % (down * across):
        raise ValueError(f"interleaved got {count} images; expected a multiple of {down * across}, those of polyphase")
    B = count // (down * across)
    parts = x.reshape(B, down, across, C, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(B, C, h * down, w * across)


class DeformableScaleCorrelation(DeformableConv2d):
    """(B, in_channels, S, H, W) to (B, out_channels, S, H, W). Weights and the offset convolution serve all levels.

    As the offsets begin at 0, it begins as a ``ScaleCorrelation`` with interaction 1. With ``modulated``, whose masks
    begin at 1/2, it begins at half of its response. Parameters are those of ``DeformableConv2d``.

    Args:
        levels: S, where it should be checked; by default any number of levels is taken.
        base: a whole number, for its powers are the spacings of the lattices.
        groups, offset_groups, modulated: as of ``DeformableConv2d``.
    """

    scales = None  # what the levels stand for is known to the lifting layer, and so is their number

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        levels: int | None = None,
        base: int = 2,
        groups: int = 1,
        offset_groups: int = 1,
        modulated: bool = False,
        bias: bool = True,
    ):
        if levels is not None:
            require_count("levels", levels)
        require_odd("kernel_size", kernel_size)
        if base < 2 or base % 1:
            raise ValueError(f"base is {base}; expected a whole number of at least 2: its powers are pixels")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            groups=groups,
            offset_groups=offset_groups,
            modulated=modulated,
            bias=bias,
        )
        self.levels, self.base = levels, int(base)

    def forward(self, x: Tensor) -> Tensor:
        require_lifted(x, "DeformableScaleCorrelation", self.levels)
        self.check_size(x)
        spacings = level_dilations(self.base, x.shape[2])
        return torch.stack([self._level(x[:, :, s], spacing) for s, spacing in enumerate(spacings)], dim=2)

    def _level(self, x: Tensor, spacing: int) -> Tensor:
        """Pad to whole lattices with zeros, as beyond the border, and cut them off again.

        A spacing beyond the image is like one of its side: either leaves one pixel on each lattice.
        """
        H, W = x.shape[-2:]
        d = (min(spacing, H), min(spacing, W))
        padded = F.pad(x, (0, -W % d[1], 0, -H % d[0]))
        return interleaved(self.deformed(polyphase(padded, d)), d)[..., :H, :W]
