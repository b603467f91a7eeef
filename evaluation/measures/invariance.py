"""How far predictions move where they ought not to: under a random warp, and when an item's parts change their scales.

The error is ||p(x) - p(x')||, from 0 to the root of 2; that of scales is divided by ||p(x)|| and averaged over draws.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Averaged, Measure, Trial
from evaluation.predictions import Comparison
from evaluation.sharing import Columns
from evaluation.views import Views


def _error(found: Views | Comparison, temperature: float, relative: bool = False) -> Tensor:
    return found.changed.errors(temperature, relative=relative)


def _flips(found: Views | Comparison, _: float) -> Tensor:
    """Share of the changes that change the class."""
    return found.changed.flips()


def _floor(found: Views | Comparison, temperature: float, relative: bool = False) -> Tensor:
    """The error of a model that knows the change and undoes it."""
    return found.restored.errors(temperature, relative=relative)


def restored(values: Tensor, columns: Columns) -> list[Averaged]:
    """The first items, which alone were restored."""
    kept = columns["is_restored"] == 1
    return [Averaged(values[kept], columns["index"][kept])]


def _family(error: Measure, flips: Measure, floor: Measure) -> list[Measure]:
    return [error, error.tempered(), flips, floor, floor.tempered()]


_warp = partial(Measure, trial=Trial.WARPS)
_scale = partial(Measure, trial=Trial.LOCAL_SCALE, kinds=("digits",))
_relative, _relative_floor = partial(_error, relative=True), partial(_floor, relative=True)
MEASURES = _family(
    _warp(name="warp_invariance_error", unit=DISTANCE, of=_error, column={"digits": "warp_error"}, is_headline=True),
    _warp(name="warp_invariance_flips", unit=SHARE, of=_flips, column={"digits": "warp_flip"}, is_headline=True),
    _warp(name="warp_invariance_floor", unit=DISTANCE, of=_floor, over=restored),
) + _family(
    _scale(name="local_scale_error", unit=DISTANCE, of=_relative, column="local_scale_error", is_headline=True),
    _scale(name="local_scale_flips", unit=SHARE, of=_flips, column="local_scale_flip", is_headline=True),
    _scale(name="local_scale_floor", unit=DISTANCE, of=_relative_floor),
)
