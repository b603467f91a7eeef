"""The order of training items: the same whatever the number of processes and wherever a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from layers.seeds import seed_of


class Indexed(Dataset):
    """A data set whose items carry their number: (image, label, index).

    Args:
        dataset: of (image, label).
        beside: each gives a further part of an item by its number, which comes last; its sibling, say, the image of the
            same object at scale 1.
    """

    def __init__(self, dataset: Dataset, *beside: Callable[[int], Tensor]):
        self.dataset, self.beside = dataset, beside

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple:
        return (*self.dataset[index], index, *(part(index) for part in self.beside))

    def __getitems__(self, indices: list[int]) -> list[tuple]:
        """A batch, which the loader asks for at once, so that a data set that can may make it at once."""
        if self.beside or not hasattr(self.dataset, "__getitems__"):
            return [self[index] for index in indices]
        return [(*item, index) for item, index in zip(self.dataset.__getitems__(indices), indices, strict=True)]

    def set_epoch(self, epoch: int) -> None:
        """Tell the data set, where it draws afresh in every epoch."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def check(self) -> None:
        """Let the data set raise, where it met more that it could not read than it may."""
        if hasattr(self.dataset, "check"):
            self.dataset.check()

    def count_broken(self, summed: Callable[[Tensor], Tensor]) -> int:
        """Items that could not be read so far, by any of the processes that ``summed`` sums over."""
        return self.dataset.count_broken(summed) if hasattr(self.dataset, "count_broken") else 0


class BatchOrder(Sampler[list[int]]):
    """Batches of item numbers, shuffled by (seed, epoch); every process gets its part of each batch.

    Items that stand mirrored in a batch belong to one process, at mirrored places of its part: what mixes a batch with
    itself turned round makes the same pairs with any number of processes.

    A single item that would be left over at the end joins the batch before it: batch norm has no statistics of one item
    where its map is 1 x 1.

    Args:
        items: item numbers of the training set.
        batch_size: items of a batch, over all processes.
        seed: of the run.
        rank: of this process.
        world: number of processes.
    """

    def __init__(self, items: list[int], batch_size: int, seed: int, rank: int = 0, world: int = 1):
        if not items:
            raise ValueError("there are no items to train on")
        if batch_size < world:
            raise ValueError(f"batch_size is {batch_size} for {world} processes; expected at least one item for each")
        self.items, self.batch_size, self.seed, self.rank, self.world = items, batch_size, seed, rank, world
        self.epoch = 0
        self.start = 0

    def seek(self, epoch: int, start: int = 0) -> None:
        """Let the next iteration yield this epoch's batches, from this one on."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches of a whole epoch; the last one may be smaller, or by one item larger."""
        whole, left = divmod(len(self.items), self.batch_size)
        return whole + (left > 1 or (left == 1 and whole == 0))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        order = torch.randperm(len(self.items), generator=generator).tolist()
        for step in range(self.start, len(self)):
            first = step * self.batch_size
            batch = [self.items[place] for place in order[first : first + self._size(step)]]
            # A process without a part of the last batch computes on one of its items, which `weight` then cancels.
            yield [batch[place] for place in self._places(len(batch), self.rank)] or batch[:1]

    def least(self, step: int) -> int:
        """Items of a batch that every process has at least."""
        return max(1, min(len(self._places(self._size(step), rank)) for rank in range(self.world)))

    def weight(self, step: int) -> float:
        """What the mean over this process's part of a batch counts for, so that the mean over processes is right."""
        size = self._size(step)
        return len(self._places(size, self.rank)) * self.world / size

    def _places(self, size: int, rank: int) -> list[int]:
        """Of a process's part in a batch."""
        first = [*range(rank, (size + 1) // 2, self.world)]
        mirrored = [size - 1 - place for place in reversed(first)]
        return first + mirrored[size % 2 == 1 and bool(first) and first[-1] == size // 2 :]

    def _size(self, step: int) -> int:
        is_last = step + 1 == len(self)
        return len(self.items) - step * self.batch_size if is_last else self.batch_size
