"""Splits of a realisation: disjoint, in the proportions of the classes, and independent of each other's sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dataloader.scaled.draws import draws
from tests.dataloader.scaled.pools import pool


def test_splits_are_disjoint_and_have_the_sizes_of_the_pool() -> None:
    found = draws(pool(), 0)
    assert {name: len(draw.numbers) for name, draw in found.items()} == {"test": 20, "validation": 10, "train": 30}
    assert sorted(np.concatenate([draw.numbers for draw in found.values()])) == list(range(60))
    assert len(np.unique(np.concatenate([draw.uniform for draw in found.values()]))) == 60  # no item has another's


def test_every_stretch_has_the_classes_in_their_proportions() -> None:
    source = pool(6000)
    found = draws(source, 3, train=1000, validation=600)
    shares = np.bincount(source.labels) / len(source.labels)
    for draw in found.values():
        for part in (draw.numbers, draw.numbers[:100]):
            counts = np.bincount(source.labels[part], minlength=10)
            assert np.abs(counts - shares * len(part)).max() <= 1.5


def test_a_split_does_not_depend_on_the_sizes_of_those_behind_it() -> None:
    whole, fewer = draws(pool(), 1), draws(pool(), 1, train=7)
    for name in ("test", "validation"):
        np.testing.assert_array_equal(whole[name].numbers, fewer[name].numbers)
    np.testing.assert_array_equal(whole["train"].numbers[:7], fewer["train"].numbers)
    np.testing.assert_array_equal(whole["train"].uniform[:7], fewer["train"].uniform)


def test_realisations_differ_in_items_and_in_factors() -> None:
    first, again, other = draws(pool(), 0)["train"], draws(pool(), 0)["train"], draws(pool(), 1)["train"]
    np.testing.assert_array_equal(first.numbers, again.numbers)
    assert (first.numbers != other.numbers).any()
    of_item = dict(zip(first.numbers.tolist(), first.uniform.tolist(), strict=True))
    shared = [(of_item[n], u) for n, u in zip(other.numbers.tolist(), other.uniform, strict=True) if n in of_item]
    assert shared and all(one != another for one, another in shared)


def test_where_the_files_have_a_test_nothing_else_is_tested() -> None:
    source = pool(60, trained=40)
    found = draws(source, 0, train=20)
    assert set(found["test"].numbers) == set(range(40, 60))
    assert max(found["train"].numbers) < 40 and max(found["validation"].numbers) < 40
    assert Counter(map(len, (draw.numbers for draw in found.values()))) == Counter([20, 10, 20])


def test_the_first_items_of_the_files_are_taken_in_their_order() -> None:
    found = draws(pool(), 0, train=30, validation=12, takes_first=True)
    assert found["train"].numbers.tolist() == [*range(30)] and found["validation"].numbers.tolist() == [*range(30, 42)]
    assert found["test"].numbers.tolist() == [*range(48, 60)]  # the pool asks for 20, but its test file has 12
    other = draws(pool(), 1, train=30, validation=12, takes_first=True)
    assert other["train"].numbers.tolist() == [*range(30)] and (other["train"].uniform != found["train"].uniform).all()
    with pytest.raises(ValueError, match="40 of train, 10 of validation are 50 items; there are 48 in the files"):
        draws(pool(), 0, train=40, takes_first=True)


def test_more_items_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="20 of test, 10 of validation, 31 of train are 61 items; there are 60"):
        draws(pool(), 0, train=31)
