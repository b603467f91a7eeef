"""Convolution with kernels of any size: large ones by way of the Fourier transform, where that is faster.

Where a small map is padded for a large kernel, the outer taps meet zeros alone. They are cut off first: on 7 x 7 places
a kernel of side 25 is one of side 13.

A direct convolution with a kernel of side k costs k² products per pixel, and its backward pass twice as many. In the
Fourier domain the side does not matter: benchmarks/results/convolution.md has times. Both ways agree within rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.fourier import by_fourier

BATCH = 8  # so many images are worth transforming the kernels for


class PlainConv2d(nn.Conv2d):
    """``nn.Conv2d`` by whichever way is faster, with what ``convolve`` knows of its options."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), self.groups)


def convolve(
    x: Tensor, kernels: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """``F.conv2d``, of (B, C, H, W) with (O, C / groups, k, k): to (B, O, H', W')."""
    if not (torch.compiler.is_exporting() or torch.jit.is_tracing()):  # a graph that is kept may meet larger maps
        spare = kernels.shape[-1] - padding - max(x.shape[-2:])  # outer taps on each side that no place ever meets
        if 0 < spare <= padding:
            kernels, padding = kernels[..., spare:-spare, spare:-spare], padding - spare
    if stride == 1 and _is_worth_transforming(x, kernels, padding, groups):
        return by_fourier(x, kernels, bias, padding, groups)
    return F.conv2d(x, kernels, bias, stride, padding, groups=groups)


def _is_worth_transforming(x: Tensor, kernels: Tensor, padding: int, groups: int) -> bool:
    """Large kernels on a batch, on a CPU; a GPU's own library chooses by itself.

    Not in half precision, which has no transform, and not where a graph is captured: it has to hold for other sizes and
    devices than those that it is captured with. ONNX has no complex numbers either.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    k = kernels.shape[-1]
    H, W = (side + 2 * padding for side in x.shape[-2:])
    return (
        x.shape[0] >= BATCH
        and k <= min(H, W)  # a larger kernel is torch's to refuse
        and k * k * (H - k + 1) * (W - k + 1) >= least_saved(kernels, groups) * H * W
        and x.device.type == "cpu"
        and x.dtype == kernels.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )


def least_saved(kernels: Tensor, groups: int = 1) -> float:
    """How many products per pixel the transform has to spare: fewer of many channels, which share their transforms.

    A transform of one channel costs about as much as 160 direct products per pixel, and a product of two as much as 12.
    """
    out, into = kernels.shape[0] // groups, kernels.shape[1]
    return 12 + 160 * (1 / into + 1 / out)
