"""Splits: disjoint, and the same whatever was drawn before."""

import random

import numpy as np
import pytest
import torch

from dataloader.split import split_indices


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
