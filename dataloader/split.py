"""Disjoint parts of a data set, the same ones for every model that is trained with a seed."""

from __future__ import annotations

import numpy as np

from layers.seeds import seed_of


def split_indices(num_items: int, seed: int, *sizes: int) -> tuple[np.ndarray, ...]:
    """Cut disjoint parts of these sizes off one permutation of the items.

    The permutation depends on (num_items, seed) alone: neither on what was drawn before, nor on the sizes, so that a
    larger first part holds the smaller one.

    Returns:
        one array of indices per size, int64.
    """
    if num_items < 0 or min(sizes, default=0) < 0:
        raise ValueError(f"sizes {list(sizes)} of {num_items} items; expected numbers of at least 0")
    if sum(sizes) > num_items:
        raise ValueError(f"sizes {list(sizes)} ask for {sum(sizes)} items; there are {num_items}")
    own = seed_of("split", num_items, seed)
    # RandomState is old, and for that reason frozen: numpy promises the same permutation in every later version.
    order = np.random.RandomState([own >> 32, own & 0xFFFFFFFF]).permutation(num_items)
    ends = np.cumsum(sizes, dtype=np.int64)
    return tuple(order[end - size : end].astype(np.int64) for end, size in zip(ends, sizes, strict=True))
