"""The data that a model is judged by, and which of its items a trial takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
from torch import Tensor

from evaluation.scales import ScaledItems


class Groups(Protocol):
    """Which items show one object, and at which scales."""

    @property
    def scales(self) -> np.ndarray:
        """(N,); NaN for an item that is a group by itself."""

    @property
    def of_item(self) -> np.ndarray:
        """(N,) number of the group."""


class Part(Protocol):
    """Items in batches that never change: several processes divide the batches."""

    @property
    def kind(self) -> str:
        """Of the data, by the name of its folder in ``dataloader/``."""

    @property
    def batches(self) -> list[list[int]]:
        """Numbers of the items, whole groups together."""

    @property
    def groups(self) -> Groups | None:
        """Of all items of the data set, where some of them show one object at several scales."""

    @property
    def composed(self) -> ScaledItems | None:
        """The data set, where its items can be composed with every part at a given scale."""

    def loader(self, batches: list[list[int]]) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """(image, label, number) of these batches; a label of -1 marks a picture that could not be read."""


def places(batches: Iterable[Sequence[int]]) -> dict[int, int]:
    """Where each item stands, by its number."""
    return {number: place for place, number in enumerate(chain.from_iterable(batches))}


def first_batches(batches: Iterable[Sequence[int]], count: int) -> list[list[int]]:
    """The first so many items, in batches of the same size; which ones, does not depend on that size."""
    taken: list[list[int]] = []
    for batch in batches:
        if count > 0:
            taken.append(list(batch[:count]))
            count -= len(batch)
    return taken


def unscaled_batches(part: Part, count: int | None) -> list[list[int]]:
    """The first so many items, or all, in new batches; of an object at several scales, the picture at scale 1."""
    items = list(chain.from_iterable(part.batches))
    if part.groups is not None:
        scales = part.groups.scales
        items = [number for number in items if np.isnan(scales[number]) or scales[number] == 1]
    size, items = max(map(len, part.batches), default=1), items[:count]
    return [items[start : start + size] for start in range(0, len(items), size)]
