"""The images under warps of other strengths than ``warp.strength``, and read in other ways than bilinearly.

Accuracy over strength tells up to which warp a model is right. Accuracy by interpolation tells whether it goes by the
traces that resampling leaves, which a model may learn to see in place of the warp.
"""

from functools import partial

from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Measure, Trial
from evaluation.views import Views
from layers.spec import SampleMode


def _correct_at(views: Views, _: float, at: float) -> Tensor:
    return (views.under(at).changed.argmax(-1) == views.labels).double()


def _flips_at(views: Views, _: float, at: float) -> Tensor:
    return views.under(at).flips()


def _error_at(views: Views, temperature: float, at: float) -> Tensor:
    return views.under(at).errors(temperature)


def _correct_by(views: Views, _: float, at: SampleMode) -> Tensor:
    return (views.under(views.judge.strength, at).changed.argmax(-1) == views.labels).double()


_at = partial(Measure, trial=Trial.WARPS, per="strengths")
_ACCURACY, _FLIPS, _ERROR, _BY = "warp_accuracy_at", "warp_flips_at", "warp_error_tempered_at", "warp_accuracy_by"
MEASURES = [
    _at(name=_ACCURACY, unit=SHARE, of=_correct_at, column=_ACCURACY),
    _at(name=_FLIPS, unit=SHARE, of=_flips_at, column=_FLIPS),
    _at(name=_ERROR, unit=DISTANCE, of=_error_at, column=_ERROR, is_tempered=True),
    Measure(name=_BY, unit=SHARE, trial=Trial.WARPS, of=_correct_by, per="interpolations", column=_BY),
]
