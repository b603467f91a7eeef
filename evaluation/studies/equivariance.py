"""How far a network's maps move along with the size of what is in the image.

    error(s) = |L_s M(f) - M(L_s f)|^2 / |L_s M(f)|^2

M is the map of a stage, L_s makes the content of an image smaller by s, about its middle. On a map L_s reads at the
same positions of the image, and at another scale where the map has a scale axis: what stands for scale z in the smaller
image is compared with z / s in the image itself, for a larger kernel answers the larger object. That is so for widths
(SESN, DISCO), for levels (Deep Scale Spaces), and for sides of kernels (SiConv). Where the network has no scale z / s,
the nearest one is taken; where z / s lies beyond the last one by more than half a step, z is not compared.

Only places that see nothing but the image, on both sides, are compared. Where the model does not tell how far its
places see, as timm's do not, all places in the content are, and zeros of its padding count as its error. Of a
canonicalizer the maps are those of the warped image, unless its sites restore: what is invariant is not equivariant.

Where kernels reach far, nothing of a much smaller image is left to compare. So the error in the summary is the mean
over fewer scales there, which are nearer to 1; ``equivariance_scales_at_LAYER`` counts them.

The same is measured with random weights, since much of the error is the architecture's. Operators are those of
``layers/rescaling.py``: "ideal" takes the image to be periodic.

Arrays, with L stages, O operators, S scales, N images:
    layers: (L,), operators: (O,), scales: (S,), their names and values.
    trained_error, random_error: (L, O, S, N), NaN where nothing could be compared, or the map is 0 everywhere.
    trained_reference, random_reference: (L, O, S, N), the mean square of L_s M(f): where it is tiny, so is the layer.
    compared: (L, O, S), values of the map that were compared, per image.
Of a layer K with a scale axis of Z scales:
    K_paired: (S, Z), which scale of the image was compared with each of the smaller one; -1 for none.
    K_off: (S, Z), by how many octaves that scale is too large; NaN where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log2, nan
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from evaluation.maps import StageMap, has_maps, maps_of
from evaluation.measure import COUNT, Measure, Trial, Unit
from evaluation.study import CHUNK, Findings, Study, Subject, device_of
from layers.rescaling import Operator, centre_of, read, reading_matrix, rescale

SCALES = tuple(2 ** (-quarter / 4) for quarter in (4, 3, 2, 1))  # .5, .59, .71, .84
OPERATORS: tuple[Operator, ...] = get_args(Operator)
RIM = {"bicubic": 2, "area": 1, "subsample": 0, "ideal": 0}  # pixels of smaller content that have met the border
TOLD: Operator = "bicubic"  # of the numbers in the summary


class Compared(NamedTuple):
    """Of B images each: |L_s M(f) - M(L_s f)|^2, |L_s M(f)|^2, and how many values went into them."""

    difference: Tensor
    reference: Tensor
    values: int


def study(model: Any, subject: Subject) -> Findings:
    """Of the trained model, and of the same model with random weights."""
    images, _ = subject.images()
    fresh = subject.fresh().to(device_of(model)).eval()
    arrays: dict[str, np.ndarray] = {"operators": np.array(OPERATORS), "scales": np.array(SCALES)}
    metrics = {}
    for name, judged in (("trained", model), ("random", fresh)):
        found = errors(judged, images, OPERATORS, SCALES)
        layers = list(found)
        ratio, reference, values = (torch.stack(part) for part in zip(*found.values(), strict=True))
        arrays |= {"layers": np.array(layers), "compared": values[..., 0].numpy()}
        arrays |= {f"{name}_error": ratio.numpy(), f"{name}_reference": reference.numpy()}
        prefix = "" if judged is model else "random_"
        for layer, told in zip(layers, ratio[:, OPERATORS.index(TOLD)], strict=True):
            metrics[f"{prefix}equivariance_error_at_{layer}"] = told.nanmean().item()
            metrics[f"{prefix}equivariance_scales_at_{layer}"] = (~told.isnan()).any(-1).sum().item()
    for layer, own in maps_of(model, images[:1].to(device_of(model))).items():
        if len(own.scales) > 1:
            matched = [pairs(own.scales, scale) for scale in SCALES]
            arrays[f"{layer}_paired"] = np.array([[pair.image for pair in row] for row in matched])
            arrays[f"{layer}_off"] = np.array([[pair.off for pair in row] for row in matched])
    return Findings(metrics, arrays)


def errors(
    model: Any, images: Tensor, operators: Sequence[Operator], scales: Sequence[float]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """By layer, the error, the mean square of the reference, and the count, (O, S, N) each."""
    ways = [(operator, scale) for operator in operators for scale in scales]
    shape = (len(operators), len(scales))
    found: dict[str, list[Tensor]] = {}
    for image in images.split(CHUNK):
        image = image.to(device_of(model))
        whole = maps_of(model, image)
        by_way: dict[str, list[Tensor]] = {layer: [] for layer in whole}
        for operator, scale in ways:
            small = maps_of(model, rescale(image, scale, operator))
            for layer, own in whole.items():
                size = (image.shape[-2], image.shape[-1])
                difference, reference, count = compare(own, small[layer], scale, operator, size)
                ratio = (difference / reference).where(reference > 0, torch.nan)
                told = ratio, reference / max(count, 1), torch.full_like(reference, count)
                by_way[layer].append(torch.stack(told).cpu())
        for layer, of_ways in by_way.items():
            found.setdefault(layer, []).append(torch.stack(of_ways, 1))
    joined = {layer: torch.cat(parts, -1).unflatten(1, shape) for layer, parts in found.items()}
    return {layer: (values[0], values[1], values[2].long()) for layer, values in joined.items()}


def compare(whole: StageMap, small: StageMap, scale: float, operator: Operator, size: tuple[int, int]) -> Compared:
    """The map of images (H, W), and that of the images whose content is smaller by ``scale``."""
    expected: Tensor = whole.value.double()
    actual: Tensor = small.value.double()
    difference = reference = torch.zeros(len(expected), dtype=torch.float64, device=expected.device)
    count = 0
    for level, pair in enumerate(pairs(small.scales, scale)):
        if pair.image < 0:
            continue
        rows, columns = (_readings(axis, whole, pair.image, small, level, scale, operator, size) for axis in (0, 1))
        moved = read(expected[:, :, pair.image], rows[0], columns[0])
        other = actual[:, :, level][..., rows[1], :][..., columns[1]]
        difference = difference + (moved - other).square().sum((1, 2, 3))
        reference = reference + moved.square().sum((1, 2, 3))
        count += moved[0].numel()
    return Compared(difference, reference, count)


class Pair(NamedTuple):
    """The scale of the image that belongs to a scale of the smaller one; -1 and NaN where there is none."""

    image: int
    off: float


def pairs(scales: tuple[float, ...], scale: float) -> list[Pair]:
    """Of each scale of the smaller image."""
    logs = sorted(map(log2, scales))
    if len(logs) == 1:
        return [Pair(0, 0.0)]
    low, high = logs[0] - (logs[1] - logs[0]) / 2, logs[-1] + (logs[-1] - logs[-2]) / 2
    found = []
    for own in scales:
        wanted = log2(own / scale)
        nearest = min(range(len(scales)), key=lambda other: abs(log2(scales[other]) - wanted))
        is_there = low <= wanted <= high
        found.append(Pair(nearest, log2(scales[nearest]) - wanted) if is_there else Pair(-1, nan))
    return found


def _readings(
    axis: int,
    whole: StageMap,
    of_whole: int,
    small: StageMap,
    of_small: int,
    scale: float,
    operator: Operator,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Along y or x: how the places that can be compared are read from the image's map, and which they are."""
    last, centre = size[axis] - 1, centre_of(size[axis], operator)
    places, entries = small.value.shape[3 + axis], whole.value.shape[3 + axis]
    middle = small.start[axis] + small.stride[axis] * torch.arange(places, dtype=torch.float64)
    begin, end = ceil(centre * (1 - scale) - 1e-9), floor(centre + (last - centre) * scale + 1e-9)  # of the content
    reach = small.reach[of_small] + RIM[operator]
    is_clean = (middle - reach >= begin) & (middle + reach <= end)
    # Where the image shows what is there, and which entry of its map that is.
    origin = (centre + (middle - centre) / scale - whole.start[axis]) / whole.stride[axis]
    weights = reading_matrix(operator, entries, origin, scale)
    at = whole.start[axis] + whole.stride[axis] * torch.arange(entries, dtype=torch.float64)
    is_known = (at >= whole.reach[of_whole]) & (at <= last - whole.reach[of_whole])
    is_read = (weights != 0) if operator != "ideal" else (origin[:, None] - torch.arange(entries)).abs() < 1
    is_clean &= (origin >= 0) & (origin <= entries - 1) & ~(is_read & ~is_known).any(1)
    device = whole.value.device
    return weights[is_clean].to(device), is_clean.nonzero()[:, 0].to(device)


RATIO = Unit("ratio of squares")
STUDY = Study(
    name="equivariance",
    run=study,
    needs=(has_maps,),
    measures=[
        measure
        for prefix in ("", "random_")
        for measure in (
            Measure(name=f"{prefix}equivariance_error_at", unit=RATIO, trial=Trial.STUDY),
            Measure(name=f"{prefix}equivariance_scales_at", unit=COUNT, trial=Trial.STUDY),
        )
    ],
)
