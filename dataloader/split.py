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


def split_ring(num_items: int, seed: int, reach: int, trained: int, *held_out: int) -> tuple[np.ndarray, ...]:
    """Parts of items that share their sources with their neighbours, so that no source stands on both sides.

    Item i shows the sources i, i + 1, ... i + reach - 1, around the end back to the first. What is held out therefore
    lies together, in stretches from a place that the seed draws, with reach - 1 items left out around each; what is
    trained on is drawn from all that is left.

    Example:
        With 10 items of 2 sources, two held out at 4 and 5 show the sources 4, 5 and 6; the items 3 and 6 are left out,
        and 7, 8, 9, 0, 1 and 2, with the sources 7, 8, 9, 0, 1, 2 and 3, can be trained on.

    Args:
        num_items: as many as there are sources.
        seed: of the draws.
        reach: sources of one item.
        trained: items of the first part; a larger one holds the smaller.
        held_out: items of each other part.

    Returns:
        one array of indices per part, int64.
    """
    gap = reach - 1
    if min([trained, *held_out]) < 0:
        raise ValueError(f"sizes {[trained, *held_out]}; expected numbers of at least 0")
    needed = sum(size + gap for size in held_out if size) + (gap if any(held_out) else 0)
    if trained + needed > num_items:
        raise ValueError(
            f"sizes {[trained, *held_out]} need {trained + needed} items, with {gap} left out around each that is held "
            f"out; there are {num_items}"
        )
    first = seed_of("held out", num_items, seed) % num_items
    parts, end = [], first
    for size in held_out:
        parts.append((end + np.arange(size, dtype=np.int64)) % num_items)
        end += size + gap if size else 0
    is_free = np.ones(num_items, bool)
    is_free[(first - gap + np.arange(needed)) % num_items] = False
    (order,) = split_indices(num_items, seed, num_items)
    return order[is_free[order]][:trained], *parts
