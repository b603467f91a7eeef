"""The study of learned scale ranges: its model, its layer, its rates, and a run of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import scale_learning, tolerance
from benchmarks.scale_learning import Setting, draw, factors_at, network, parts_of, studied, trained
from dataloader.scaled.sources import SOURCES

TINY = Setting(side=28, items=64, tested=40, epochs=2, batch_size=16)


def test_the_tolerance_model_meets_the_published_ranges() -> None:
    spans, width = tolerance.fitted(scale_learning.LARGEST)
    assert spans == pytest.approx([2.89, 4.32, 6.32], rel=0.02)
    assert width == pytest.approx(0.459, rel=0.02)


def test_densities_are_those_of_the_model() -> None:
    density = tolerance.objects(4.0)
    height, octaves = density.max(), tolerance.OCTAVES
    assert (density[(octaves >= 0) & (octaves <= 2)] == height).all()
    assert np.interp(2.4, octaves, density) / height == pytest.approx(np.exp(-0.5), rel=1e-3)
    found = tolerance.answers(1.0, 16.0, 0.1, 3)
    peaks = octaves[1:-1][(found[1:-1] > found[:-2]) & (found[1:-1] > found[2:])]
    assert peaks == pytest.approx([0, 2, 4], abs=0.011)


def test_the_network_has_4_x_4_places_and_widths_that_shrink_with_the_canvas() -> None:
    for side in (28, 56):
        model, widths = network(TINY._replace(side=side), 3.0, learns=True)
        assert widths().tolist() == pytest.approx([2 * side / 168 * 3 ** (i / 2) for i in range(3)], rel=1e-5)
        assert model[-1].in_features == 16 * 16 and model(torch.rand(2, 1, side, side)).shape == (2, 10)


def test_rates_rise_and_fall_apart() -> None:
    assert factors_at(1 / 24) == pytest.approx((1, 0.5)) and factors_at(0.3) == (1, 1)
    assert factors_at(0.5) == pytest.approx((0.1, 0.75)) and factors_at(0.9) == pytest.approx((0.01, 0.5625))


def test_digits_become_smaller_with_the_canvas() -> None:
    ink = []
    for side in (42, 84):
        images, _ = parts_of(SOURCES["digits"](""), TINY._replace(side=side), 2.83, 0).train
        assert images.shape == (64, 1, side, side)
        ink.append(images.sum((1, 2, 3)))
    assert (ink[1] / ink[0]).median().item() == pytest.approx(4, rel=0.1)


def test_a_fixed_range_stays_and_a_learned_one_moves() -> None:
    parts = parts_of(SOURCES["digits"](""), TINY, 2.83, 0)
    fixed, learned = (trained(parts, TINY, 3.0, 0, learns=learns) for learns in (False, True))
    assert fixed.spans == pytest.approx([3.0] * 3) and len(learned.spans) == 3
    assert abs(learned.spans[-1] - 3) > 1e-3 and learned.widths[0] != pytest.approx(fixed.widths[0], rel=1e-4)


def test_a_study_has_a_row_for_each_law_and_a_figure(tmp_path: Path) -> None:
    found = list(studied(SOURCES["digits"](""), TINY._replace(epochs=1), [2.0, 4.0], [2.83, 8.0], [0]))
    assert [row["largest"] for row, _ in found] == [2.83, 8.0]
    for row, _ in found:
        assert row["best fixed"] == min((2.0, 4.0), key=lambda span: row[f"fixed {span:g}"])
    draw(tmp_path / "figure.png", {"one": [3.0, 3.5, 4.0]})
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_missing_digits_are_told_in_one_line_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["scale_learning", "--root", str(tmp_path)])
    monkeypatch.setattr(scale_learning, "fitted", lambda _: pytest.fail("it was fitted"))
    with pytest.raises(SystemExit, match=r"^error: train-images.* of MNIST with --root FOLDER$"):
        scale_learning.main()
