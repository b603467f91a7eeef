"""Intervals against a loop, and how often they hold the truth."""

import numpy as np
import pytest

import report.bootstrap
from report.bootstrap import paired_bootstrap


def test_it_is_the_loop():
    generator = np.random.default_rng(0)
    a, b = generator.normal(1, 1, 50), generator.normal(0.8, 1, 50)
    found = paired_bootstrap(a, b, samples=4000)
    draws = np.random.default_rng(9)
    means = []
    for _ in range(4000):
        chosen = draws.integers(50, size=50)
        means.append(np.mean([a[item] - b[item] for item in chosen]))
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b))
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.03)
    assert paired_bootstrap(b, a, samples=4000)["low"] == pytest.approx(-found["high"], abs=1e-12)


def test_the_same_seed_gives_the_same_interval_whatever_fits_into_memory(monkeypatch):
    a = np.random.default_rng(0).normal(size=30)
    found = paired_bootstrap(a, np.zeros(30), samples=200, seed=4)
    assert found != paired_bootstrap(a, np.zeros(30), samples=200, seed=5)
    before = np.random.get_state()[1].tolist()
    monkeypatch.setattr(report.bootstrap, "CHUNK", 100)
    assert paired_bootstrap(a, np.zeros(30), samples=200, seed=4) == pytest.approx(found, abs=1e-15)
    assert np.random.get_state()[1].tolist() == before


def test_pairing_takes_out_what_both_models_find_hard():
    generator = np.random.default_rng(1)
    hard = generator.normal(size=200)
    better = hard - 0.1 + 0.05 * generator.normal(size=200)
    paired, unpaired = paired_bootstrap(better, hard), paired_bootstrap(better, generator.permutation(hard))
    assert -0.12 < paired["low"] < paired["high"] < -0.08
    assert unpaired["low"] < 0 < unpaired["high"]


def test_seeds_are_averaged_over():
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(3, 40)), generator.normal(size=(2, 40))
    assert paired_bootstrap(a, b, samples=100) == paired_bootstrap(a.mean(0), b.mean(0), samples=100)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_hold_the_truth_about_as_often_as_they_say(level):
    generator = np.random.default_rng(3)
    held = 0
    for trial in range(300):
        a, b = generator.exponential(1.0, 80), generator.exponential(0.7, 80)
        found = paired_bootstrap(a, b, samples=400, seed=trial, level=level)
        held += found["low"] <= 0.3 <= found["high"]
    assert abs(held / 300 - level) < 0.06


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([1, 2], [1, 2, 3], {}, "a has 2 items but b 3"),
        ([], [], {}, r"a has shape \(0,\)"),
        ([1.0, np.nan], [1, 2], {}, "a holds values that are not finite"),
        ([1], [1], {"samples": 0}, "samples is 0"),
        ([1], [1], {"level": 95}, "level is 95"),
    ],
)
def test_what_cannot_be_compared(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(a, b, **options)
