"""Convolution in the Fourier domain, where the side of a kernel does not matter.

Maps and kernels are real, and so are all gradients: half of the frequencies tell everything. PyTorch would transform
gradients as complex numbers, at more than twice the time, so the backward pass is written out. With X, K and G the
transforms of the maps, of the kernels and of the answer's gradient, at each frequency by itself,

    answer X K^H        gradient of the maps G K        gradient of the kernels G^H X

are products of small matrices, of (images, channels) and (channels out, channels in).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def by_fourier(x: Tensor, kernels: Tensor, bias: Tensor | None = None, padding: int = 0, groups: int = 1) -> Tensor:
    """``F.conv2d`` of stride 1: (B, C, H, W) with (O, C / groups, k, k) to (B, O, H', W')."""
    answer: Tensor = _Correlation.apply(F.pad(x, (padding,) * 4), kernels, groups)
    return answer if bias is None else answer + bias[:, None, None]


class _Correlation(torch.autograd.Function):
    """The transform wraps around. No answer that is kept reaches so far: they are those of kernels within the map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, groups: int) -> Tensor:
        X, K = _spectra(x, kernels, groups)
        ctx.groups = groups
        ctx.save_for_backward(x, kernels, X, K)
        k = kernels.shape[-1]
        answer = _signal(X @ K.mH.resolve_conj(), _sides(x))
        return _ungrouped(answer[..., : x.shape[-2] - k + 1, : x.shape[-1] - k + 1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, kernels, X, K = ctx.saved_tensors
        sides = _sides(x)
        if torch.is_grad_enabled():  # this pass is differentiated in its turn, back to the maps and the kernels
            X, K = _spectra(x, kernels, ctx.groups)
        G = _spectrum(_grouped(gradient, ctx.groups), sides)
        of_maps = of_kernels = None
        if ctx.needs_input_grad[0]:
            of_maps = _ungrouped(_signal(G @ K, sides)[..., : x.shape[-2], : x.shape[-1]])
        if ctx.needs_input_grad[1]:
            k = kernels.shape[-1]
            of_kernels = _signal(G.mH.resolve_conj() @ X, sides)[..., :k, :k].flatten(0, 1)
        return of_maps, of_kernels, None


def _sides(x: Tensor) -> tuple[int, int]:
    H, W = x.shape[-2:]
    return fast_side(H), fast_side(W)


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(B, groups channels, H, W) to (groups, B, channels, H, W)."""
    return x.unflatten(1, (groups, -1)).transpose(0, 1)


def _ungrouped(x: Tensor) -> Tensor:
    """Back from there."""
    return x.transpose(0, 1).flatten(1, 2)


def _spectra(x: Tensor, kernels: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Of the maps and of the kernels, of which each output channel belongs to one group."""
    sides = _sides(x)
    return _spectrum(_grouped(x, groups), sides), _spectrum(kernels.unflatten(0, (groups, -1)), sides)


def _spectrum(signal: Tensor, sides: tuple[int, int]) -> Tensor:
    """(groups, A, channels, H, W) to (frequencies, groups, A, channels): small matrices, in one piece."""
    found = torch.fft.rfft2(signal, sides).flatten(3)
    return found.flatten(0, 2).t().contiguous().unflatten(1, found.shape[:3])


def _signal(spectrum: Tensor, sides: tuple[int, int]) -> Tensor:
    """Back from there to (groups, A, channels, *sides)."""
    found = spectrum.flatten(1).t().contiguous().unflatten(0, spectrum.shape[1:])
    return torch.fft.irfft2(found.unflatten(-1, (sides[0], sides[1] // 2 + 1)), sides)


def fast_side(side: int) -> int:
    """The smallest number from ``side`` upwards without a prime factor above 5, of which transforms are fast."""
    while True:
        rest = side
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return side
        side += 1
