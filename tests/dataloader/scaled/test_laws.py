"""Laws of factors: their ends, their middles, and their order."""

from __future__ import annotations

import numpy as np
import pytest

from dataloader.scaled.laws import Law

UNIFORM = np.linspace(0, 1, 10_000, endpoint=False)


@pytest.mark.parametrize(
    ("law", "middle"),
    [
        (Law("uniform", 0.3, 1.0), 0.65),
        (Law("log_uniform", 1.0, 8.0), 8**0.5),
        (Law("normal", 0.3, 1.0), 0.65),
        (Law("normal", 0.3, 1.0, center=0.4, deviation=0.01), 0.4),
        (Law("normal", 0.3, 1.0, center=0.65, deviation=100.0), 0.65),
        (Law("uniform", 0.7, 0.7), 0.7),
    ],
)
def test_half_of_the_factors_lie_below_the_middle_and_all_in_the_interval(law: Law, middle: float) -> None:
    factors = law.factors_of(UNIFORM)
    assert np.median(factors) == pytest.approx(middle, rel=1e-3)
    assert law.low <= factors.min() and factors.max() <= law.high and (np.diff(factors) >= 0).all()


def test_a_wide_normal_law_is_uniform_and_a_narrow_one_is_normal() -> None:
    wide = Law("normal", 0.3, 1.0, deviation=100.0).factors_of(UNIFORM)
    np.testing.assert_allclose(wide, Law("uniform", 0.3, 1.0).factors_of(UNIFORM), atol=1e-3)
    assert Law("normal", 0.3, 1.0, deviation=0.05).factors_of(UNIFORM).std() == pytest.approx(0.05, rel=0.01)


def test_discrete_factors_come_equally_often() -> None:
    factors = Law("discrete", 0.5, 2.0, factors=(2.0, 0.5, 1.0)).factors_of(UNIFORM)
    values, counts = np.unique(factors, return_counts=True)
    assert values.tolist() == [0.5, 1.0, 2.0] and np.ptp(counts) <= 1
