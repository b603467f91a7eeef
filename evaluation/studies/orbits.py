"""What a classifier says of an image over its orbit: all versions that a group of changes makes of it.

The score of a version is the probability of the true class; a curve of scores that is flat shows invariance. Three
orbits are gone through: the content at other sizes about its middle; the same at other places too; and local warps,
which make larger what lies around a centre and all else smaller, with no fold. What comes into the picture from beyond
is read at its border, as by all warps of the project.

The consensus needs no labels: it is the mean of the class probabilities over the orbit of sizes, and the score of a
version is then the probability of the class that the consensus holds for the most likely.

Arrays, with N images, C classes:
    labels: (N,); consensus: (N, C).
    factors: (17,), of the size, from a half to two.
    scale_scores, scale_consensus: (N, 17), with the label and with the consensus; their mean over N is the aggregate.
    coordinates: (N, 2), of each image's scale_scores along their first two principal components: a scatter of these,
        coloured by mean or deviation, shows which images are worth a look.
    shift_factors: (9,), shifts: (5,) to the right, in pixels; shift_scores: (N, 9, 5).
    centres: (9, 2), x and y in [0, 1]; strengths: (5,), by what the centre would grow if all else gave way.
    local_scores: (N, 9, 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evaluation.measure import SHARE, Measure, Trial
from evaluation.study import Findings, Study, Subject, device_of, in_chunks
from layers.bump import bumped
from layers.rescaling import centre_of, read, reading_matrix

FACTORS = tuple(2 ** (eighth / 8) for eighth in range(-8, 9))
SHIFT_FACTORS = FACTORS[::2]
SHIFTS = (-0.125, -0.0625, 0.0, 0.0625, 0.125)  # of the width
CENTRES = tuple((x, y) for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75))
STRENGTHS = (0.5, 0.707, 1.0, 1.414, 2.0)

Change = Callable[[Tensor], Tensor]  # a member of the group, on images (B, C, H, W)


class Orbit(NamedTuple):
    """Scores (N, G) of N images under G changes, and the probabilities (N, G, C) behind them."""

    scores: Tensor
    probabilities: Tensor


def study(model: Any, subject: Subject) -> Findings:
    """Of the first images."""
    images, labels = subject.images()
    width = images.shape[-1]
    shifts = [round(share * width) for share in SHIFTS]
    zooms = [partial(zoomed, scale=factor) for factor in FACTORS]
    placed = [partial(zoomed, scale=factor, shift=shift) for factor in SHIFT_FACTORS for shift in shifts]
    bumps = [partial(bumped, centre=centre, strength=strength) for centre in CENTRES for strength in STRENGTHS]
    of_scales, of_places, of_bumps = (scored(model, images, labels, orbit) for orbit in (zooms, placed, bumps))
    agreed = consensus(of_scales.probabilities)
    by_consensus = of_scales.probabilities.gather(2, _chosen(agreed.argmax(1), len(zooms)))[..., 0]
    arrays = {
        "labels": labels,
        "consensus": agreed,
        "factors": torch.tensor(FACTORS),
        "scale_scores": of_scales.scores,
        "scale_consensus": by_consensus,
        "coordinates": principal(of_scales.scores),
        "shift_factors": torch.tensor(SHIFT_FACTORS),
        "shifts": torch.tensor(shifts),
        "shift_scores": of_places.scores.unflatten(1, (len(SHIFT_FACTORS), len(shifts))),
        "centres": torch.tensor(CENTRES),
        "strengths": torch.tensor(STRENGTHS),
        "local_scores": of_bumps.scores.unflatten(1, (len(CENTRES), len(STRENGTHS))),
    }
    told = {"scale": of_scales.scores, "consensus": by_consensus, "shift": of_places.scores, "local": of_bumps.scores}
    metrics = {f"{name}_orbit_score": scores.mean().item() for name, scores in told.items()}
    metrics |= {f"{name}_orbit_deviation": deviation(scores) for name, scores in told.items()}
    return Findings(metrics, {name: value.numpy() for name, value in arrays.items()})


def scored(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, orbit: Sequence[Change]) -> Orbit:
    """What a model says of every image under every change."""
    device = device_of(model)

    def probabilities(image: Tensor, change: Change) -> Tensor:
        return model(change(image.to(device))).double().softmax(-1)

    found = torch.stack([in_chunks(partial(probabilities, change=change), images) for change in orbit], 1)
    return Orbit(found.gather(2, _chosen(labels, len(orbit)))[..., 0], found)


def consensus(probabilities: Tensor) -> Tensor:
    """(N, C) of (N, G, C): the mean over the orbit, undone where the change moves the answer, which no class is."""
    return probabilities.mean(1)


def deviation(scores: Tensor) -> float:
    """Standard deviation over the orbit, (N, G), averaged over the images."""
    return scores.std(1, correction=0).mean().item()


def principal(scores: Tensor) -> Tensor:
    """(N, 2) coordinates of N vectors along their first two principal components; 0 where there are fewer, and NaN of a
    vector that is not finite."""
    known = scores.isfinite().all(1)
    if not known.all():
        return torch.full((len(scores), 2), torch.nan).to(scores).index_put((known,), principal(scores[known]))
    centred = scores - scores.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:2] * directions[:2].gather(1, directions[:2].abs().argmax(1, keepdim=True)).sign()
    found = centred @ directions.T  # a direction's sign is nobody's choice but ours: its largest entry is positive
    return torch.nn.functional.pad(found, (0, 2 - found.shape[1]))


def zoomed(image: Tensor, scale: float, shift: int = 0) -> Tensor:
    """The content at another size about the middle of (B, C, H, W), then moved to the right by whole pixels."""
    sides = zip(image.shape[-2:], (0, shift), strict=True)
    rows, columns = (_matrix(n, scale, moved) for n, moved in sides)
    return read(image, rows, columns)


def _matrix(size: int, scale: float, shift: int) -> Tensor:
    centre = centre_of(size, "bicubic")
    positions = centre + (torch.arange(size, dtype=torch.float64) - shift - centre) / scale
    return reading_matrix("bicubic", size, positions, scale)


def _chosen(classes: Tensor, count: int) -> Tensor:
    """(N, G, 1), to gather by."""
    return classes[:, None, None].expand(-1, count, 1)


_share = partial(Measure, unit=SHARE, trial=Trial.STUDY)
STUDY = Study(
    name="orbits",
    run=study,
    measures=[
        _share(name=f"{orbit}_orbit_{number}")
        for orbit in ("scale", "consensus", "shift", "local")
        for number in ("score", "deviation")
    ],
)
