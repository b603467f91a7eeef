"""Whether the scale that a model takes follows the size of the object.

A network that pools over scales tells which of them answered best. The larger the object, the larger that should be: r
is its correlation with the object's side, and on logarithmic axes a slope of 1 means that it grows as the object does.
A canonicalizer has a scale field instead: how much larger its warp shows the object. Where it brings all objects to one
size, that falls as the inverse of the side, which is a slope of -1.

Arrays, with N objects at S sides; of every layer L that leaves one scale, and of every site L of a canonicalizer:
    sides: (S,), in pixels.
    labels: (N,).
    L_scale: (N, S, C), what was taken in each of C channels: the side or width of a kernel, or the level's factor.
        Where each place takes its own it is the geometric mean over the places in the object's box. Behind a
        canonicalizer such layers are left out, for their places are those of the warped image. NaN where a channel
        answers nothing, or the object has no place on the map. Of a site, C is 1, and it is the magnification of the
        object: the root of its area in the warped image over that in the image.
    L_correlation: (N, C), Pearson's r over the sides; 0 where one scale is taken at all sides, and NaN where a scale
        is. Means leave those out.
    L_slope: (N, C), of the regression of the scale's logarithm on that of the side.
Where each place takes its own scale, of the first object:
    mapped: (M,), sides of the object, in pixels.
    L_places: (M, C, H, W), what was taken at every place of the map; NaN where nothing answers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evaluation.maps import StageMap, maps_of
from evaluation.measure import NUMBER, Measure, Trial
from evaluation.study import CHUNK, Findings, Objects, Study, Subject, device_of, finds_warps, sizes
from layers.frame import Frame
from layers.grid import WarpParams, warp_grid

MAPPED = (17, 33, 48, 64)  # sides of the object whose maps are kept, as published
LATTICE = 256  # readings per axis that areas are counted by


class Trend(NamedTuple):
    """How values (..., S) follow S sides: (...) each."""

    correlation: Tensor
    slope: Tensor


def study(model: Any, subject: Subject) -> Findings:
    """Of all objects at all of their sides."""
    objects = subject.objects()
    arrays = {"sides": objects.sides.numpy(), "labels": objects.labels.numpy()}
    metrics = {}
    shape = objects.images.shape[:2]
    images, corners = objects.images.flatten(0, 1), objects.corners.flatten(0, 1)
    sides = objects.sides.repeat(shape[0])
    for layer, values in _taken(model, images, corners, sides).items():
        scale = values.double().unflatten(0, shape)
        correlation, slope = trends(scale.transpose(1, 2), objects.sides)
        metrics[f"index_correlation_at_{layer}"] = correlation.nanmean().item()
        metrics[f"index_slope_at_{layer}"] = slope.nanmean().item()
        found = {"scale": scale, "correlation": correlation, "slope": slope}
        arrays |= {f"{layer}_{name}": value.numpy() for name, value in found.items()}
    return Findings(metrics, arrays | _mapped(model, objects))


def trends(scale: Tensor, sides: Tensor) -> Trend:
    """Of scales (..., S) at S sides, all of them positive."""

    def centred(values: Tensor) -> Tensor:
        return values.double() - values.double().mean(-1, keepdim=True)

    own, other = centred(scale), centred(sides)
    length = (own.norm(dim=-1) * other.norm()).clamp(min=torch.finfo(torch.float64).tiny)
    moves = scale.amax(-1) > scale.amin(-1)  # rounding of a mean alone would correlate
    on_log = centred(sides.double().log())
    slope = (centred(scale.double().log()) * on_log).sum(-1) / on_log.square().sum()
    return Trend(((own * other).sum(-1) / length) * moves, slope * moves)


def magnification(phi: WarpParams, frame: Frame, corners: Tensor, sides: Tensor, size: tuple[int, int]) -> Tensor:
    """How much larger a warp shows the objects: (B,), 1 where it leaves their areas as they are.

    Args:
        phi: of B images.
        frame: where the positions of the warp lie in the images.
        corners: (B, 2), left and top of the objects' boxes, in pixels.
        sides: (B,) of the boxes.
        size: (H, W) of the images.
    """
    still = WarpParams.identity(1, 2, dtype=phi.x.dtype, device=phi.x.device)
    areas = []
    for params in (phi, still):
        read = warp_grid(params, (LATTICE, LATTICE)).flatten(2).transpose(1, 2)  # (B, points, 2), x then y
        pixels = frame.to_whole(read) * torch.tensor([size[1] - 1, size[0] - 1]).to(read)
        first = corners.to(read)[:, None] - 0.5
        inside = (pixels >= first) & (pixels < first + sides.to(read)[:, None, None])
        areas.append(inside.all(-1).sum(-1).clamp(min=1))
    return (areas[0] / areas[1]).sqrt()


def _taken(model: Any, images: Tensor, corners: Tensor, sides: Tensor) -> dict[str, Tensor]:
    """By layer, what was taken for each of B images, (B, C)."""
    found: dict[str, list[Tensor]] = {}
    for image, corner, side in zip(images.split(CHUNK), corners.split(CHUNK), sides.split(CHUNK), strict=True):
        image = image.to(device_of(model))
        for layer, values in {**_of_pools(model, image, corner, side), **_of_warps(model, image, corner, side)}.items():
            found.setdefault(layer, []).append(values.cpu())
    return {layer: torch.cat(values) for layer, values in found.items()}


def _of_pools(model: Any, image: Tensor, corner: Tensor, side: Tensor) -> dict[str, Tensor]:
    found, maps = {}, None
    for layer, index in _indices(model, image).items():
        taken = _logs(index)
        if taken.ndim == 4:
            if finds_warps(model):
                continue
            maps = maps or maps_of(model, image[:1])
            taken = _in_box(taken, maps[layer], corner, side)
        found[layer] = taken.exp()
    return found


def _logs(index: Any) -> Tensor:
    """Of the scale that each channel or place took, in the shape of its levels; NaN where nothing answers."""
    logs = torch.tensor(index.scales, device=index.level.device).double().log()[index.level]
    return logs.where(index.level >= 0, torch.nan)


def _mapped(model: Any, objects: Objects) -> dict[str, np.ndarray]:
    """The maps of what every place takes, of one object at some sides."""
    if finds_warps(model):
        return {}
    chosen = [place for place, side in enumerate(objects.sides.tolist()) if side in MAPPED]
    indices = _indices(model, objects.images[0, chosen].to(device_of(model)))
    found = {
        f"{layer}_places": _logs(own).exp().float().cpu().numpy()
        for layer, own in indices.items()
        if own.level.ndim == 4
    }
    return found | {"mapped": objects.sides[chosen].numpy()} if found else {}


def _in_box(values: Tensor, found: StageMap, corner: Tensor, side: Tensor) -> Tensor:
    """(B, C), the means of (B, C, H, W) over the places in the objects' boxes; NaN where there is none."""
    inside = []
    for axis in (0, 1):  # y and x
        at = found.start[axis] + found.stride[axis] * torch.arange(values.shape[2 + axis])
        first = corner[:, 1 - axis, None] - 0.5
        inside.append((at >= first) & (at < first + side[:, None]))
    mask = (inside[0][:, :, None] & inside[1][:, None, :])[:, None].to(values)
    return (values * mask).sum((2, 3)) / mask.sum((2, 3))


def _indices(model: Any, image: Tensor) -> dict[str, Any]:
    """Which scales the backbone takes. Of a plain network behind a canonicalizer there are none, but its warps."""
    if not hasattr(model.backbone, "scale_indices"):
        return {}
    try:
        return model.ask_backbone(image, model.backbone.scale_indices)
    except ValueError:
        if finds_warps(model):
            return {}
        raise


def _of_warps(model: Any, image: Tensor, corner: Tensor, side: Tensor) -> dict[str, Tensor]:
    if not finds_warps(model):
        return {}
    size = (image.shape[-2], image.shape[-1])
    phis = model(image, warps_only=True).phis
    of_sites = zip(model.sites, phis, model.frames(size), strict=True)
    return {site.name: magnification(phi, frame, corner, side, size)[:, None] for site, phi, frame in of_sites}


def has_index(model: Any, subject: Subject) -> None:
    """A need: something that stands for the size of an object."""
    image = subject.images(1)[0].to(device_of(model))
    try:
        found = finds_warps(model) or _indices(model, image)
    except ValueError as error:
        raise ValueError(f"needs a network that pools over scales, or one that finds warps: {error}") from error
    if not found:
        name = type(model.backbone).__name__
        raise ValueError(f"needs a network that pools over scales, or one that finds warps; {name} does neither")


_trend = partial(Measure, unit=NUMBER, trial=Trial.STUDY)
STUDY = Study(
    name="index",
    run=study,
    needs=(sizes, has_index),
    measures=[_trend(name="index_correlation_at"), _trend(name="index_slope_at")],
)
