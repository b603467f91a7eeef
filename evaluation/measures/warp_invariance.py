"""How far predictions move under one random warp per item: from 0 to the root of 2."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Averaged, Measure, Trial
from evaluation.sharing import Columns
from evaluation.views import Views


def _error(views: Views, temperature: float) -> Tensor:
    """||p(x) - p(warp(x))||."""
    return views.changed.errors(temperature)


def _flips(views: Views, _: float) -> Tensor:
    """Whether the class changes."""
    return views.changed.flips()


def _floor(views: Views, temperature: float) -> Tensor:
    """||p(x) - p(unwarp(warp(x)))||: the error of a model that knows the warp and undoes it."""
    return views.restored.errors(temperature)


def _restored(values: Tensor, columns: Columns) -> list[Averaged]:
    """The first items, which alone were restored."""
    kept = columns["is_restored"] == 1
    return [Averaged(values[kept], columns["index"][kept])]


_warp = partial(Measure, trial=Trial.WARPS)
_columns = {"digits": "warp_error", "pictures": "warp_invariance_error"}
_ERROR = _warp(name="warp_invariance_error", unit=DISTANCE, of=_error, column=_columns, is_headline=True)
_columns = {"digits": "warp_flip", "pictures": "warp_invariance_flips"}
_FLIPS = _warp(name="warp_invariance_flips", unit=SHARE, of=_flips, column=_columns, is_headline=True)
_FLOOR = _warp(name="warp_invariance_floor", unit=DISTANCE, of=_floor, over=_restored)
MEASURES = [_ERROR, _ERROR.tempered(), _FLIPS, _FLOOR, _FLOOR.tempered()]
