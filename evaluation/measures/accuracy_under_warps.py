"""How many items the model knows under one random warp each."""

from torch import Tensor

from evaluation.measure import SHARE, Measure, Trial
from evaluation.views import Views


def _correct(views: Views, _: float) -> Tensor:
    return (views.changed.changed.argmax(-1) == views.labels).double()


MEASURES = [
    Measure(name="warp_accuracy", unit=SHARE, trial=Trial.WARPS, of=_correct, column="warp_correct", is_headline=True)
]
