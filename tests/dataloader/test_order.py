"""The order of training: one for a seed and an epoch, whatever the processes and the place that a run starts at."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dataloader.order import BatchOrder, Indexed

ITEMS = list(range(100, 123))  # 23: with batches of 8 the last one has 7


def batches(order: BatchOrder, epoch: int = 0, start: int = 0) -> list[list[int]]:
    order.seek(epoch, start)
    return list(order)


def test_the_order_belongs_to_the_seed_and_the_epoch_alone() -> None:
    expected = batches(BatchOrder(ITEMS, 8, seed=3), epoch=2)
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    order = BatchOrder(ITEMS, 8, seed=3)
    batches(order, epoch=7)
    assert batches(order, epoch=2) == expected
    assert batches(order, epoch=3) != expected
    assert batches(BatchOrder(ITEMS, 8, seed=4), epoch=2) != expected
    assert sorted(item for batch in expected for item in batch) == ITEMS
    assert [len(batch) for batch in expected] == [8, 8, 7] and len(order) == 3
    # another batch size cuts the same order
    assert [item for batch in batches(BatchOrder(ITEMS, 5, seed=3), 2) for item in batch] == [
        item for batch in expected for item in batch
    ]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_processes_share_every_batch(world: int) -> None:
    whole = batches(BatchOrder(ITEMS, 8, seed=1), epoch=4)
    orders = [BatchOrder(ITEMS, 8, seed=1, rank=rank, world=world) for rank in range(world)]
    shares = [batches(order, epoch=4) for order in orders]
    assert all(len(share) == len(order) == 3 for share, order in zip(shares, orders, strict=True))
    for step, batch in enumerate(whole):
        parts = [share[step] for share, order in zip(shares, orders, strict=True) if order.weight(step) > 0]
        assert sorted(item for part in parts for item in part) == sorted(batch)


@pytest.mark.parametrize(("size", "world"), [(23, 1), (23, 2), (23, 3), (17, 3), (18, 4), (16, 2), (3, 4)])
def test_the_mean_over_processes_is_the_mean_over_the_batch(size: int, world: int) -> None:
    """Also where the last batch has fewer items than there are processes."""
    items = list(range(size))
    whole = batches(BatchOrder(items, 8, seed=1))
    orders = [BatchOrder(items, 8, seed=1, rank=rank, world=world) for rank in range(world)]
    shares = [batches(order) for order in orders]
    for step, batch in enumerate(whole):
        weights = [order.weight(step) for order in orders]
        assert sum(weights) == pytest.approx(world)
        means = [np.mean(share[step]) * weight for share, weight in zip(shares, weights, strict=True)]
        assert np.mean(means) == pytest.approx(np.mean(batch))


@pytest.mark.parametrize(("size", "world"), [(23, 1), (23, 2), (23, 3), (17, 3), (11, 4)])
def test_every_process_knows_how_few_items_any_has(size: int, world: int) -> None:
    orders = [BatchOrder(list(range(size)), 8, seed=1, rank=rank, world=world) for rank in range(world)]
    shares = [batches(order) for order in orders]
    for step in range(len(orders[0])):
        fewest = min(len(share[step]) for share in shares)
        assert [order.least(step) for order in orders] == [fewest] * world


@pytest.mark.parametrize("world", range(1, 6))
@pytest.mark.parametrize("size", range(1, 13))
def test_mirrored_items_belong_to_one_process_at_mirrored_places(size: int, world: int) -> None:
    (whole,) = batches(BatchOrder(list(range(size)), 12, seed=1))
    orders = [BatchOrder(list(range(size)), 12, seed=1, rank=rank, world=world) for rank in range(world)]
    shares = [batches(order)[0] for order in orders]
    weights = [order.weight(0) for order in orders]
    parts = [share for share, weight in zip(shares, weights, strict=True) if weight > 0]
    assert sorted(item for part in parts for item in part) == sorted(whole)  # each exactly once
    assert weights == [
        len(share) * world / size if weight else 0 for share, weight in zip(shares, weights, strict=True)
    ]
    mirror = dict(zip(whole, reversed(whole), strict=True))
    for part in parts:
        assert [mirror[item] for item in part] == part[::-1]
        assert [item for item in whole if item in part] == part  # in the batch's order
    sizes = [len(part) for part in parts] + [0] * (world - len(parts))
    assert max(sizes) - min(sizes) <= 2
    assert all(share == whole[:1] for share, weight in zip(shares, weights, strict=True) if not weight)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_single_item_at_the_end_joins_the_batch_before_it(world: int) -> None:
    items = list(range(17))
    orders = [BatchOrder(items, 8, seed=1, rank=rank, world=world) for rank in range(world)]
    shares = [batches(order) for order in orders]
    assert all(len(share) == len(order) == 2 for share, order in zip(shares, orders, strict=True))
    assert sorted(item for share in shares for item in share[1]) == sorted({i for s in shares for i in s[1]})
    assert [sum(len(share[step]) for share in shares) for step in (0, 1)] == [8, 9]
    assert sorted(item for share in shares for part in share for item in part) == items
    means = [np.mean(share[1]) * order.weight(1) for share, order in zip(shares, orders, strict=True)]
    assert np.mean(means) == pytest.approx(np.mean([item for share in shares for item in share[1]]))
    assert [len(batch) for batch in batches(BatchOrder([5], 8, seed=1))] == [1]  # there is none before it
    assert [len(batch) for batch in batches(BatchOrder([5, 6], 1, seed=1))] == [1, 1]  # as they are asked for


def test_a_run_goes_on_in_the_middle_of_an_epoch() -> None:
    order = BatchOrder(ITEMS, 8, seed=1, rank=1, world=2)
    whole = batches(order, epoch=5)
    for start in range(4):
        assert batches(order, epoch=5, start=start) == whole[start:]


class Squares(Dataset):
    epoch = 0

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index**2, self.epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def test_a_loader_gives_items_with_their_numbers() -> None:
    indexed = Indexed(Squares())
    indexed.set_epoch(6)
    order = BatchOrder(list(range(10)), 4, seed=2)
    loader = DataLoader(indexed, batch_sampler=order)
    order.seek(1, 1)
    found = [(square.tolist(), epoch.tolist(), index.tolist()) for square, epoch, index in loader]
    assert [index for _, _, index in found] == batches(order, 1, 1)
    assert all(square == [item**2 for item in index] and set(epoch) == {6} for square, epoch, index in found)
    assert len(indexed) == 30
    Indexed([1, 2]).set_epoch(3)  # a data set without epochs does not mind


def test_a_data_set_that_met_too_much_it_could_not_read_says_so_through_the_numbering() -> None:
    class Broken(Squares):
        def check(self) -> None:
            raise ValueError("too many")

    with pytest.raises(ValueError, match="too many"):
        Indexed(Broken()).check()
    Indexed(Squares()).check()


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no items to train on"):
        BatchOrder([], 8, seed=1)
    with pytest.raises(ValueError, match="batch_size is 2 for 3 processes; expected at least one item for each"):
        BatchOrder(ITEMS, 2, seed=1, world=3)
