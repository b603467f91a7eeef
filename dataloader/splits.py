"""What a run trains on and is judged by: the same for every kind of data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Groups(Protocol):
    """Which items show one object, and at which scales."""

    @property
    def scales(self) -> np.ndarray:
        """(N,); NaN for an item that is a group by itself."""

    @property
    def of_item(self) -> np.ndarray:
        """(N,) number of the group."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Items that a model is judged by, in batches that never change: several processes divide the batches.

    Args:
        kind: of the data, the name of its folder here.
        dataset: of (image, label, number); a label of -1 marks an item that could not be read.
        batches: numbers of the items, whole groups together.
        workers: processes that prepare batches.
        groups: of all items of the data set, where some of them show one object at several scales.
        composed: the data set, where its items can be composed with every part at a given scale.
        sampler: from batches of numbers to what the data set is asked for.
    """

    kind: str
    dataset: Dataset
    batches: list[list[int]]
    workers: int
    groups: Groups | None = None
    composed: Any = None
    sampler: Callable[[list[list[int]]], Any] = list

    def loader(self, batches: list[list[int]]) -> DataLoader:
        """(image, label, number) of these batches."""
        workers = min(self.workers, len(batches))
        return DataLoader(self.dataset, batch_sampler=self.sampler(batches), num_workers=workers)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """All parts of a recipe's data.

    Args:
        num_classes: of the labels.
        evaluated: by name; the first one is the split that the recipe names.
        train: one process's share of the shuffled training batches, (image, label, number); None where nothing is to
            be trained.
        watched: items that are looked at after every epoch, where training ends by what they show; None elsewhere.
        calibration: items that are neither trained on nor judged by, for the temperature; None where there are none.
        mix: what is done to whole batches, such as mixup.
        report: what was found, line by line.
    """

    num_classes: int
    evaluated: Mapping[str, Part]
    train: DataLoader | None = None
    calibration: Part | None = None
    watched: Part | None = None
    mix: Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]] | None = None
    report: tuple[str, ...] = ()

    @property
    def first_image(self) -> Tensor:
        """(C, H, W), the first one that is judged."""
        part = next(iter(self.evaluated.values()))
        return part.dataset[part.batches[0][0]][0]

    def count_broken(self, summed: Callable[[Tensor], Tensor] = lambda values: values) -> int:
        """Items that could not be read so far, by any of the processes that ``summed`` sums over."""
        return sum(dataset.count_broken(summed) for dataset in self._datasets())

    def check(self) -> None:
        """Raise where more items of a data set could not be read than the recipe allows."""
        for dataset in self._datasets():
            dataset.check()

    def _datasets(self) -> list[Any]:
        """Those of which items may be broken, each once, for parts may share one."""
        loaded = [*self.evaluated.values(), self.calibration, self.train]
        datasets = dict.fromkeys(one.dataset for one in loaded if one is not None)
        return [dataset for dataset in datasets if hasattr(dataset, "count_broken")]


def batches_of(groups: Iterable[Sequence[int]], size: int) -> list[list[int]]:
    """Whole groups together, as many as fit; a group that is larger is a batch by itself."""
    batches: list[list[int]] = []
    for group in groups:
        if not batches or len(batches[-1]) + len(group) > size:
            batches.append([])
        batches[-1] += group
    return batches
