"""Whether a model says the same of an object at every scale of it: inside its mask, place by place.

The box around the object's mask is brought to the size of that at scale 1, and what is said there is compared where
both masks are. Values are averaged over an object's pixels, the objects of a picture, its scales, and the pictures.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from config.dense import VOID
from evaluation.measure import DISTANCE, NUMBER, SHARE, Averaged, Measure, Trial
from evaluation.measures.consistency import by_object
from evaluation.measures.segmentation import iou, of_images
from evaluation.pixels import PixelViews
from evaluation.sharing import Columns


def compared(logits: Tensor, label: Tensor, at_one: Tensor, label_at_one: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of every object in both pictures, class probabilities (classes, n) at the same places of it.

    Args:
        logits: (classes, H, W) of a picture.
        label: (H, W), of which every class but the background, 0, is an object.
        at_one: logits of the picture that has the objects at scale 1.
        label_at_one: its labels.
    """
    found = []
    for number in label_at_one.unique().tolist():
        if number in (0, VOID) or not (label == number).any():
            continue
        there, here = _box(label == number), _box(label_at_one == number)
        size = label_at_one[here].shape
        brought = F.interpolate(logits[:, *there].softmax(0)[None], size=size, mode="bilinear", align_corners=False)[0]
        mask = F.interpolate((label[there] == number)[None, None].float(), size=size, mode="nearest-exact")[0, 0] > 0
        mask = mask & (label_at_one[here] == number)
        found.append((brought[:, mask], at_one[:, *here].softmax(0)[:, mask]))
    return [pair for pair in found if pair[0].shape[1]]


def _over_objects(views: PixelViews, of: str) -> Tensor:
    """(N,), the mean over the objects of each picture; 0 of a picture that is compared with no other."""
    values = []
    for place, reference in enumerate(views.references.tolist()):
        pairs = [] if reference < 0 else compared(*_of(views, place), *_of(views, reference))
        means = [_VALUES[of](*pair).mean() for pair in pairs]
        values.append(torch.stack(means).mean() if means else views.maps.new_zeros(()))
    return torch.stack(values).double().cpu()


_VALUES = {
    "distance": lambda p, q: (p - q).norm(dim=0),
    "flips": lambda p, q: (p.argmax(0) != q.argmax(0)).to(p),
}


def _distances(views: PixelViews, _: float) -> Tensor:
    return _over_objects(views, "distance")


def _flips(views: PixelViews, _: float) -> Tensor:
    return _over_objects(views, "flips")


def _spread(values: Tensor, columns: Columns) -> list[Averaged]:
    """The variance of a picture's mean intersection over union over the scales of its object, as published."""
    known = iou(values).nanmean(1).nan_to_num(0)
    group, place = columns["group"].unique(return_inverse=True)
    variances = torch.stack([known[place == number].var(correction=0) for number in range(len(group))])
    return [Averaged(variances, group, "group_index")]


def _of(views: PixelViews, place: int) -> tuple[Tensor, Tensor]:
    return views.maps[place], views.targets[place]


def _box(mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a mask."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


_shown = partial(Measure, trial=Trial.SCALES, kinds=("dense",))
MEASURES = [
    _shown(name="object_error", unit=DISTANCE, of=_distances, over=by_object, column="object_error"),
    _shown(name="object_flips", unit=SHARE, of=_flips, over=by_object, column="object_flips"),
    _shown(name="scale_variance", unit=NUMBER, of=of_images, over=_spread),
]
