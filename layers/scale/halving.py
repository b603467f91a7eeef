"""The second version of Deep Scale Spaces: levels that are smaller images, under one ordinary convolution.

The smaller image takes the place of the wider kernel: level s is the image shrunk by base^s, and all levels meet the
same undilated kernel. Shrunk one after another, by half each time, the levels of a halved image are those of the image
itself, moved by one, exactly. Shrunk at one go, as published, they are not: a quarter is not the half of a half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_odd, require_plain
from layers.scale.convolution import PlainConv2d
from layers.scale.dilation import check_base, level_dilations


def halve(x: Tensor) -> Tensor:
    """(..., H, W) to (..., H / 2, W / 2): the mean of 2 x 2 pixels, which bilinear resizing by half is too."""
    H, W = x.shape[-2:]
    if H % 2 or W % 2:
        raise ValueError(f"halve got {H} x {W}, of {tuple(x.shape)}; expected even sides: pad or crop the image first")
    return F.avg_pool2d(x.reshape(-1, 1, H, W), 2).reshape(*x.shape[:-2], H // 2, W // 2)


class Halving(nn.Module):
    """An image, or a lifted map, to a tuple of ``levels`` maps (B, C, h_s, w_s), each smaller than the one before.

    Of a lifted map (B, C, levels, H, W), level s is made of its own level s, as published. Gradients reach the input.

    Args:
        levels: S.
        base: by how much each level is smaller than the one before.
        recursive: halve again and again, for base 2 alone. Sides must be multiples of 2^(levels - 1). If False, each
            level is resized at one go to H // int(base^s), bilinear, without smoothing: approximate, as published.
    """

    def __init__(self, levels: int, *, base: float = 2, recursive: bool = True):
        super().__init__()
        require_count("levels", levels)
        check_base(base, levels)
        if recursive and base != 2:
            raise ValueError(f"base is {base} and recursive is True; expected base 2, or recursive=False")
        self.levels, self.base, self.recursive = levels, base, recursive

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        lifted = x.ndim == 5
        if lifted and x.shape[2] != self.levels:
            raise ValueError(f"Halving got {x.shape[2]} scales, of {tuple(x.shape)}; expected {self.levels}")
        require_plain(x[:, :, 0] if lifted else x, "Halving")
        shrinks = level_dilations(self.base, self.levels)
        self._check_size(x, shrinks[-1])
        if not self.recursive:
            return tuple(_resized(x[:, :, s] if lifted else x, shrink) for s, shrink in enumerate(shrinks))
        return self._halved(x, lifted)

    def _halved(self, x: Tensor, lifted: bool) -> tuple[Tensor, ...]:
        """Level by level; of a lifted map, the levels above go on together."""
        found = [x[:, :, 0] if lifted else x]
        while len(found) < self.levels:
            x = halve(x[:, :, 1:] if lifted else x)
            found.append(x[:, :, 0] if lifted else x)
        return tuple(found)

    def _check_size(self, x: Tensor, shrink: int) -> None:
        H, W = x.shape[-2:]
        if self.recursive and (H % shrink or W % shrink):
            raise ValueError(
                f"Halving got {H} x {W}, of {tuple(x.shape)}; expected multiples of {shrink}, to be halved "
                f"{self.levels - 1} times"
            )
        if min(H, W) < shrink:
            raise ValueError(f"Halving got {H} x {W}, of {tuple(x.shape)}; expected at least {shrink} pixels a side")


class SharedConv(PlainConv2d):
    """One convolution for all levels: a tuple of (B, C, h_s, w_s) to one of (B, O, h_s, w_s), sizes kept.

    Parameters are those of ``nn.Conv2d``: ``weight`` (O, C, k, k) and ``bias`` (O,), whatever the number of levels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True):
        require_count("in_channels", in_channels)
        require_count("out_channels", out_channels)
        require_odd("kernel_size", kernel_size)
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        _require_levels(levels, "SharedConv")
        for level in levels:
            require_channels(level, "SharedConv", self.in_channels)
        return tuple(map(super().forward, levels))


def matched(levels: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h_s, w_s) to one lifted (B, C, S, h, w), by the maxima over what each place of the smallest covers.

    Windows adapt, so sizes need not divide each other.
    """
    _require_levels(levels, "matched")
    h, w = (min(level.shape[axis] for level in levels) for axis in (-2, -1))
    return torch.stack([F.adaptive_max_pool2d(level, (h, w)) for level in levels], dim=2)


def _require_levels(levels: Sequence[Tensor], layer: str) -> None:
    if isinstance(levels, Tensor) or not levels:
        given = f"a tensor {tuple(levels.shape)}" if isinstance(levels, Tensor) else "no level"
        raise ValueError(f"{layer} got {given}; expected a tuple of maps (B, C, h, w), such as Halving returns")
    for level in levels:
        require_plain(level, layer)


def _resized(x: Tensor, shrink: int) -> Tensor:
    size = (x.shape[-2] // shrink, x.shape[-1] // shrink)
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
