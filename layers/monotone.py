"""The monotone warp of an image and its inverse; the convention is stated in ``layers/grid.py``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.grid import (
    SHARPNESS,
    WarpParams,
    check_params,
    check_shapes,
    check_size,
    evaluate_grid,
    knot_grid,
    random_warp_params,
    unchecked_warp_grid,
    warp_grid,
)
from layers.inverse import fold_mask, inverse_warp_grid, unchecked_inverse_warp_grid
from layers.sampling import sample
from layers.spec import InverseMethod, SampleMode

__all__ = [
    "WarpParams",
    "evaluate_grid",
    "fold_mask",
    "inverse_monotone_warp",
    "inverse_warp_grid",
    "knot_grid",
    "monotone_warp",
    "random_warp_params",
    "unchecked_inverse_warp",
    "unchecked_warp",
    "warp_grid",
]


def monotone_warp(
    image: Tensor, phi: WarpParams, *, mode: SampleMode = "bilinear", work_size: tuple[int, int] | None = None
) -> Tensor:
    """Resample an image on a grid that increases along every row (x) and every column (y).

    Args:
        image: (B, C, H, W), floating; in nearest mode any dtype, a label map for instance.
        phi: parameters for B images.
        mode: "bilinear", "nearest", "bicubic" or "antialiased", see ``layers.sampling.sample``; all read at the same
            positions, so an image and its labels move alike.
        work_size: warp at this (height, width) and resize back. Identity parameters then still blur fine detail.
    """
    check_image(image, phi, mode, work_size)
    check_params(phi)
    return _read(image, mode, work_size, partial(unchecked_warp_grid, phi))


def unchecked_warp(image: Tensor, phi: WarpParams) -> Tensor:
    """``monotone_warp`` by parameters that were just computed here: nothing looks at values, so no GPU is waited for.

    An image whose phi is not a number becomes NaN as a whole.
    """
    check_image(image, phi)
    return _marked(_read(image, "bilinear", None, partial(unchecked_warp_grid, phi)), phi)


def inverse_monotone_warp(
    image: Tensor,
    phi: WarpParams,
    *,
    mode: SampleMode = "bilinear",
    work_size: tuple[int, int] | None = None,
    method: InverseMethod = "rowwise",
) -> Tensor:
    """Undo ``monotone_warp`` of the same parameters, up to two resamplings and the method's own error.

    Args:
        image: (B, C, H, W), as for ``monotone_warp``; its size may differ from that of the warped image.
        phi: parameters of the warp to undo.
        mode: as for ``monotone_warp``.
        work_size: as for ``monotone_warp``.
        method: as for ``inverse_warp_grid``.
    """
    check_image(image, phi, mode, work_size)
    check_params(phi)
    return _read(image, mode, work_size, partial(inverse_warp_grid, phi, method=method))


def unchecked_inverse_warp(image: Tensor, phi: WarpParams, method: InverseMethod = "rowwise") -> Tensor:
    """``inverse_monotone_warp`` by parameters that were just computed here."""
    check_image(image, phi)
    return _marked(_read(image, "bilinear", None, partial(unchecked_inverse_warp_grid, phi, method=method)), phi)


def check_image(
    image: Tensor, phi: WarpParams, mode: SampleMode = "bilinear", work_size: tuple[int, int] | None = None
) -> None:
    """Refuse an image that these parameters cannot warp, whatever their values, with what would be right."""
    if mode not in get_args(SampleMode):
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(get_args(SampleMode))}")
    if not isinstance(image, Tensor):
        raise TypeError(f"image is {type(image).__name__}; expected a tensor")
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (B, C, H, W), none of them zero")
    check_shapes(phi)
    if phi.x.shape[0] != image.shape[0]:
        raise ValueError(f"phi is for {phi.x.shape[0]} images; this batch has {image.shape[0]}")
    if phi.x.device != image.device:
        raise ValueError(f"phi is on {phi.x.device} but the image on {image.device}; move one of them")
    if mode == "nearest":
        if work_size is not None:
            raise ValueError("work_size resizes by averaging; labels cannot be averaged, so nearest mode has none")
        return
    if not image.is_floating_point():
        raise TypeError(f"image is {image.dtype}; {mode} mode needs a floating dtype (mode='nearest' takes labels)")
    if work_size is not None:
        check_size(work_size)
    # Under autocast a half-precision feature meets parameters solved for in float32; every other mixture is a slip.
    is_half = image.dtype in (torch.float16, torch.bfloat16)
    if phi.x.dtype != image.dtype and not (is_half and phi.x.dtype == torch.float32):
        raise TypeError(f"phi is {phi.x.dtype} but the image {image.dtype}; convert one of them")


def _marked(warped: Tensor, phi: WarpParams) -> Tensor:
    """The same images, but NaN where ``check_params`` would refuse phi."""
    largest = [(SHARPNESS * part.detach().float()).abs().amax((1, 2)) for part in phi]
    zero = 0 * (largest[0] + largest[1])
    return warped + zero[:, None, None, None].to(warped.dtype)


def _read(
    image: Tensor, mode: SampleMode, work_size: tuple[int, int] | None, grid_of: Callable[[tuple[int, int]], Tensor]
) -> Tensor:
    size = (image.shape[-2], image.shape[-1])
    if mode == "nearest":
        return sample(image, grid_of(size), mode)
    grid = grid_of(size if work_size is None else work_size)
    if work_size is None:
        return sample(image.to(grid.dtype), grid, mode).to(image.dtype)
    warped = sample(_resized(image.to(grid.dtype), work_size), grid, mode)
    return _resized(warped, size).to(image.dtype)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=True, antialias=True)
