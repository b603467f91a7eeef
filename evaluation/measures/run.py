"""What a run tells itself: its length, what could not be read, and the temperature that calibrates the model; and
what the model's answer costs."""

import torch
from torch import Tensor

from evaluation.measure import NUMBER, SECONDS, AllBut, Measure, Trial


def _itself(count: float, _: float) -> Tensor:
    return torch.tensor(count, dtype=torch.float64)


MEASURES = [
    Measure(name="seconds", unit=SECONDS, trial=Trial.RUN, is_headline=True),
    Measure(name="broken", unit=NUMBER, trial=Trial.RUN),
    Measure(name="multiply_adds", unit=NUMBER, trial=Trial.COST, of=_itself, kinds=AllBut("digits", "pictures")),
    Measure(name="temperature", unit=NUMBER, trial=Trial.RUN),
]
