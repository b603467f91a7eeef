"""What a run tells itself, such as its length and the temperature that calibrates the model, and what it costs."""

import torch
from torch import Tensor

from evaluation.measure import COUNT, NUMBER, SECONDS, Measure, Trial


def _itself(count: float, _: float) -> Tensor:
    return torch.tensor(count, dtype=torch.float64)


MEASURES = [
    Measure(name="seconds", unit=SECONDS, trial=Trial.RUN, is_headline=True),
    Measure(name="epochs", unit=COUNT, trial=Trial.RUN),
    Measure(name="parameters", unit=COUNT, trial=Trial.RUN),
    Measure(name="broken", unit=NUMBER, trial=Trial.RUN),
    Measure(name="multiply_adds", unit=COUNT, trial=Trial.COST, of=_itself, kinds=("stir", "scaled")),
    Measure(name="temperature", unit=NUMBER, trial=Trial.RUN),
]
