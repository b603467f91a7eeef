"""Reading an image at the positions of a grid: bilinear with as many derivatives as asked for, and other ways."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.grid import is_traced
from layers.spec import SampleMode


def sample(image: Tensor, grid: Tensor, mode: SampleMode) -> Tensor:
    """Read (B, C, H, W) at a (B, 2, h, w) grid in [0, 1].

    "bicubic" is sharper than bilinear and overshoots. "antialiased" averages four bilinear readings, at the quarters of
    each pixel of the result, so that it blurs a little everywhere.
    """
    if mode == "nearest":
        return sample_nearest(image, grid)
    if mode == "bicubic":
        return F.grid_sample(image, _positions(grid), mode="bicubic", padding_mode="border", align_corners=True)
    if mode == "antialiased":
        quarters = F.interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)
        return F.avg_pool2d(sample_bilinear(image, quarters), 2)
    return sample_bilinear(image, grid)


def sample_bilinear(image: Tensor, grid: Tensor) -> Tensor:
    """Read (B, C, H, W) at a (B, 2, h, w) grid in [0, 1]; what lies outside is read at the border.

    Values and first derivatives come from torch's own sampler, whose derivative has none itself. Where the caller
    differentiates twice (an unrolled inner optimisation), the backward pass goes through a sampler made of gathers,
    many times slower and differentiable to any order.
    """
    if is_traced() or not torch.is_grad_enabled():
        return _builtin(image, grid)
    return _Sample.apply(image, grid)


def sample_nearest(image: Tensor, grid: Tensor) -> Tensor:
    """Read the nearest pixel's value, in the image's own dtype, under the same convention as bilinear."""
    H, W = image.shape[-2:]
    return _pixels(image, (grid[:, 1] * (H - 1)).round(), (grid[:, 0] * (W - 1)).round())


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(image: Tensor, grid: Tensor) -> Tensor:  # type: ignore[override]
        return _builtin(image, grid)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        image, grid = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # the caller asked for a graph of this backward pass
            inputs = [tensor for tensor, wanted in zip((image, grid), needed, strict=True) if wanted]
            found = iter(torch.autograd.grad(_gathered(image, grid), inputs, gradient, create_graph=True))
            return next(found) if needed[0] else None, next(found) if needed[1] else None
        for_image, for_positions = torch.ops.aten.grid_sampler_2d_backward(
            gradient, image, _positions(grid), 0, 1, True, list(needed)
        )
        return for_image if needed[0] else None, for_positions.permute(0, 3, 1, 2) * 2 if needed[1] else None


def _positions(grid: Tensor) -> Tensor:
    return grid.permute(0, 2, 3, 1) * 2 - 1


def _builtin(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, _positions(grid), mode="bilinear", padding_mode="border", align_corners=True)


def _gathered(image: Tensor, grid: Tensor) -> Tensor:
    """The same values from four gathers, every step of which has derivatives of any order."""
    H, W = image.shape[-2:]
    # Rounded as torch's sampler rounds: at the identity every position lies on a pixel, between two cells with
    # derivatives of their own.
    x, y = (((grid[:, k] * 2 - 1 + 1) * ((n - 1) / 2)).clamp(0, n - 1) for k, n in ((0, W), (1, H)))
    left, top = x.detach().floor(), y.detach().floor()
    right_share, bottom_share = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    above = torch.lerp(_pixels(image, top, left), _pixels(image, top, left + 1), right_share)
    below = torch.lerp(_pixels(image, top + 1, left), _pixels(image, top + 1, left + 1), right_share)
    return torch.lerp(above, below, bottom_share)


def _pixels(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Read (B, C, H, W) at whole-numbered (B, h, w) rows and columns, clamped to the image."""
    B, C, H, W = image.shape
    index = row.long().clamp(0, H - 1) * W + column.long().clamp(0, W - 1)
    return image.reshape(B, C, H * W).gather(2, index.view(B, 1, -1).expand(-1, C, -1)).view(B, C, *index.shape[1:])
