"""Operators that rescale, against what libraries give for the cases that they know."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import resample

from layers.rescaling import Operator, read, reading_matrix, rescale, rescaled_positions

IMAGE = torch.rand(2, 3, 24, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def shrunk(image, operator, factor):
    """The (H / factor, W / factor) image, with edges on edges."""
    rows, columns = (
        reading_matrix(operator, n, (torch.arange(n // factor).double() + 0.5) * factor - 0.5, 1 / factor)
        for n in image.shape[-2:]
    )
    return read(image, rows, columns)


@pytest.mark.parametrize("operator", get_args(Operator))
def test_rows_sum_to_one_and_the_scale_one_changes_nothing(operator) -> None:
    for size in (9, 12):
        for scale in (0.4, 0.5, 1.0, 1.7):
            weights = reading_matrix(operator, size, rescaled_positions(size, scale, 4.3), scale)
            torch.testing.assert_close(weights.sum(1), torch.ones(size, dtype=torch.float64))
    torch.testing.assert_close(rescale(IMAGE, 1.0, operator), IMAGE)


@pytest.mark.parametrize("factor", [2, 3])
def test_cubic_and_area_are_those_of_torch(factor) -> None:
    size = (24 // factor, 30 // factor)
    cubic = F.interpolate(IMAGE, size, mode="bicubic", antialias=True)
    torch.testing.assert_close(shrunk(IMAGE, "bicubic", factor), cubic)
    torch.testing.assert_close(shrunk(IMAGE, "area", factor), F.avg_pool2d(IMAGE, factor))


def test_cubic_enlarges_as_torch_does() -> None:
    weights = reading_matrix("bicubic", 24, (torch.arange(60).double() + 0.5) * 0.4 - 0.5, 2.5)
    expected = F.interpolate(IMAGE, (60, 30), mode="bicubic", antialias=True)
    inside = slice(6, -6)  # at the border positions are moved, and not only readings
    torch.testing.assert_close((weights @ IMAGE)[..., inside, :], expected[..., inside, :])


def test_area_of_a_broken_factor_weighs_by_overlap() -> None:
    """Three pixels from five: each covers 5/3, which begins and ends within a pixel."""
    weights = reading_matrix("area", 5, (torch.arange(3) + 0.5) * 5 / 3 - 0.5, 3 / 5)
    expected = torch.tensor([[3, 2, 0, 0, 0], [0, 1, 3, 1, 0], [0, 0, 0, 2, 3]], dtype=torch.float64) / 5
    torch.testing.assert_close(weights, expected)


def test_subsampling_takes_the_nearest_and_a_tie_goes_upwards() -> None:
    weights = reading_matrix("subsample", 5, torch.tensor([-3.0, 0.5, 1.5, 1.4, 9.0]), 0.5)
    assert weights.argmax(1).tolist() == [0, 1, 2, 1, 4] and weights.sum() == 5
    assert torch.equal(rescale(IMAGE, 0.5, "subsample")[..., 6:18, 8:23], IMAGE[..., ::2, 1::2])


def test_ideal_is_the_resampling_of_fourier() -> None:
    signal = IMAGE[0, 0, 0, :15]
    weights = reading_matrix("ideal", 15, torch.arange(5) * 3.0, 1 / 3)
    np.testing.assert_allclose(weights @ signal, resample(signal.numpy(), 5), atol=1e-12)
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16).double() / 16 + 1)
    slow = reading_matrix("ideal", 16, torch.arange(8) * 2.0, 0.5) @ wave
    torch.testing.assert_close(slow, wave[::2])
    quick = torch.cos(2 * torch.pi * 5 * torch.arange(16).double() / 16)
    assert (reading_matrix("ideal", 16, torch.arange(8) * 2.0, 0.5) @ quick).abs().max() < 1e-6


def test_a_rescaled_image_keeps_its_middle_and_shrinks_towards_it() -> None:
    image = torch.zeros(1, 1, 33, 33)
    image[..., 8:25, 12:21] = 1
    small = rescale(image, 0.5, "area")
    assert small[0, 0, 16].sum().item() == pytest.approx(4.5) and small[0, 0, :, 16].sum().item() == pytest.approx(8.5)
    torch.testing.assert_close(small, small.flip(-1, -2))


def test_other_operators_and_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="operator is 'cubic'; expected one of bicubic, area, subsample, ideal"):
        reading_matrix("cubic", 4, torch.arange(4), 0.5)
    with pytest.raises(ValueError, match="scale is 0; expected a finite number above 0"):
        rescale(IMAGE, 0)
