"""Whether the map over an object at one size is the map over it at another: the error of Just a Matter of Scale.

    error = |A - R(B)|^2 / |A|^2

A is the map of a stage at the places whose kernels lie in the object's box, B the same of the object at another size,
and R resizes B to the size of A, bicubically. An object at (left, top) with side s is cut out as rows top to
top + s - p, and columns likewise, with p = 64 - the map's side; which asks for a map of stride 1. Of a map with a scale
axis the largest answer over the scales counts. A map that keeps the image's side is cut along the box, and sees what is
around it. Where kernels are larger than the object there are no such places, and the error is NaN: those of SESN and
DISCO leave a map of 36 x 36, in which an object of 17 pixels has none.

The published evaluation has two slips, which are not repeated. It fed images of 0 to 255 to networks that were trained
on 0 to 1; here images are those of training. And it judged scenario 1 by the pairs of scenario 3, and the reverse: the
number in the summary is of the pairs neither side of which was trained at, (64, 49), (49, 64), (48, 33) and (33, 48) in
scenario 1. In scenario 4, which trains at all sizes, it is of all pairs.

Arrays, with L stages, N objects:
    layers: (L,), their names.
    pairs: (6, 2), side of A and of B.
    error: (L, 6, N).
    counted: (6,), whether the pair is one of the summary's.
"""

from __future__ import annotations

from functools import partial
from math import nan
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.maps import has_maps, maps_of
from evaluation.measure import Measure, Trial, Unit
from evaluation.study import CHUNK, Findings, Study, Subject, device_of, finds_warps, sizes

PAIRS = ((64, 49), (49, 64), (48, 33), (33, 48), (32, 17), (17, 32))


def study(model: Any, subject: Subject) -> Findings:
    """Of all pairs of sides."""
    objects = subject.objects([side for pair in PAIRS for side in pair])
    at = {int(side): number for number, side in enumerate(objects.sides)}
    maps = _maps(model, objects.images.flatten(0, 1))
    errors = {}
    for layer, value in maps.items():
        by_object = value.unflatten(0, objects.images.shape[:2])
        found = [
            [
                crop_error(*((by_object[n, at[side]], objects.corners[n, at[side]].tolist(), side) for side in pair))
                for n in range(len(by_object))
            ]
            for pair in PAIRS
        ]
        errors[layer] = np.array(found)
    unseen = [not {*pair} & {*objects.trained} for pair in PAIRS]
    counted = np.array(unseen if any(unseen) else [True] * len(PAIRS))
    error = np.stack([*errors.values()])
    told = torch.from_numpy(error[:, counted]).nanmean((1, 2)).tolist()
    metrics = {f"crop_error_at_{layer}": value for layer, value in zip(errors, told, strict=True)}
    arrays = {"layers": np.array(list(errors)), "pairs": np.array(PAIRS), "error": error, "counted": counted}
    return Findings(metrics, arrays)


Cut = tuple[Tensor, list[int], int]  # a map (C, H, W) of an image of SIDE pixels, left and top of the object, its side
SIDE = 64


def crop_error(reference: Cut, other: Cut) -> float:
    """Of one object at two sides; NaN where the reference is 0 everywhere, or either map has no place in the object."""
    expected, actual = _cut(*reference), _cut(*other)
    if 0 in (*expected.shape, *actual.shape):
        return nan
    resized = F.interpolate(actual[None], expected.shape[-2:], mode="bicubic", align_corners=False)[0]
    whole = expected.square().sum()
    return ((expected - resized).square().sum() / whole).item() if whole > 0 else nan


def _cut(value: Tensor, corner: list[int], side: int) -> Tensor:
    left, top = corner
    length = max(side - (SIDE - value.shape[-1]), 0)
    return value[:, top : top + length, left : left + length].double()


def _maps(model: Any, images: Tensor) -> dict[str, Tensor]:
    """By stage (B, C, H, W), of the maps of stride 1."""
    found: dict[str, list[Tensor]] = {}
    for image in images.split(CHUNK):
        for layer, own in maps_of(model, image.to(device_of(model))).items():
            if own.stride == (1, 1):
                found.setdefault(layer, []).append(own.value.amax(2).cpu())
    return {layer: torch.cat(values) for layer, values in found.items()}


def has_still_places(model: Any, _: Subject) -> None:
    """A need: maps whose places are those of the image, in which the object's box lies."""
    if finds_warps(model):
        raise ValueError("needs maps whose places are those of the image; this model warps what its network sees")


def has_fine_maps(model: Any, subject: Subject) -> None:
    """A need: a map with a place for every pixel of the image, so that an object can be cut out of it."""
    strides = {layer: own.stride[0] for layer, own in maps_of(model, subject.images(1)[0].to(device_of(model))).items()}
    if 1 not in strides.values():
        told = ", ".join(f"{stride:g} at {layer}" for layer, stride in strides.items())
        raise ValueError(f"needs a map with a place for every pixel; the strides of this model are {told}")


_error = partial(Measure, unit=Unit("ratio of squares"), trial=Trial.STUDY)
STUDY = Study(
    name="crops",
    run=study,
    needs=(sizes, has_still_places, has_maps, has_fine_maps),
    measures=[_error(name="crop_error_at")],
)
