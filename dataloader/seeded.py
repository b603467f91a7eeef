"""Libraries that draw from the global generators, made to draw what belongs to an item or to a step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from layers.seeds import seed_of


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Inside, the generators of Python, NumPy and torch (CPU) begin at ``seed_of(*parts)``; then they are as before."""
    seed = seed_of(*parts)
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
