"""Which items a realisation holds, and the numbers that their factors follow from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dataloader.scaled.sources import Pool


class Draw(NamedTuple):
    """Items of one split.

    Args:
        numbers: (N,) of the pool's images.
        uniform: (N,), independent and uniform in [0, 1).
    """

    numbers: np.ndarray
    uniform: np.ndarray


def draws(
    pool: Pool,
    realisation: int,
    train: int | None = None,
    validation: int | None = None,
    *,
    takes_first: bool = False,
) -> dict[str, Draw]:
    """The splits of a realisation: each has the classes in the proportions of the whole, item by item.

    The test does not depend on the two sizes, nor validation on that of the training; a smaller split holds the first
    items of a larger one.

    Args:
        pool: of all pictures.
        realisation: 0, 1, and so on.
        train: items; None takes as many as the pool's ``sizes`` say.
        validation: the same.
        takes_first: whether items stay as the files have them. The first ones of the training file are trained on, the
            next ones validate, and the first ones of the other file are tested. Realisations differ in factors alone.
    """
    generator = np.random.default_rng([realisation, len(pool.labels)])
    order, uniform = _stratified(pool.labels, generator), generator.random(len(pool.labels))
    wanted = {"test": pool.sizes[2], "validation": pool.sizes[1], "train": pool.sizes[0]}
    wanted |= {name: size for name, size in (("train", train), ("validation", validation)) if size is not None}
    if takes_first:
        order = np.arange(len(order))
        wanted = {name: wanted[name] for name in ("train", "validation", "test")}  # in the order of the file
    elif pool.is_one:
        return _cut(order, uniform, wanted)
    own, others = order[order < pool.trained], order[order >= pool.trained]
    test = {"test": min(wanted.pop("test"), len(others))}
    return _cut(others, uniform, test) | _cut(own, uniform, wanted)


def _cut(order: np.ndarray, uniform: np.ndarray, sizes: dict[str, int]) -> dict[str, Draw]:
    """Splits one after the other."""
    if sum(sizes.values()) > len(order):
        asked = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        raise ValueError(f"{asked} are {sum(sizes.values())} items; there are {len(order)} in the files")
    found, first = {}, 0
    for name, size in sizes.items():
        numbers = order[first : first + size]
        found[name] = Draw(numbers, uniform[numbers])
        first += size
    return found


def _stratified(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random order of all items, of which every stretch has the classes in their proportions.

    Each class is shuffled and spread evenly over the whole, from a place of its own.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + generator.random()) / len(own)
    return np.argsort(place, kind="stable")
