"""What a DEC would say had its maps been evaluated so many times from the identity on, without its solver.

A map that has learned to canonicalize is better after every evaluation, and a single one may do; where the solver's own
answer is worse than that after few, the solver and not the map is at fault.
"""

from functools import partial

from torch import Tensor

from evaluation.measure import DISTANCE, NUMBER, SHARE, Measure, Trial
from evaluation.views import Views


def _correct(views: Views, _: float, at: int) -> Tensor:
    return (views.after(at).clean.argmax(-1) == views.labels).double()


def _correct_under_warps(views: Views, _: float, at: int) -> Tensor:
    return (views.after(at).changed.argmax(-1) == views.labels).double()


def _error(views: Views, temperature: float, at: int) -> Tensor:
    return views.after(at).errors(temperature)


def _residual(views: Views, _: float, at: int) -> Tensor:
    return views.residual_after(at).double()


_after = partial(Measure, trial=Trial.WARPS, per="evaluations", needs="equilibrium")
_CLEAN, _WARPED, _ERROR = "accuracy_after", "warp_accuracy_after", "warp_error_tempered_after"
MEASURES = [
    _after(name=_CLEAN, unit=SHARE, of=_correct, column=_CLEAN),
    _after(name=_WARPED, unit=SHARE, of=_correct_under_warps, column=_WARPED),
    _after(name=_ERROR, unit=DISTANCE, of=_error, column=_ERROR, is_tempered=True),
    _after(name="residual_after", unit=NUMBER, of=_residual),
]
