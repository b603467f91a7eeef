"""How many items the model knows under one random warp each, and how many if the warp is exactly undone.

The second number is that of an oracle which knows the warp: what a canonicalizer in front of this model could reach, up
to the two resamplings.
"""

from functools import partial

from torch import Tensor

from evaluation.measure import SHARE, Measure, Trial
from evaluation.measures.invariance import restored
from evaluation.views import Views


def _correct(views: Views, _: float) -> Tensor:
    return (views.changed.changed.argmax(-1) == views.labels).double()


def _correct_again(views: Views, _: float) -> Tensor:
    return (views.restored.changed.argmax(-1) == views.labels).double()


_known = partial(Measure, unit=SHARE, trial=Trial.WARPS)
MEASURES = [
    _known(name="warp_accuracy", of=_correct, column="warp_correct", is_headline=True),
    _known(name="warp_oracle_accuracy", of=_correct_again, over=restored),
]
