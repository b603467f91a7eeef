"""Randomness without state: every draw has a seed of its own, made of what it belongs to.

An item's draw then depends on (seed, epoch, index) alone, whatever the batch, the worker or the process that it falls
to, and a run that goes on after a kill has no generator to restore.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

import torch

from layers.grid import WarpParams, random_warp_params


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that differs wherever any of the parts does: ``seed_of(42, "warp", epoch, index)``."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


def item_warps(indices: Iterable[int], grid_size: int, strength: float, *parts: int | str) -> WarpParams:
    """One random warp per item, drawn with the seed ``seed_of(*parts, index)``, on the CPU."""
    draws = [
        random_warp_params(1, grid_size, strength, generator=torch.Generator().manual_seed(seed_of(*parts, int(index))))
        for index in indices
    ]
    return WarpParams(torch.cat([draw.x for draw in draws]), torch.cat([draw.y for draw in draws]))


def item_strengths(indices: Iterable[int], interval: tuple[float, float], *parts: int | str) -> torch.Tensor:
    """(B,), of each item a number of the interval, drawn as ``item_warps`` draws its warp."""
    return torch.tensor(
        [random.Random(seed_of(*parts, "strength", int(index))).uniform(*interval) for index in indices]
    )
