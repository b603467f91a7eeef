"""How many composed items the model knows where all parts have one scale, and on average over the scales."""

from functools import partial

from torch import Tensor

from evaluation.measure import SHARE, AllBut, Measure, Trial
from evaluation.predictions import AtScales


def _correct_at(found: AtScales, _: float, at: float) -> Tensor:
    return found.correct[:, found.scales.index(at)]


def _correct(found: AtScales, _: float) -> Tensor:
    """Share of the scales at which an item is known."""
    return found.correct.mean(1)


_known = partial(Measure, unit=SHARE, trial=Trial.COMPOSED, kinds=AllBut("pictures", "dense"))
MEASURES = [
    _known(name="accuracy_at", of=_correct_at, per="scales", column="accuracy_at"),
    _known(name="accuracy_over_scales", of=_correct, column="accuracy_over_scales"),
]
