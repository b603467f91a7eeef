"""How far predictions move when every part of an item is drawn at another scale."""

from functools import partial

from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Measure, Trial
from evaluation.predictions import Comparison


def _error(found: Comparison, temperature: float) -> Tensor:
    """||p(x^1) - p(x^s)|| / ||p(x^1)||, averaged over the draws of s."""
    return found.changed.errors(temperature, relative=True)


def _flips(found: Comparison, _: float) -> Tensor:
    """Share of the draws that change the class."""
    return found.changed.flips()


def _floor(found: Comparison, temperature: float) -> Tensor:
    """The error of a model that knows the scales and resizes every part back."""
    return found.restored.errors(temperature, relative=True)


_scaled = partial(Measure, trial=Trial.LOCAL_SCALE)
_ERROR = _scaled(name="local_scale_error", unit=DISTANCE, of=_error, column="local_scale_error", is_headline=True)
_FLIPS = _scaled(name="local_scale_flips", unit=SHARE, of=_flips, column="local_scale_flip", is_headline=True)
_FLOOR = _scaled(name="local_scale_floor", unit=DISTANCE, of=_floor)
MEASURES = [_ERROR, _ERROR.tempered(), _FLIPS, _FLOOR, _FLOOR.tempered()]
