"""How far predictions for an object at other scales lie from that at scale 1: averaged over scales, then objects."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Averaged, Measure, Trial
from evaluation.sharing import Columns
from evaluation.views import Views


def _error(views: Views, temperature: float) -> Tensor:
    """||p(x_s) - p(x_1)||_2 of every picture; those without another one to compare with are left out below."""
    p = (views.clean.double() / temperature).softmax(1)
    return (p - p[views.references]).norm(dim=1)


def _flips(views: Views, _: float) -> Tensor:
    """Whether the class is another one."""
    classes = views.clean.argmax(1)
    return (classes != classes[views.references]).double()


def by_object(values: Tensor, columns: Columns, *, counts_itself: bool = False) -> list[Averaged]:
    """Means over the pictures of each object that has scale 1 and another one.

    ``counts_itself`` takes the zero distance of scale 1 from itself for one more scale, as the original did.
    """
    kept = columns["is_compared"] == 1
    group, place = columns["group"][kept].unique(return_inverse=True)
    zeros = torch.zeros(len(group), dtype=torch.float64)
    counts = zeros.index_add(0, place, torch.ones(len(place)).double())
    means = zeros.index_add(0, place, values[kept]) / counts
    return [Averaged(means * counts / (counts + 1) if counts_itself else means, group, "group_index")]


_shown = partial(Measure, trial=Trial.SCALES, kinds=("pictures",), quick=("pictures",))
_error_over = partial(_shown, unit=DISTANCE, of=_error)
_ERROR = _error_over(name="consistency_error", over=by_object, column="consistency_error", is_headline=True)
_PUBLISHED = "consistency_error_published"
_FLIPS = "consistency_flips"
MEASURES = [
    _ERROR,
    _ERROR.tempered(),
    _error_over(name=_PUBLISHED, over=partial(by_object, counts_itself=True), column=_PUBLISHED),
    _shown(name=_FLIPS, unit=SHARE, of=_flips, over=by_object, column=_FLIPS, is_headline=True),
]
