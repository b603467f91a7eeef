"""How many objects the model knows at each of their sizes, and how far it falls at sizes that it did not train on."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from evaluation.measure import SHARE, Averaged, Measure, Trial
from evaluation.sharing import Columns
from evaluation.views import Views


def _correct(views: Views, _: float) -> Tensor:
    return (views.clean.argmax(-1) == views.labels).double()


def _at_each(values: Tensor, columns: Columns) -> list[Averaged]:
    """The objects of each side, in pixels."""
    sides, number = columns["scale"], columns["index"]
    return [
        Averaged(values[sides == side], number[sides == side], f"at_{side:g}_index", f"_{side:g}")
        for side in sides.unique()
    ]


def _worst(values: Tensor, columns: Columns) -> list[Averaged]:
    """The objects of the side at which the fewest are known."""
    return [min(_at_each(values, columns), key=lambda part: float(part.values.mean()))._replace(suffix="")]


def _octave_drop(values: Tensor, columns: Columns) -> list[Averaged]:
    """How much less is known at exactly half the side: the mean over all sides whose half is there too."""
    sides = columns["scale"]
    known = {float(side): values[sides == side].mean() for side in sides.unique()}
    drops = {side: known[side] - known[side / 2] for side in known if side / 2 in known}
    return [Averaged(torch.stack([*drops.values()]), torch.tensor([*drops]), "drop_index")] if drops else []


_shown = partial(Measure, unit=SHARE, trial=Trial.SCALES, kinds=("stir",), of=_correct)
MEASURES = [
    _shown(name="size_accuracy", column="size_correct", is_headline=True),
    _shown(name="size_accuracy_at", over=_at_each),
    _shown(name="worst_size_accuracy", over=_worst),
    _shown(name="octave_drop", over=_octave_drop),
]
