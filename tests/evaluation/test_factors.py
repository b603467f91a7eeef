"""What is known in every bin of factors, held to a count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.evaluator import evaluate
from tests.evaluation.stand_ins import chunks
from tests.evaluation.test_sizes import KNOWN, Groups, Part, Table

FACTORS = np.array(
    [0.31, 0.315, 0.5, 0.52, 0.7, 0.99]
)  # of the rows of KNOWN; the first two share a bin, 0.5 and 0.52 too
BINS = {0.319: [0, 1], 0.518: [2, 3], 0.683: [4], 0.966: [5]}


def measured(factors: np.ndarray = FACTORS, **options) -> dict[str, float]:
    order = np.random.default_rng(5).permutation(KNOWN.size).tolist()
    groups = Groups(factors[np.array(order) // KNOWN.shape[1]], np.arange(KNOWN.size))
    batches = chunks(range(len(order)), 5)
    parts = {
        "test": Part(order, batches, None, kind="scaled"),
        "factors": Part(order, batches, groups, kind="scaled"),
    }
    return evaluate(Table(), parts, warp_items=2, floor_items=1, **options).metrics


def test_bins_are_counted_as_by_hand() -> None:
    found = measured()
    at = {middle: KNOWN[rows].mean() for middle, rows in BINS.items()}
    shown = {name: value for name, value in found.items() if name.startswith("factor_accuracy_at_")}
    assert shown == pytest.approx({f"factor_accuracy_at_{middle}": share for middle, share in at.items()})


@pytest.mark.parametrize(
    ("factors", "groups"),
    [
        ([0.31, 0.4, 0.5, 0.6, 0.8, 0.99], [[0, 1, 2], [3, 4, 5]]),  # of 7 images each: three bins have 20 together
        ([0.99, 0.4, 0.31, 0.6, 0.5, 0.8], [[2, 1, 4], [3, 5, 0]]),  # from the smallest factor on
        (FACTORS.tolist(), [[0, 1, 2, 3, 4, 5]]),  # the last two have 14 images, which is too few
        ([0.31, 0.31, 0.31, 0.8, 0.8, 0.8], [[0, 1, 2], [3, 4, 5]]),
    ],
)
def test_the_worst_accuracy_is_of_bins_with_at_least_20_images(factors: list[float], groups: list[list[int]]) -> None:
    found = measured(np.array(factors))["worst_factor_accuracy"]
    assert found == pytest.approx(min(KNOWN[rows].mean() for rows in groups))


def test_a_bin_is_a_twentieth_of_an_octave_to_each_side_of_its_name() -> None:
    for middle, rows in BINS.items():
        for factor in FACTORS[rows]:
            assert abs(np.log2(factor / middle)) <= 0.05 + 0.002  # the name has three digits


def test_what_is_not_known_is_the_error() -> None:
    found = measured()
    assert found["test_error"] == pytest.approx(1 - found["accuracy"]) and found["accuracy"] == pytest.approx(
        KNOWN.mean()
    )
    assert not any(name.startswith(("size_", "local_scale")) for name in found)
    assert measured(full=False) == {"accuracy": found["accuracy"]}
