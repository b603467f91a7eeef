"""Whether a canonicalizer reached its fixed points, and whether its warps depend on the image at all."""

from functools import partial

from torch import Tensor

from evaluation.measure import NUMBER, AllBut, Measure, Trial
from evaluation.predictions import Equilibrium


def _median(found: Equilibrium, _: float) -> Tensor:
    """Over images and sites."""
    return found.residual.median()


def _worst(found: Equilibrium, _: float) -> Tensor:
    """What 99 % of the images stay below at every site."""
    return found.residual.amax(dim=1).quantile(0.99)


def _spread(found: Equilibrium, _: float) -> Tensor:
    """The standard deviation over images of phi's entries, averaged: a constant map has none."""
    return found.phi.std(dim=0, correction=0).mean()


_solved = partial(Measure, unit=NUMBER, trial=Trial.EQUILIBRIUM, needs="equilibrium", kinds=AllBut())
MEASURES = [
    _solved(name="residual", of=_median, is_headline=True),
    _solved(name="residual_99", of=_worst),
    _solved(name="phi_std", of=_spread),
]
