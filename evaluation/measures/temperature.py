"""The temperature that calibrates the model."""

from __future__ import annotations

import torch

from evaluation.measure import NUMBER, Measure, Trial

MEASURES = [
    Measure(
        name="temperature",
        unit=NUMBER,
        trial=Trial.CALIBRATION,
        of=lambda temperature, _: torch.tensor(temperature, dtype=torch.float64),
        quick=("pictures",),
    )
]
