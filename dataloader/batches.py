"""Batches that never change, of items that a model is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def batches_of(groups: Iterable[Sequence[int]], size: int) -> list[list[int]]:
    """Whole groups together, as many as fit; a group that is larger is a batch by itself."""
    batches: list[list[int]] = []
    for group in groups:
        if not batches or len(batches[-1]) + len(group) > size:
            batches.append([])
        batches[-1] += group
    return batches


def first_of(batches: Iterable[Sequence[int]], count: int) -> list[list[int]]:
    """The first so many items of batches, in batches of the same size; which ones, does not depend on that size."""
    taken: list[list[int]] = []
    for batch in batches:
        if count <= 0:
            break
        taken.append(list(batch[:count]))
        count -= len(batch)
    return taken
