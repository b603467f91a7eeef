"""Layers of SESN and DISCO: convolutions whose kernels are sums of functions that are known at every scale.

The weights of the sum are shared by all scales. So the kernel at a larger scale is the larger version of the same one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_lifted, require_padding, require_plain
from layers.scale.convolution import convolve
from layers.scale.disco import Disco
from layers.scale.functions import FixedFunctions, LearnedFunctions
from layers.scale.hermite import Hermite
from layers.scale.weights import uniform_

Basis = Hermite | Disco | Tensor | LearnedFunctions | FixedFunctions
SAME = -1  # padding of half a kernel's side


class Steerable(nn.Module):
    """What lifting and scale convolution share: functions, weights of them, and how they are padded.

    Args:
        in_channels, out_channels: C and O.
        shape: of the weights, between C and the number of functions.
        basis: of the kernels.
        stride: of the convolution, in pixels.
        padding: zeros on each side, in pixels; ``SAME`` keeps the size at stride 1.
        bias: whether there is one, shared by all scales.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shape: tuple[int, ...],
        basis: Basis,
        *,
        stride: int,
        padding: int,
        bias: bool,
    ):
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("stride", stride)):
            require_count(name, value)
        require_padding(padding, least=SAME)
        self.functions = _functions_of(basis)
        self.in_channels, self.stride, self.padding = in_channels, stride, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *shape, self.functions.count))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform weights within 1 / sqrt of the numbers that make one output, and a bias of 0."""
        uniform_([self.weight], self.weight[0].numel())
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def levels(self) -> int:
        """S, the number of scales."""
        return self.functions.levels

    @property
    def scales(self) -> tuple[float, ...] | None:
        """What the scales stand for: widths in pixels, the scales of DISCO, or None of functions that were given."""
        return self.functions.scales

    def _margin(self, kernels: Tensor) -> int:
        return kernels.shape[-1] // 2 if self.padding == SAME else self.padding

    def _require_room(self, x: Tensor, kernels: Tensor) -> None:
        side, margin = kernels.shape[-1], self._margin(kernels)
        if min(x.shape[-2:]) + 2 * margin < side:
            raise ValueError(
                f"{type(self).__name__} got {tuple(x.shape)}; its kernels of {side} x {side} do not fit with a "
                f"padding of {margin}"
            )


class LiftingConv2d(Steerable):
    """From a plain map to a lifted one: one kernel, at every scale. (B, C, H, W) to (B, O, S, H', W')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        basis: Basis,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, (), basis, stride=stride, padding=padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "LiftingConv2d")
        require_channels(x, "LiftingConv2d", self.in_channels)
        functions = self.functions()
        kernels = torch.einsum("ocf,fshw->oschw", self.weight, functions.to(self.weight))
        self._require_room(x, kernels)
        bias = None if self.bias is None else self.bias.repeat_interleave(self.levels)
        y = convolve(x, kernels.flatten(0, 1), bias, self.stride, self._margin(kernels))
        return y.unflatten(1, (-1, self.levels))


class ScaleConv2d(Steerable):
    """From a lifted map to a lifted one. (B, C, S, H, W) to (B, O, S, H', W').

    Each scale is filtered with the kernel of its own size. With an ``interaction`` of N it also reads the N - 1 scales
    above it, each with weights of its own; above the top one there is 0.

    Args:
        interaction: N.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        basis: Basis,
        *,
        interaction: int = 1,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        require_count("interaction", interaction)
        super().__init__(in_channels, out_channels, (interaction,), basis, stride=stride, padding=padding, bias=bias)
        self.interaction = interaction

    def forward(self, x: Tensor) -> Tensor:
        S = self.levels
        require_lifted(x, "ScaleConv2d", S)
        require_channels(x, "ScaleConv2d", self.in_channels)
        functions = self.functions()
        kernels = torch.einsum("ocnf,fshw->sonchw", self.weight, functions.to(self.weight)).flatten(2, 3)
        self._require_room(x, kernels)
        bias = None if self.bias is None else self.bias.repeat(S)
        seen, margin = _with_above(x, self.interaction), self._margin(kernels)
        y = convolve(seen, kernels.flatten(0, 1), bias, self.stride, margin, groups=S)
        return y.unflatten(1, (S, -1)).transpose(1, 2)


def _functions_of(basis: Basis) -> FixedFunctions | LearnedFunctions:
    if isinstance(basis, Hermite | Disco | Tensor):
        return FixedFunctions(basis)
    if not isinstance(basis, FixedFunctions | LearnedFunctions):
        raise TypeError(f"basis is {basis!r}; expected Hermite, Disco, LearnedFunctions, or (F, S, K, K) functions")
    return basis


def _with_above(x: Tensor, interaction: int) -> Tensor:
    """(B, S * N * C, H, W) of (B, C, S, H, W): each scale beside those above it, and 0 above the top one.

    Made in one go, for copies of maps are what such a layer costs beyond its convolution.
    """
    S = x.shape[2]
    if interaction == 1:
        return x.transpose(1, 2).flatten(1, 2)
    scales = x.unbind(2)
    scales += (torch.zeros_like(scales[0]),) * (interaction - 1)
    return torch.cat([scales[own + above] for own in range(S) for above in range(interaction)], dim=1)
