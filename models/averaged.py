"""Test-time averaging: what a plain model says of an image and of random warps of it, in the mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from layers.grid import WarpParams, check_params
from layers.monotone import unchecked_warp
from layers.seeds import item_warps
from layers.spec import Average
from models.wrapped import WrappedBackbone


class AveragedModel(WrappedBackbone):
    """A backbone that in evaluation mode answers by the mean over an image and fixed warps of it.

    Its parameters are those of the plain model, which it is in training mode. The views of a batch go through the
    backbone one after the other, so that memory is that of the batch.

    Args:
        backbone: any module that takes (B, C, H, W) and gives (B, classes).
        warps: parameters of the warps beside the image itself, the same for every image; None: no warps.
        preprocess: what an image and its warps go through before the backbone.
    """

    def __init__(self, backbone: nn.Module, warps: WarpParams | None, *, preprocess: nn.Module | None = None):
        super().__init__(backbone, preprocess)
        if warps is not None:
            check_params(warps)
        self.warps_x: Tensor | None
        self.warps_y: Tensor | None
        # Not in the state dict: they follow from the recipe, and weights of a plain model fit this one.
        self.register_buffer("warps_x", None if warps is None else warps.x.detach().clone(), persistent=False)
        self.register_buffer("warps_y", None if warps is None else warps.y.detach().clone(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of (B, C, H, W) images: in evaluation mode the log of the mean class probabilities over their views.

        Without warps they are the backbone's own logits, which differ from that log by one constant per image.
        """
        logits = super().forward(image)
        if self.training or self.warps_x is None or self.warps_y is None:
            return logits
        if logits.ndim != 2:
            raise ValueError(f"logits have shape {tuple(logits.shape)}; expected (B, classes), of one class per image")
        views = [logits]
        for x, y in zip(self.warps_x, self.warps_y, strict=True):
            views.append(super().forward(_warped(image, x, y)))
        return torch.stack(views).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(views))


def with_average(
    backbone: nn.Module,
    spec: Average | None = None,
    *,
    image_size: int | None = None,
    preprocess: nn.Module | None = None,
    **options: Any,
) -> AveragedModel:
    """Let a backbone average over an image and random warps of it.

    Every view has a seed of its own, its number, so that another ``count`` leaves the first views as they are.

    Args:
        backbone: any timm model.
        spec: how many warps, and how strong; None for the defaults.
        image_size: taken as other methods do, and not needed.
        preprocess: what an image and its warps go through before the backbone.
        **options: fields of an ``Average``, in the place of what ``spec`` has.
    """
    given = replace(spec or Average(), **options)
    numbers = range(1, given.count)  # view 0 is the image itself
    warps = item_warps(numbers, given.grid_size, given.strength, "average") if numbers else None
    return AveragedModel(backbone, warps, preprocess=preprocess)


def _warped(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """All images under one warp of (R, R - 1) parameters."""
    dtype = torch.promote_types(image.dtype, torch.float32)
    x, y = (part.to(dtype).expand(len(image), -1, -1) for part in (x, y))
    return unchecked_warp(image, WarpParams(x, y))
