"""Locally scale-invariant convolution: rescale the image, convolve, rescale the answers back, take the largest.

One kernel sees the image at every factor, so that it answers an object of any of these sizes, each at its own place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_padding, require_plain
from layers.scale.convolution import convolve
from layers.scale.weights import uniform_


class KanazawaConv2d(nn.Module):
    """Convolve (B, C, H, W) at several factors of its size, and keep the largest answer: (B, O, H', W').

    A factor below 1 leaves a rim of zeros around the image, which answers with the bias. A factor above 1 crops it.
    ``torch.export`` takes any number of images but one height and width, for sizes are rounded.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: k.
        factors: by which the image is enlarged, in any order; with (1,) the layer is a plain convolution.
        padding: zeros around the rescaled image.
        bias: whether to add a bias, the same at all factors.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        factors: Sequence[float],
        *,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("kernel_size", kernel_size)):
            require_count(name, value)
        require_padding(padding)
        if not factors or not all(0 < factor < math.inf for factor in factors) or len(set(factors)) < len(factors):
            raise ValueError(f"factors is {list(factors)}; expected at least one, each above 0 and none twice")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.factors, self.padding = tuple(float(factor) for factor in factors), padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        uniform_(self.parameters(), in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "KanazawaConv2d")
        require_channels(x, "KanazawaConv2d", self.in_channels)
        self._require_sizes(x.shape[-2], x.shape[-1])
        images = torch.stack([rescaled(x, factor) for factor in self.factors])
        answers = convolve(images.flatten(0, 1), self.weight, self.bias, padding=self.padding)
        answers = answers.unflatten(0, (len(self.factors), -1))
        returned = [rescaled(answer, 1 / factor) for answer, factor in zip(answers, self.factors, strict=True)]
        return torch.stack(returned).amax(0)

    def _require_sizes(self, H: int, W: int) -> None:
        """Refuse factors of which rounding leaves nothing, and two that rounding makes one."""
        lost = 2 * self.padding - self.kernel_size + 1
        if min(H, W) + lost < 1:
            raise ValueError(
                f"KanazawaConv2d got {H} x {W}, smaller than its kernel of {self.kernel_size}; take padding of "
                f"{self.kernel_size // 2}, or a larger image"
            )
        sizes = [scaled_size(H, W, factor) for factor in self.factors]
        for place, (factor, size) in enumerate(zip(self.factors, sizes, strict=True)):
            if min(*size, *scaled_size(H + lost, W + lost, 1 / factor)) < 1:
                raise ValueError(f"factor {factor} leaves nothing of {H} x {W} or of its answers; take one nearer to 1")
            if size in sizes[:place]:
                twin = self.factors[sizes.index(size)]
                raise ValueError(
                    f"factors {twin} and {factor} both make {size[0]} x {size[1]} of {H} x {W}; take factors further "
                    "apart, or a larger image"
                )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, factors={self.factors}, "
            f"padding={self.padding}, bias={self.bias is not None}"
        )


def scaled_size(H: int, W: int, factor: float) -> tuple[int, int]:
    """Whole pixels of H x W enlarged by ``factor``, rounded down."""
    return math.floor(H * factor), math.floor(W * factor)


def rescaled(x: Tensor, factor: float) -> Tensor:
    """Rescale (B, C, H, W) about its centre on a canvas that stays H x W: surrounded by zeros, or cropped.

    Corner pixels map to corner pixels (align_corners). Where an odd number of pixels is added or cropped, the
    result lies half a pixel further to the left, or to the top.
    """
    if factor == 1:
        return x
    H, W = x.shape[-2:]
    h, w = scaled_size(H, W, factor)
    top, left = (H - h) // 2, (W - w) // 2
    resized = F.interpolate(x, (h, w), mode="bilinear", align_corners=True)
    return F.pad(resized, (left, W - w - left, top, H - h - top))
