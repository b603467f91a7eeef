"""How sure a difference between two models is, given what each does on the same items."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

CHUNK = 2**22  # resampled values held at a time


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, samples: int = 10000, seed: int = 0, level: float = 0.95
) -> dict[str, float]:
    """Mean of a - b over items with a percentile interval, resampling the items.

    Args:
        a: values of one model on N items: (N,), or (S, N) of S seeds, which are averaged over.
        b: values of another model on the same items; the number of seeds may differ.
        samples: how often N items are drawn with replacement.
        seed: of the draws, which come from a generator of their own.
        level: share of the resampled means that the interval holds.

    Returns:
        ``difference``, and the interval's ends ``low`` and ``high``. The interval speaks of other items from the same
        source, not of other seeds.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1")
    of_a, of_b = _by_item("a", a), _by_item("b", b)
    if of_a.shape != of_b.shape:
        raise ValueError(f"a has {of_a.size} items but b {of_b.size}; both need values on the same items")
    difference = of_a - of_b
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // difference.size)
    means = np.concatenate(
        [
            difference[generator.integers(difference.size, size=(min(rows, samples - start), difference.size))].mean(1)
            for start in range(0, samples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return {"difference": float(difference.mean()), "low": float(low), "high": float(high)}


def _by_item(name: str, values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim not in (1, 2) or not found.size:
        raise ValueError(f"{name} has shape {found.shape}; expected (N,) or (S, N), none of them zero")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds values that are not finite")
    return found if found.ndim == 1 else found.mean(0)
