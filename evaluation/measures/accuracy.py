"""How many items the model knows; of pictures, also how many at each scale of the objects."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from evaluation.measure import SHARE, AllBut, Averaged, Measure, Trial
from evaluation.sharing import Columns
from evaluation.views import Views


def _correct(views: Views, _: float) -> Tensor:
    return (views.clean.argmax(-1) == views.labels).double()


def _label(views: Views, _: float) -> Tensor:
    return views.labels.double()


def _commonest(values: Tensor, columns: Columns) -> list[Averaged]:
    """Whether an item is of the commonest class: who always says that class knows so many."""
    return [Averaged((values == values.mode().values).double(), columns["index"])]


def _among(views: Views, _: float, count: int) -> Tensor:
    """Whether the label is among the classes with the largest logits."""
    best = views.clean.double().topk(min(5, views.clean.shape[1]), dim=1).indices[:, :count]
    return (best == views.labels[:, None]).any(1).double()


def _by_scale(values: Tensor, columns: Columns) -> list[Averaged]:
    """The items of each scale for themselves."""
    scales, number = columns["scale"], columns["index"]
    return [
        Averaged(values[scales == scale], number[scales == scale], f"at_{scale:g}_index", f"_{scale:g}")
        for scale in scales.unique()
        if not scale.isnan()
    ]


_top1, _top5 = partial(_among, count=1), partial(_among, count=5)
_shown = partial(Measure, unit=SHARE, kinds=("pictures",), quick=("pictures",))
_known = partial(Measure, unit=SHARE, kinds=AllBut("pictures", "dense"), quick=AllBut("pictures", "dense"))
MEASURES = [
    _known(name="accuracy", trial=Trial.CLEAN, of=_correct, column="correct", is_headline=True),
    Measure(name="chance", unit=SHARE, trial=Trial.CLEAN, of=_label, over=_commonest, kinds=("stir", "scaled")),
    _shown(name="top1", trial=Trial.CLEAN, of=_top1, column="top1", is_headline=True),
    _shown(name="top5", trial=Trial.CLEAN, of=_top5, column="top5"),
    _shown(name="multi_scale_top1", trial=Trial.SCALES, of=_top1, is_headline=True),
    _shown(name="multi_scale_top5", trial=Trial.SCALES, of=_top5),
    _shown(name="top1_at", trial=Trial.SCALES, of=_top1, over=_by_scale, column="top1_at"),
    _shown(name="top5_at", trial=Trial.SCALES, of=_top5, over=_by_scale),
]
