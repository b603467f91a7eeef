"""Rescaled images, beside what the published implementations made of the same image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dataloader.scaled.resampling import Resampling, cubic_matrices, rescaled, size_at, spline_matrix
from tests.layers.scale.golden import FOLDER

every_way = pytest.mark.parametrize("resampling", ["modern", "published", "spline"])


def noise(count: int = 3, side: int = 28, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, *channels), np.uint8)


@pytest.mark.parametrize("resampling", ["modern", "published"])
def test_published_images_are_met_exactly(resampling: Resampling) -> None:
    with np.load(FOLDER / "mnist_scale_A.npz") as file:
        factors = file["factors"]
        found = rescaled(np.repeat(file["x"][None], len(factors), 0), factors, 28, resampling)
        for number, image in enumerate(found):
            np.testing.assert_array_equal(image, file[f"img_{resampling}_{number}"])


def test_published_zooms_are_met() -> None:
    with np.load(FOLDER / "zoom.npz") as file:
        for number, factor in enumerate((1 / 1.1, 1 / 1.5, 1 / 2, 1 / 2.5, 1 / 3)):
            matrix = spline_matrix(28, size_at(28, factor), 28)
            np.testing.assert_allclose(matrix @ file["x"] @ matrix.T, file[f"y_{number}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("factor", [0.37, 1.0, 1.6])
def test_modern_images_are_those_of_pil(factor: float) -> None:
    """PIL maps from the canvas to the image, and counts from the corner of the first pixel."""
    image = noise(1)[0]
    own = 14 - 14 / factor
    there = Image.fromarray(image).transform(
        (28, 28), Image.Transform.AFFINE, (1 / factor, 0, own, 0, 1 / factor, own), Image.Resampling.BICUBIC
    )
    np.testing.assert_array_equal(rescaled(image[None], np.array([factor]), 28, "modern")[0], np.asarray(there))


@every_way
def test_a_factor_of_one_changes_nothing(resampling: Resampling) -> None:
    for images in (noise(), noise(2, 28, 3)):
        np.testing.assert_array_equal(rescaled(images, np.ones(len(images)), 28, resampling), images)


@every_way
def test_a_larger_canvas_has_the_image_in_its_middle(resampling: Resampling) -> None:
    images = noise()
    found = rescaled(images, np.ones(3), 40, resampling)
    np.testing.assert_array_equal(found[:, 6:34, 6:34], images)
    assert found.sum() == images.sum()


@every_way
def test_every_image_has_a_factor_of_its_own_and_every_colour_that_of_its_image(resampling: Resampling) -> None:
    images, factors = noise(3, 28, 3), np.array([0.4, 0.9, 1.7])
    found = rescaled(images, factors, 30, resampling)
    for image, factor, whole in zip(images, factors, found, strict=True):
        for colour in range(3):
            alone = rescaled(image[None, :, :, colour], np.array([factor]), 30, resampling)[0]
            np.testing.assert_array_equal(whole[..., colour], alone)


@pytest.mark.parametrize("factor", [0.5, 1.3, 3.0])
def test_an_object_becomes_larger_by_the_factor_about_the_centre(factor: float) -> None:
    """By the second moment of a smooth blob, which grows with the square."""
    line = np.arange(28) + 0.5 - 14
    blob = np.exp(-(line[:, None] ** 2 + line**2) / (2 * 3.0**2))
    (matrix,) = cubic_matrices(28, np.array([factor]), 168)
    found, line = matrix @ blob @ matrix.T, np.arange(168) + 0.5 - 84
    weight = found.sum(0)
    assert weight @ line == pytest.approx(0, abs=1e-9 * weight.sum())
    assert weight @ line**2 / weight.sum() == pytest.approx((3 * factor) ** 2, rel=0.05)


def test_a_zoom_that_is_larger_than_the_canvas_loses_its_margins() -> None:
    zoomed = ndimage.zoom(np.eye(28), (42 / 28, 1), order=3)
    np.testing.assert_allclose(spline_matrix(28, 42, 28), zoomed[7:35])
    assert size_at(28, 0.001) == 1 and spline_matrix(28, 1, 28).any(1).sum() == 1
