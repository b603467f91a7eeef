"""SiConv: one kernel, resized to many sides, answers objects of many sizes.

Scale s convolves with the kernel at side k + 2s. Every resized kernel is divided by how much its area grew, so that the
sum of its weights, and with it the size of its answers, stays what it was. The sides grow by addition and not by a
factor, so a rescaled object does not simply shift the scale axis: only a maximum over it hardly depends on its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_increasing, require_plain
from layers.scale.constant import WithConstants
from layers.scale.convolution import convolve
from layers.scale.weights import uniform_

Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]


def resize_matrix(old: int, new: int, interpolation: Interpolation) -> Tensor:
    """The (new, old) float64 matrix that resizes a column of ``old`` numbers; each of its rows sums to 1."""
    target = torch.arange(new)
    first = target * old // new  # in whole numbers: rounding cannot move a boundary between two taps
    one_hot = torch.eye(old, dtype=torch.float64)
    if interpolation == "nearest":
        return one_hot[first]
    if interpolation == "area":
        # Target i covers the sources from i old/new to (i+1) old/new. Enlarging, these are one tap or two neighbours.
        after = ((target + 1) * old - (first + 1) * new).clamp(min=0).double()[:, None] / old
        return (1 - after) * one_hot[first] + after * one_hot[(first + 1).clamp(max=old - 1)]
    return F.interpolate(one_hot[None, None], (new, old), mode=interpolation, align_corners=False)[0, 0]


def resized_kernel(weight: Tensor, side: int, interpolation: Interpolation) -> Tensor:
    """Resize kernels (O, C, k, k) to (O, C, side, side), of the same mass; ``side`` is at least k."""
    k = weight.shape[-1]
    _require_interpolation(interpolation)
    if side < k:
        raise ValueError(f"side is {side}, below the kernel's own {k}; expected at least {k}, for kernels only grow")
    return _apply(weight, (k / side) * resize_matrix(k, side, interpolation).to(weight))


class SiConv2d(WithConstants):
    """Lift an image by convolving it with one kernel at several sides: (B, C, H, W) to (B, O, S, H', W').

    Un-padded, all scales are H - k + 1 high: larger kernels leave less, and what is missing around it is filled with
    zeros (not with the bias), so that one position means one place of the image at every scale. Padded, all of them
    are H high.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: k, the smallest side.
        scales: S, for the sides k, k + 2 step, k + 4 step, ...; leave it out where ``sides`` are given.
        sides: the sides themselves, from k upwards and all odd or all even, as k is. A few sides far apart, such as
            (7, 11, 17, 25), make training affordable.
        step: how far the sides lie apart, in steps of two pixels.
        interpolation: how the kernel is enlarged. With "nearest" and "area" a kernel enlarged by an odd factor answers
            an image enlarged by it exactly; "bicubic" is smooth, and what was published.
        padding: whether to surround the image with zeros; it takes an odd k.
        bias: whether to add a bias, the same at all scales.
    """

    resizers: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        scales: int | None = None,
        *,
        sides: Sequence[int] | None = None,
        step: int = 1,
        interpolation: Interpolation = "nearest",
        padding: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("kernel_size", kernel_size)):
            require_count(name, value)
        _require_interpolation(interpolation)
        self.sides = _sides(kernel_size, scales, sides, step)
        if padding and kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size is {kernel_size}; expected an odd number with padding=True, for an even kernel makes the "
                "map a pixel larger than the image"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.interpolation, self.padding = interpolation, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        uniform_(self.parameters(), in_channels * kernel_size**2)
        self.hold("resizers", _resizers(kernel_size, self.sides, interpolation))

    @property
    def scales(self) -> tuple[float, ...]:
        """What the scales stand for: the sides of the kernels, in pixels."""
        return tuple(map(float, self.sides))

    def kernels(self) -> list[Tensor]:
        """The kernel at every side, (O, C, side, side) each."""
        resizers = self.resizers.to(self.weight)
        return [_apply(self.weight, matrix[:side]) for matrix, side in zip(resizers, self.sides, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "SiConv2d")
        require_channels(x, "SiConv2d", self.in_channels)
        if self.padding:
            return torch.stack([convolve(x, w, self.bias, padding=w.shape[-1] // 2) for w in self.kernels()], 2)
        self._require_room(x)
        return torch.stack(
            [_rimmed(convolve(x, w, self.bias), w.shape[-1] - self.kernel_size) for w in self.kernels()], 2
        )

    def _require_room(self, x: Tensor) -> None:
        H, W = x.shape[-2:]
        if min(H, W) >= self.sides[-1]:
            return
        fitting = [side for side in self.sides if side <= min(H, W)]
        room = f"the first {len(fitting)}, {fitting}, fit" if fitting else "none of them fits"
        raise ValueError(
            f"SiConv2d got {H} x {W} for kernels of {list(self.sides)}: {room}; take fewer scales, padding=True or a "
            "larger image"
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, sides={self.sides}, "
            f"interpolation={self.interpolation!r}, padding={self.padding}, bias={self.bias is not None}"
        )


def _apply(weight: Tensor, matrix: Tensor) -> Tensor:
    """``matrix`` on the rows and on the columns of each kernel: two products, each of all kernels at once."""
    rows = F.linear(weight.transpose(-2, -1), matrix).transpose(-2, -1)
    return F.linear(rows, matrix)


def _resizers(k: int, sides: Sequence[int], interpolation: Interpolation) -> Tensor:
    """(S, largest side, k) in float64: the matrices of all sides, with zeros below the smaller ones."""
    with torch.device("cpu"):
        matrices = torch.zeros(len(sides), sides[-1], k, dtype=torch.float64)
        for matrix, side in zip(matrices, sides, strict=True):
            matrix[:side] = k / side * resize_matrix(k, side, interpolation)
        return matrices


def _rimmed(answer: Tensor, missing: int) -> Tensor:
    rim = missing // 2
    return F.pad(answer, (rim, rim, rim, rim)) if rim else answer


def _sides(k: int, scales: int | None, sides: Sequence[int] | None, step: int) -> tuple[int, ...]:
    if (scales is None) == (sides is None):
        raise ValueError(f"scales is {scales} and sides is {sides}; expected one of the two")
    require_count("step", step)
    if sides is None:
        assert scales is not None
        require_count("scales", scales)
        return tuple(k + 2 * step * s for s in range(scales))
    if step != 1:
        raise ValueError(f"step is {step}, and sides is {list(sides)}; expected a step only where sides are not given")
    for side in sides:
        require_count("a side", side)
    require_increasing("sides", sides)
    if sides[0] != k or any((side - k) % 2 for side in sides):
        parity = "even" if k % 2 == 0 else "odd"
        raise ValueError(
            f"sides is {list(sides)}; expected kernel_size, {k}, first and only {parity} numbers after it, so that "
            "all kernels have one middle"
        )
    return tuple(sides)


def _require_interpolation(name: str) -> None:
    if name not in get_args(Interpolation):
        raise ValueError(f"interpolation is {name!r}; expected one of {', '.join(get_args(Interpolation))}")
