"""Where the places of a map lie in the image, and which of them have seen zeros from beyond it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from torch import nn

from layers.scale.correlation import ScaleCorrelation
from layers.scale.deformable_scale import DeformableScaleCorrelation
from layers.scale.dilation import level_dilations
from layers.scale.halving import SharedConv
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.pool import ScaleMean, ScalePool
from layers.scale.rotations import RotationConv, RotationLifting
from layers.scale.scale_space import ScaleSpace
from layers.scale.siconv import SiConv2d
from layers.scale.space_pool import SpacePool2d
from layers.scale.steerable import SAME, LiftingConv2d, ScaleConv2d
from layers.scale.xu import XuConv2d


@dataclass(frozen=True)
class Geometry:
    """Of a map, along both axes alike.

    Args:
        stride: pixels of the image from place to place.
        start: the pixel of the image in the middle of what the first place stands for.
        margins: per scale, the places at each border that have seen zeros; one for all where scales are alike.
    """

    stride: float = 1.0
    start: float = 0.0
    margins: tuple[int, ...] = (0,)


def behind(layer: nn.Module, before: Geometry) -> Geometry:
    """The geometry after a layer, or after several in a row; layers that are not listed here change none."""
    if isinstance(layer, nn.Sequential):
        for part in layer:
            before = behind(part, before)
        return before
    own: Any = getattr(layer, "behind", None)  # of a module that is made of several
    if own is not None:
        return own(before)
    for kinds, rule in RULES:
        if isinstance(layer, kinds):
            return rule(layer, before)
    return before


def _convolved(before: Geometry, kernel: int, padding: int, zeros: tuple[int, ...], stride: int = 1) -> Geometry:
    """After a window of ``kernel`` places.

    Args:
        before: it.
        kernel: places that the window spans.
        padding: places that the map grows by on each side before it.
        zeros: per scale, how far beyond the border a place can see.
        stride: of the window.
    """
    count = max(len(before.margins), len(zeros))
    known, added = (part * count if len(part) == 1 else part for part in (before.margins, zeros))
    return Geometry(
        stride=before.stride * stride,
        start=before.start + before.stride * ((kernel - 1) / 2 - padding),
        margins=tuple(ceil((margin + more) / stride) for margin, more in zip(known, added, strict=True)),
    )


def _first(value: Any) -> int:
    return int(value[-1]) if isinstance(value, tuple) else int(value)


def _conv(layer: Any, before: Geometry) -> Geometry:
    padding, dilation = _first(layer.padding), _first(layer.dilation)
    kernel = dilation * (_first(layer.kernel_size) - 1) + 1
    return _convolved(before, kernel, padding, (padding,), _first(layer.stride))


def _over_scales(layer: nn.Conv3d, before: Geometry) -> Geometry:
    """It leaves fewer scales, each of which has seen several."""
    after, depth = _conv(layer, before), layer.kernel_size[0]
    known = range(len(after.margins) - depth + 1)
    return replace(after, margins=tuple(max(after.margins[s : s + depth]) for s in known) or (max(after.margins),))


def _window(layer: Any, before: Geometry) -> Geometry:
    padding = _first(layer.padding)
    return _convolved(before, _first(layer.kernel_size), padding, (padding,), _first(layer.stride))


def _steerable(layer: Any, before: Geometry) -> Geometry:
    kernel = layer.functions().shape[-1]
    padding = kernel // 2 if layer.padding == SAME else layer.padding
    after = _convolved(before, kernel, padding, (padding,) * layer.levels, layer.stride)
    above = getattr(layer, "interaction", 1)
    return replace(after, margins=tuple(max(after.margins[s : s + above]) for s in range(layer.levels)))


def _siconv(layer: SiConv2d, before: Geometry) -> Geometry:
    k = layer.kernel_size
    rims = tuple(side // 2 if layer.padding else (side - k) // 2 for side in layer.sides)
    return _convolved(before, k, k // 2 if layer.padding else 0, rims)


def _xu(layer: XuConv2d, before: Geometry) -> Geometry:
    beyond = tuple(max(0, layer.padding - (layer.frame - side) // 2) for side in layer.sides)
    return _convolved(before, layer.frame, layer.padding, beyond)


def _kanazawa(layer: KanazawaConv2d, before: Geometry) -> Geometry:
    """A smaller image has its border inside the map. Of a larger one the outer part is missing, and answers 0."""
    least = min(layer.factors)
    beyond = ceil(layer.kernel_size / 2 / least) if least < 1 else layer.padding
    return _convolved(before, layer.kernel_size, layer.padding, (beyond,))


def _same(reach: tuple[int, ...], before: Geometry) -> Geometry:
    count = max(len(reach), len(before.margins))
    known, added = (part * count if len(part) == 1 else part for part in (before.margins, reach))
    return replace(before, margins=tuple(one + other for one, other in zip(known, added, strict=True)))


def _scale_space(layer: ScaleSpace, before: Geometry) -> Geometry:
    return _same((0, *(len(layer.get_buffer(f"taps{level}")) // 2 for level in range(1, layer.levels))), before)


def _correlation(layer: Any, before: Geometry) -> Geometry:
    levels = len(before.margins)
    reach = tuple(_first(layer.kernel_size) // 2 * dilation for dilation in level_dilations(layer.base, levels))
    above = getattr(layer, "interaction", 1)
    deepest = [max(before.margins[s : s + above]) for s in range(levels)]
    return _same(reach, replace(before, margins=tuple(deepest)))


def _shared(layer: SharedConv, before: Geometry) -> Geometry:
    return _same((_first(layer.kernel_size) // 2,), before)


def _rotation(layer: Any, before: Geometry) -> Geometry:
    return _convolved(before, layer.weight.shape[-1], layer.padding, (layer.padding,))


def _dilated(layer: SpacePool2d, before: Geometry) -> Geometry:
    """Counted at the first level; at others the window reaches further to the right and below."""
    levels = len(before.margins)
    reach = level_dilations(layer.base, levels) if layer.dilated else [1] * levels
    beyond = tuple((layer.size - 1) * (dilation - 1) for dilation in reach)
    return _convolved(before, layer.size, 0, beyond, layer.size)


def _pooled(layer: ScalePool | ScaleMean, before: Geometry) -> Geometry:
    """A place of what is left has seen what any of its scales has."""
    return replace(before, margins=(max(before.margins),))


def _doubled(layer: nn.Upsample, before: Geometry) -> Geometry:
    factor = int(layer.scale_factor)  # type: ignore[arg-type]
    stride = before.stride / factor
    start = before.start - (before.stride - stride) / 2
    return Geometry(stride, start, tuple(factor * margin for margin in before.margins))


RULES: list[tuple[Any, Any]] = [  # the first that fits counts
    (SharedConv, _shared),
    ((LiftingConv2d, ScaleConv2d), _steerable),
    (SiConv2d, _siconv),
    (XuConv2d, _xu),
    (KanazawaConv2d, _kanazawa),
    (ScaleSpace, _scale_space),
    ((ScaleCorrelation, DeformableScaleCorrelation), _correlation),
    ((RotationLifting, RotationConv), _rotation),
    (nn.Conv3d, _over_scales),
    (nn.Conv2d, _conv),
    ((nn.MaxPool2d, nn.AvgPool2d, nn.MaxPool3d, nn.AvgPool3d), _window),
    ((ScalePool, ScaleMean), _pooled),
    (SpacePool2d, _dilated),
    (nn.Upsample, _doubled),
]
