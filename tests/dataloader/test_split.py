"""Splits: disjoint, and the same whatever was drawn before."""

import random

import numpy as np
import pytest
import torch

from dataloader.split import split_indices, split_ring


def test_parts_are_disjoint_and_of_the_sizes_asked_for():
    parts = split_indices(100, 3, 30, 0, 50, 20)
    assert [len(part) for part in parts] == [30, 0, 50, 20]
    assert all(part.dtype == np.int64 for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(100))


def test_a_split_depends_on_the_number_of_items_and_the_seed_alone():
    before = split_indices(60_000, 42, 6000, 500)
    for draw in (torch.rand, np.random.rand, lambda n: [random.random() for _ in range(n)]):
        draw(17)
        for part, again in zip(before, split_indices(60_000, 42, 6000, 500), strict=True):
            np.testing.assert_array_equal(part, again)
    assert not np.array_equal(before[0], split_indices(60_000, 43, 6000)[0])
    assert not np.array_equal(before[0], split_indices(60_001, 42, 6000)[0])
    assert 500 < len(np.intersect1d(before[0], split_indices(60_000, 43, 6000)[0])) < 700  # 600 by chance


def test_a_split_is_the_same_on_every_machine():
    assert split_indices(10, 0, 10)[0].tolist() == [9, 4, 1, 8, 2, 7, 3, 5, 6, 0]


def test_a_larger_part_holds_the_smaller_one():
    (small,), (large,) = split_indices(1000, 0, 100), split_indices(1000, 0, 400)
    np.testing.assert_array_equal(small, large[:100])


def test_impossible_sizes():
    with pytest.raises(ValueError, match=r"sizes \[60, 50\] ask for 110 items; there are 100"):
        split_indices(100, 0, 60, 50)
    with pytest.raises(ValueError, match=r"sizes \[10, -1\] of 100 items; expected numbers of at least 0"):
        split_indices(100, 0, 10, -1)


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(40, 20), (20, 15, 10), (0, 5), (60,), (30, 0, 20)])
def test_no_source_stands_on_both_sides_of_a_ring(reach: int, sizes: tuple[int, ...]) -> None:
    for seed in range(30):
        parts = split_ring(70, seed, reach, *sizes)
        assert [len(part) for part in parts] == list(sizes)
        sources = [{int(item + k) % 70 for item in part for k in range(reach)} for part in parts]
        assert sum(map(len, sources)) == len(set().union(*sources)), "they are disjoint"


def test_a_ring_is_used_up_to_the_neighbours_that_share_a_source() -> None:
    trained, held_out = split_ring(10, 0, 2, 6, 2)
    assert (held_out[1] - held_out[0]) % 10 == 1
    left = set(range(10)) - {*trained.tolist(), *held_out.tolist()}
    assert left == {(int(held_out[0]) - 1) % 10, (int(held_out[1]) + 1) % 10}
    with pytest.raises(ValueError, match="need 11 items, with 1 left out around each that is held out; there are 10"):
        split_ring(10, 0, 2, 7, 2)
    places = {int(split_ring(60_000, seed, 3, 5, 5)[1][0]) for seed in range(8)}
    assert len(places) == 8  # the seed draws the place
