"""Holds that Telea's method goes on with what is around a hole, and with nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multiscale.telea import Telea

COLOUR = np.array([10, 200, 77], np.uint8)


def disc(side: int) -> np.ndarray:
    """(side, side) bool: a hole that leaves a border."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(x, y) < 0.4 * side


@pytest.mark.parametrize("side", [5, 300])
def test_a_constant_picture_is_filled_with_its_constant(side: int) -> None:
    picture = np.full((side, side, 3), COLOUR)
    hole = disc(side)
    with_object = np.where(hole[..., None], 255, picture).astype(np.uint8)
    (filled,) = Telea()([with_object], [hole])
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled, picture)


def test_the_object_in_the_hole_leaves_no_trace_and_the_rest_stays() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    hole = np.zeros((60, 80), bool)
    hole[20:50, 30:80] = True
    dark, bright = (np.where(hole[..., None], value, picture).astype(np.uint8) for value in (0, 255))
    filled = Telea()([dark, bright], [hole, hole])
    np.testing.assert_array_equal(*filled)
    np.testing.assert_array_equal(filled[0][~hole], picture[~hole])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 3)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), COLOUR)
    picture.flags.writeable = False  # as PIL's are
    hole = np.zeros(size, bool)
    hole[0, 0] = size != (1, 1)
    np.testing.assert_array_equal(Telea().fill(picture, hole), picture)


def test_a_larger_radius_averages_over_more() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    hole = disc(60)
    narrow, wide = (Telea(radius).fill(picture, hole)[hole].astype(float).std() for radius in (1, 10))
    assert wide < narrow


def test_torch_is_not_needed() -> None:
    program = "import inpaint_imagenet, multiscale.build, multiscale.telea, sys; sys.exit('torch' in sys.modules)"
    folder = Path(__file__).parents[2] / "datagen_ImNet"
    assert subprocess.run([sys.executable, "-c", program], cwd=folder).returncode == 0
