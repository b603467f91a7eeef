"""Convolutions over turns by 90 or 45 degrees: the control for "some other symmetry was built in".

The group axis has the place of the scale axis: (B, C, n, H, W). Turning the image by a quarter turns each map by a
quarter and rolls the axis by n / 4, exactly. Order 8 also has turns by 45 degrees. For these the kernel is resampled
bilinearly, and its corners leave the square, so that they are approximate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_lifted, require_padding, require_plain
from layers.scale.constant import WithConstants
from layers.scale.convolution import convolve
from layers.scale.weights import uniform_


def turning_matrices(side: int, order: int) -> Tensor:
    """(order, side², side²) in float64: number r turns a flattened kernel r / order around, the way of torch.rot90."""
    per_quarter = order // 4
    matrices = []
    for r in range(order):
        image = _turn(side, math.pi / 2 * (r % per_quarter) / per_quarter).unflatten(0, (side, side))
        matrices.append(torch.rot90(image, r // per_quarter, (0, 1)).flatten(0, 1))
    return torch.stack(matrices)


def _turn(side: int, angle: float) -> Tensor:
    """Bilinear turn by less than a quarter, as a matrix (side², side²), with zeros from outside of the kernel."""
    if angle == 0:
        return torch.eye(side**2, dtype=torch.float64)
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    row, column = place[:, None], place[None, :]
    from_row = row * math.cos(angle) + column * math.sin(angle)
    from_column = column * math.cos(angle) - row * math.sin(angle)
    by_row, by_column = (
        (1 - (source.flatten()[:, None] - place).abs()).clamp(min=0) for source in (from_row, from_column)
    )
    return (by_row[:, :, None] * by_column[:, None, :]).flatten(1)


class _Rotations(WithConstants):
    turns: Tensor

    def __init__(self, shape: tuple[int, ...], order: int, padding: int, bias: bool):
        super().__init__()
        if order not in (4, 8):
            raise ValueError(f"order is {order}; expected 4 or 8")
        for name, value in zip(("out_channels", "in_channels", "kernel_size"), (*shape[:2], shape[-1]), strict=True):
            require_count(name, value)
        require_padding(padding)
        self.order, self.padding = order, padding
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        uniform_(self.parameters(), math.prod(shape[1:]))
        with torch.device("cpu"):
            turns = turning_matrices(shape[-1], order)
        self.hold("turns", turns)

    def _convolve(self, x: Tensor, kernels: Tensor) -> Tensor:
        """With kernels (O, n, C', k, k) of a plain (B, C', H, W): to (B, O, n, H', W')."""
        bias = None if self.bias is None else self.bias.repeat_interleave(self.order)
        answer = convolve(x, kernels.flatten(0, 1), bias, padding=self.padding)
        return answer.unflatten(1, (-1, self.order))

    def extra_repr(self) -> str:
        shape = self.weight.shape
        return (
            f"{shape[1]}, {shape[0]}, {shape[-1]}, order={self.order}, padding={self.padding}, "
            f"bias={self.bias is not None}"
        )


class RotationLifting(_Rotations):
    """Convolve (B, C, H, W) with one kernel at all turns: to (B, O, n, H', W').

    Args:
        in_channels, out_channels: C and O.
        kernel_size: k.
        order: n, 4 or 8.
        padding: zeros around the image.
        bias: whether to add a bias, the same at all turns.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        order: int = 4,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), order, padding, bias)

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "RotationLifting")
        require_channels(x, "RotationLifting", self.weight.shape[1])
        turned = torch.einsum("rij,ocj->orci", self.turns.to(self.weight), self.weight.flatten(2))
        return self._convolve(x, turned.unflatten(-1, self.weight.shape[-2:]))


class RotationConv(_Rotations):
    """Convolve over positions and turns: (B, C, n, H, W) to (B, O, n, H', W').

    The kernel of output turn r is turned by r and rolled by r along the group axis, for what matters is the turn of a
    part against that of the whole. ``x.amax(2)`` of the last layer is indifferent to turns. The arguments are those of
    RotationLifting.
    """

    before: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        order: int = 4,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__((out_channels, in_channels, order, kernel_size, kernel_size), order, padding, bias)
        with torch.device("cpu"):
            turn = torch.arange(order)
            before = (turn - turn[:, None]) % order
        self.hold("before", before)

    def forward(self, x: Tensor) -> Tensor:
        require_lifted(x, "RotationConv")
        require_channels(x, "RotationConv", self.weight.shape[1])
        if x.shape[2] != self.order:
            raise ValueError(f"RotationConv got {x.shape[2]} turns, of {tuple(x.shape)}; expected {self.order}")
        rolled = self.weight.flatten(3)[:, :, self.before]  # (O, C, r, h, k²): at r and h the weight of turn h - r
        turned = torch.einsum("rij,ocrhj->orchi", self.turns.to(self.weight), rolled)
        kernels = turned.flatten(2, 3).unflatten(-1, self.weight.shape[-2:])
        return self._convolve(x.flatten(1, 2), kernels)
