"""The maps of a model's stages, and where their places lie in the images, whatever the model is.

A network of the zoo tells the geometry of its maps. Of other timm models the intermediate features are taken to lie
evenly over the image, and how far their places see is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evaluation.study import Subject, device_of


class StageMap(NamedTuple):
    """What a stage made of images; what lies along an axis is told for y and x.

    Args:
        value: (B, C, S, H, W); S is 1 where there is no scale axis.
        scales: what the S scales stand for.
        stride: pixels of the image from place to place.
        start: the pixel of the image that the first place is the middle of.
        reach: per scale, how many pixels around its middle a place sees; 0 where that is not known.
    """

    value: Tensor
    scales: tuple[float, ...]
    stride: tuple[float, float]
    start: tuple[float, float]
    reach: tuple[float, ...]


def maps_of(model: Any, image: Tensor) -> dict[str, StageMap]:
    """By stage, of (B, C, H, W) images as the model is given them.

    Of a model that warps its features, places are those of the warped image.
    """
    size = (image.shape[-2], image.shape[-1])
    seen, frame = model.preprocessed_frame(size)
    # From pixels as the backbone sees them to pixels of the image, along y and x.
    factors = [frame.scale[1 - a] * (size[a] - 1) / max(seen[a] - 1, 1) for a in (0, 1)]
    firsts = [frame.offset[1 - a] * (size[a] - 1) for a in (0, 1)]
    maps = _of_zoo(model, image) if hasattr(model.backbone, "feature_maps") else _of_timm(model, image, seen)
    return {
        name: own._replace(
            stride=(own.stride[0] * factors[0], own.stride[1] * factors[1]),
            start=(own.start[0] * factors[0] + firsts[0], own.start[1] * factors[1] + firsts[1]),
            reach=tuple(reach * max(factors) for reach in own.reach),
        )
        for name, own in maps.items()
    }


def has_maps(model: Any, subject: Subject) -> None:
    """A need: maps over the image."""
    backbone = model.backbone
    if not (hasattr(backbone, "feature_maps") or hasattr(backbone, "forward_intermediates")):
        raise ValueError(
            f"needs the maps of a network of the zoo, or timm's forward_intermediates; {type(backbone).__name__} has "
            "neither"
        )
    maps_of(model, subject.images(1)[0].to(device_of(model)))


def _of_zoo(model: Any, image: Tensor) -> dict[str, StageMap]:
    backbone, found = model.backbone, {}
    for name, own in model.ask_backbone(image, backbone.feature_maps).items():
        scales = backbone.scale_values(_last(backbone.get_submodule(name)))
        value, margins = own.value, own.margins
        if not own.is_lifted:
            value, scales = value.flatten(1, -3).unsqueeze(2), (1.0,)  # what turns is no scale: such maps are channels
        elif len(scales) != value.shape[2]:  # a convolution over scales leaves some that stand for no scale
            value, scales, margins = value.amax(2, keepdim=True), (1.0,), (max(margins),)
        reach = tuple(own.start + own.stride * margin for margin in margins)
        reach = reach * len(scales) if len(reach) == 1 else reach
        found[name] = StageMap(value, scales, (own.stride,) * 2, (own.start,) * 2, reach)
    return found


def _of_timm(model: Any, image: Tensor, seen: tuple[int, int]) -> dict[str, StageMap]:
    call: Callable[[Tensor], Any] = partial(model.backbone.forward_intermediates, intermediates_only=True)
    values = model.ask_backbone(image, call)
    names = [info["module"] for info in model.backbone.feature_info]
    if len(names) != len(values):
        raise ValueError(f"needs a map for every stage; {type(model.backbone).__name__} gives {len(values)} of {names}")
    found = {}
    for name, value in zip(names, values, strict=True):
        stride = seen[0] / value.shape[-2], seen[1] / value.shape[-1]
        start = (stride[0] - 1) / 2, (stride[1] - 1) / 2
        found[name] = StageMap(value.unsqueeze(2), (1.0,), stride, start, (0.0,))
    return found


def _last(stage: Any) -> Any:
    """Of a stage of several parts, the one that its map comes from."""
    return stage[-1] if isinstance(stage, torch.nn.Sequential) else stage
