"""What a run trains on and is judged by: the same for every kind of data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader


class Groups(Protocol):
    """Which items show one object, and at which scales."""

    @property
    def scales(self) -> np.ndarray:
        """(N,); NaN for an item that is a group by itself."""

    @property
    def of_item(self) -> np.ndarray:
        """(N,) number of the group."""


class Part(Protocol):
    """Items that a model is judged by, in batches that never change: several processes divide the batches."""

    @property
    def kind(self) -> str:
        """Of the data, the name of its folder here: digits or pictures."""

    @property
    def batches(self) -> list[list[int]]:
        """Numbers of the items, whole groups together."""

    @property
    def groups(self) -> Groups | None:
        """Of all items of the data set, where some of them show one object at several scales."""

    @property
    def composed(self) -> Any:
        """The data set, where its items can be composed with every part at a given scale; None elsewhere."""

    def loader(self, batches: list[list[int]]) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """(image, label, number) of these batches; a label of -1 marks a picture that could not be read."""

    def count_broken(self) -> int:
        """Pictures that this process could not read so far."""

    def check(self) -> None:
        """Raise where more of them than the recipe allows could not be read."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """All parts of a recipe's data.

    Args:
        num_classes: of the labels.
        train: one process's share of the shuffled training batches, (image, label, number); None where nothing is to
            be trained.
        calibration: items that are neither trained on nor judged by, for the temperature; None where there are none.
        evaluated: by name; the first one is the split that the recipe names.
        mix: what is done to whole batches, such as mixup.
        report: what was found, line by line.
    """

    num_classes: int
    train: DataLoader | None
    calibration: Part | None
    evaluated: Mapping[str, Part]
    mix: Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]] | None = None
    report: tuple[str, ...] = ()
