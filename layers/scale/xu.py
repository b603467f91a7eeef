"""SiCNN: columns that share one kernel, each at a side of its own, and meet only at the end.

Column i convolves with the kernel resized to side k_i. A later layer sees in column i what column i made, so that each
column is a whole network for objects of one size; a maximum over the columns, ``x.amax(2)``, chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import (
    require_channels,
    require_count,
    require_lifted,
    require_odd,
    require_padding,
    require_plain,
)
from layers.scale.convolution import convolve
from layers.scale.weights import uniform_


def column_kernels(weight: Tensor, sides: Sequence[int]) -> Tensor:
    """Resize kernels (O, C, k, k) to each side, centred in one frame: (n O, C, F, F), column by column, F = max side.

    The kernel itself is resized and then surrounded by zeros. (The other way round its frame would be resized with it,
    and the largest side would hold the kernel as it was.) All sides are odd, k too, and both resizings are symmetric,
    so every kernel has the middle of the frame for its own. Each keeps its L1 norm.
    """
    frame = max(sides)
    norm = weight.abs().sum((-2, -1), keepdim=True)
    columns = []
    for side in sides:
        resized, rim = _resized(weight, side), (frame - side) // 2
        own = resized.abs().sum((-2, -1), keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
        columns.append(F.pad(resized * (norm / own), (rim, rim, rim, rim)))
    return torch.cat(columns)


def convolve_columns(x: Tensor, kernels: Tensor, columns: int, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Convolve with kernels (n O, C, F, F), those of a column together: to (B, O, n, H', W').

    Of a plain (B, C, H, W) every column sees all; of a lifted (B, C, n, H, W) each sees its own part alone.
    """
    lifted = x.ndim == 5
    if lifted:
        x = x.transpose(1, 2).flatten(1, 2)
    shift = None if bias is None else bias.repeat(columns)
    answer = convolve(x, kernels, shift, padding=padding, groups=columns if lifted else 1)
    return answer.unflatten(1, (columns, -1)).transpose(1, 2)


def rounded_sides(kernel_size: int, factors: Sequence[float]) -> tuple[int, ...]:
    """The odd side nearest to kernel_size * factor for each factor; refused where two factors share one."""
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise ValueError(f"factors is {list(factors)}; expected at least one, each above 0")
    sides = tuple(2 * math.floor(kernel_size * factor / 2) + 1 for factor in factors)
    if len(set(sides)) < len(sides):
        raise ValueError(
            f"factors {list(factors)} of a kernel of {kernel_size} round to the sides {list(sides)}, of which some are "
            "equal; take factors further apart, a larger kernel, or give sides"
        )
    return sides


class XuConv2d(nn.Module):
    """A layer of columns, to (B, O, n, H', W'): of (B, C, H, W) where it is the first one, of (B, C, n, H, W) later.

    All columns are convolved in the frame of the largest kernel, so that their maps have one size:
    ``padding=layer.frame // 2`` keeps that of the input.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: k of the one kernel that is trained; odd.
        sides: of the columns, all odd and in any order.
        factors: instead of sides; k times each is rounded to an odd side.
        lifted: whether this is a later layer.
        padding: zeros around each map.
        bias: whether to add a bias, the same in all columns. The published layers have none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        sides: Sequence[int] | None = None,
        factors: Sequence[float] | None = None,
        lifted: bool = False,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__()
        require_count("in_channels", in_channels)
        require_count("out_channels", out_channels)
        require_odd("kernel_size", kernel_size)
        require_padding(padding)
        if (sides is None) == (factors is None):
            raise ValueError(f"sides is {sides} and factors is {factors}; expected one of the two")
        self.sides = rounded_sides(kernel_size, factors) if factors is not None else tuple(sides or ())
        if not self.sides or len(set(self.sides)) < len(self.sides):
            raise ValueError(f"sides is {list(self.sides)}; expected at least one, and none twice")
        for side in self.sides:
            require_odd("a side", side)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.frame, self.lifted, self.padding = max(self.sides), lifted, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        uniform_(self.parameters(), in_channels * kernel_size**2)

    @property
    def scales(self) -> tuple[float, ...]:
        """What the columns stand for: the sides of their kernels, in pixels."""
        return tuple(map(float, self.sides))

    def forward(self, x: Tensor) -> Tensor:
        if self.lifted:
            require_lifted(x, "XuConv2d", len(self.sides))
        else:
            require_plain(x, "XuConv2d")
        require_channels(x, "XuConv2d", self.in_channels)
        if min(x.shape[-2:]) + 2 * self.padding < self.frame:
            raise ValueError(
                f"XuConv2d got {x.shape[-2]} x {x.shape[-1]} with padding of {self.padding} for kernels of "
                f"{self.frame}; take padding of {self.frame // 2}, smaller sides, or a larger image"
            )
        return convolve_columns(x, column_kernels(self.weight, self.sides), len(self.sides), self.bias, self.padding)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, sides={self.sides}, lifted={self.lifted}, "
            f"padding={self.padding}, bias={self.bias is not None}"
        )


def _resized(weight: Tensor, side: int) -> Tensor:
    k = weight.shape[-1]
    if side == k:
        return weight
    if side == 1:  # where corners meet corners, one pixel would be the top left one
        return weight[..., k // 2, None, k // 2, None]
    if side < k:
        return F.interpolate(weight, (side, side), mode="bilinear", align_corners=True)
    return F.interpolate(weight, (side, side), mode="nearest-exact")  # "nearest" leans to the top left
