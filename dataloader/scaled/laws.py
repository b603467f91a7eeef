"""The law that factors are drawn by, as a function of uniform numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import truncnorm  # type: ignore[import-untyped]

Name = Literal["uniform", "log_uniform", "normal", "discrete"]


@dataclass(frozen=True)
class Law:
    """How factors are spread over an interval.

    Args:
        name: "normal" is truncated to the interval; "discrete" takes the given factors equally often.
        low: end of the interval.
        high: its other end.
        center: of a normal law; None: the middle of the interval.
        deviation: of a normal law before it is truncated; None: a quarter of the interval.
        factors: of a discrete law.
    """

    name: Name
    low: float
    high: float
    center: float | None = None
    deviation: float | None = None
    factors: Sequence[float] = ()

    def factors_of(self, uniform: np.ndarray) -> np.ndarray:
        """Of numbers that are uniform in [0, 1), the factors of this law; a larger number has no smaller factor."""
        low, high = self.low, self.high
        if self.name == "discrete":
            return np.array(sorted(self.factors))[(uniform * len(self.factors)).astype(int)]
        if low == high:
            return np.full(uniform.shape, low)
        if self.name == "log_uniform":
            return np.clip(low * (high / low) ** uniform, low, high)
        if self.name == "normal":
            center = (low + high) / 2 if self.center is None else self.center
            deviation = (high - low) / 4 if self.deviation is None else self.deviation
            ends = (low - center) / deviation, (high - center) / deviation
            return np.clip(truncnorm.ppf(uniform, *ends, center, deviation), low, high)
        return low + (high - low) * uniform
