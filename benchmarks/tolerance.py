"""Which internal scale range fits the sizes of objects, by a model of what a scale tolerates.

In the logarithm of scale (base 2), an internal scale answers by a normal bump of unit height, whose width T all of them
share. The sum over scales is fitted to the density of objects, which is uniform with half-normal tails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]

TAIL = 0.4  # standard deviation beyond the ends, in octaves
LEAST = (0.5, 1.5, 0.1)  # reference scale, range and tolerance
OCTAVES = np.linspace(-6, 10, 1601)


def fitted(largest: Sequence[float], scales: int = 3) -> tuple[list[float], float]:
    """The internal scale range for objects of 1 to each of these sizes, and the tolerance that fits all of them."""
    wanted = [objects(end) for end in largest]

    def divergence(values: np.ndarray) -> float:
        *pairs, tolerance = values
        given = [answers(*pair, tolerance, scales) for pair in zip(pairs[::2], pairs[1::2], strict=True)]
        return float(sum(np.sum(p * np.log(np.maximum(p, 1e-300) / q)) for p, q in zip(given, wanted, strict=True)))

    start = [*(value for end in largest for value in (1.0, max(LEAST[1], 0.8 * end))), 0.5]
    bounds = [*[(LEAST[0], None), (LEAST[1], None)] * len(largest), (LEAST[2], None)]
    options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-5, "fatol": 1e-9, "adaptive": True}
    found = minimize(divergence, start, method="Nelder-Mead", bounds=bounds, options=options).x
    return found[1:-1:2].tolist(), float(found[-1])


def objects(largest: float) -> np.ndarray:
    """Density of objects of sizes from 1 to this one, on ``OCTAVES``."""
    beyond = np.maximum(np.maximum(-OCTAVES, OCTAVES - np.log2(largest)), 0)
    return _normalized(np.exp(-(beyond**2) / (2 * TAIL**2)))


def answers(reference: float, span: float, tolerance: float, scales: int) -> np.ndarray:
    """Density of what the internal scales answer to, the first of which has its best at the reference."""
    middles = np.log2(reference) + np.linspace(0, np.log2(span), scales)
    return _normalized(np.exp(-((OCTAVES - middles[:, None]) ** 2) / (2 * tolerance**2)).sum(0))


def _normalized(values: np.ndarray) -> np.ndarray:
    return values / values.sum()
