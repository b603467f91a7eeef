"""How many images the model does not know, and how many it knows of each factor that images were rescaled by."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from evaluation.measure import SHARE, Averaged, Measure, Trial
from evaluation.sharing import Columns
from evaluation.views import Views

PER_OCTAVE = 10  # bins
LEAST = 20  # images that a lowest accuracy is told of: of a handful, the lowest is what chance made it


def _correct(views: Views, _: float) -> Tensor:
    return (views.clean.argmax(-1) == views.labels).double()


def _wrong(views: Views, temperature: float) -> Tensor:
    return 1 - _correct(views, temperature)


def _in_bins(values: Tensor, columns: Columns) -> list[Averaged]:
    """The images of each bin, which is named by the factor in its middle."""
    number = columns["index"]
    place = (PER_OCTAVE * columns["scale"].log2()).floor()
    return [
        Averaged(values[place == one], number[place == one], suffix=f"_{2 ** ((one + 0.5) / PER_OCTAVE):.3g}")
        for one in map(float, place.unique())
    ]


def _worst(values: Tensor, columns: Columns) -> list[Averaged]:
    """The images of the bin of which the fewest are known; bins of few images count together."""
    return [min(_joined(_in_bins(values, columns)), key=lambda part: float(part.values.mean()))._replace(suffix="")]


def _joined(bins: list[Averaged]) -> list[Averaged]:
    """From the smallest factor on, each bin of too few images with the next ones; what is left over with the last."""
    found = bins[:1]
    for part in bins[1:]:
        if len(found[-1].values) < LEAST:
            found[-1] = _together(found[-1], part)
        else:
            found.append(part)
    if len(found) > 1 and len(found[-1].values) < LEAST:
        found[-2:] = [_together(*found[-2:])]
    return found


def _together(one: Averaged, other: Averaged) -> Averaged:
    return Averaged(torch.cat([one.values, other.values]), torch.cat([one.numbers, other.numbers]))


_shown = partial(Measure, unit=SHARE, kinds=("scaled",))
MEASURES = [
    _shown(name="test_error", trial=Trial.CLEAN, of=_wrong, is_headline=True),
    _shown(name="factor_accuracy_at", trial=Trial.SCALES, of=_correct, over=_in_bins),
    _shown(name="worst_factor_accuracy", trial=Trial.SCALES, of=_correct, over=_worst, is_headline=True),
]
