"""Whether a model says the same of an object at every scale of it: inside its mask, place by place.

The box around the object's mask is brought to the size of that at scale 1; where the picture cuts it off, the scale
tells how it would go on. What is said there is compared where both masks are. Values are averaged over an object's
pixels, the objects of a picture, its scales, and the pictures; an object that is not seen counts nowhere.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from config.dense import VOID
from evaluation.measure import DISTANCE, NUMBER, SHARE, Averaged, Measure, Trial
from evaluation.measures.consistency import by_object
from evaluation.measures.segmentation import iou, of_images
from evaluation.pixels import PixelViews
from evaluation.sharing import Columns
from layers.sampling import sample_bilinear

Ends = tuple[int, int]


def compared(
    logits: Tensor, label: Tensor, at_one: Tensor, label_at_one: Tensor, scale: float
) -> list[tuple[Tensor, Tensor]]:
    """Of every object in both pictures, class probabilities (classes, n) at the same places of it.

    Args:
        logits: (classes, H, W) of a picture.
        label: (H, W), of which every class but the background, 0, is an object.
        at_one: logits of the picture that has the objects at scale 1.
        label_at_one: its labels.
        scale: of the objects in the first picture.
    """
    if (label == VOID).all():
        return []
    last = torch.tensor(label.shape, device=label.device) - 1
    shown = _box(label != VOID)
    found = []
    for number in label_at_one.unique().tolist():
        mask, mask_at_one = label == number, label_at_one == number
        if number in (0, VOID) or not mask.any():
            continue
        here = mask_at_one.nonzero()
        box = _box(mask)
        axes = zip(here.T, _box(mask_at_one), box, shown, strict=True)
        there = torch.stack([_along(*axis, scale) for axis in axes], 1)
        first, end = torch.tensor(box, device=label.device).T
        within = there.clamp(first, end - 1)  # half a pixel beyond the middle of its last one, an object ends
        inside = ((there - within).abs() <= 0.5).all(1)
        inside &= mask[tuple(within.round().long().T)]
        if inside.any():
            grid = (within[inside] / last.clamp_min(1)).flip(1).T[None, :, None]  # (1, 2, 1, n), across and down
            probabilities = sample_bilinear(logits.softmax(0)[None], grid.to(logits))[0, :, 0]
            found.append((probabilities, at_one.softmax(0)[:, *here[inside].T]))
    return found


def _along(pixels: Tensor, box_at_one: Ends, box: Ends, shown: Ends, scale: float) -> Tensor:
    """Where an object's pixels at scale 1 lie along one axis of another picture, by the boxes of both masks.

    A box that ends where the picture does may be cut off: then its other end and the scale tell.
    """
    (first, last), (low, high) = box_at_one, box
    middles = pixels + 0.5
    if low > shown[0] and high < shown[1]:
        places = low + (middles - first) * (high - low) / (last - first)
    elif high < shown[1]:
        places = high - (last - middles) * scale
    elif low > shown[0]:
        places = low + (middles - first) * scale
    else:
        places = (first + last) / 2 + (middles - (first + last) / 2) * scale
    return places - 0.5


def _box(mask: Tensor) -> tuple[Ends, Ends]:
    """Where the smallest box around a mask begins and ends, down and across."""
    ends = [mask.any(axis).nonzero() for axis in (1, 0)]
    down, across = ((int(found[0]), int(found[-1]) + 1) for found in ends)
    return down, across


def _over_objects(views: PixelViews, of: str) -> Tensor:
    """(N,), the mean over the objects of each picture; NaN of one that shows nothing to compare."""
    values = []
    for place, reference in enumerate(views.references.tolist()):
        scale = float(views.scales[place])
        pairs = [] if reference < 0 else compared(*_of(views, place), *_of(views, reference), scale)
        means = [_VALUES[of](*pair).mean() for pair in pairs]
        values.append(torch.stack(means).mean() if means else views.maps.new_tensor(torch.nan))
    return torch.stack(values).double().cpu()


_VALUES = {
    "distance": lambda p, q: (p - q).norm(dim=0),
    "flips": lambda p, q: (p.argmax(0) != q.argmax(0)).to(p),
}


def _distances(views: PixelViews, _: float) -> Tensor:
    return _over_objects(views, "distance")


def _flips(views: PixelViews, _: float) -> Tensor:
    return _over_objects(views, "flips")


def _by_object(values: Tensor, columns: Columns) -> list[Averaged]:
    """``by_object`` of the pictures that show something to compare."""
    return by_object(values, {**columns, "is_compared": (columns["is_compared"] == 1) & ~values.isnan()})


def _spread(values: Tensor, columns: Columns) -> list[Averaged]:
    """The variance of a picture's mean intersection over union over the scales of its object, as published."""
    known = iou(values).nanmean(1)
    known, groups = known[~known.isnan()], columns["group"][~known.isnan()]
    group, place = groups.unique(return_inverse=True)
    variances = torch.stack([known[place == number].var(correction=0) for number in range(len(group))])
    return [Averaged(variances, group, "group_index")]


def _of(views: PixelViews, place: int) -> tuple[Tensor, Tensor]:
    return views.maps[place], views.targets[place]


_shown = partial(Measure, trial=Trial.SCALES, kinds=("dense",))
MEASURES = [
    _shown(name="object_error", unit=DISTANCE, of=_distances, over=_by_object, column="object_error"),
    _shown(name="object_flips", unit=SHARE, of=_flips, over=_by_object, column="object_flips"),
    _shown(name="scale_variance", unit=NUMBER, of=of_images, over=_spread),
]
