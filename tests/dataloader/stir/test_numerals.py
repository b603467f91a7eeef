"""Digits of the STIR study, beside images that its own generator made."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from dataloader.stir.container import SIDES
from dataloader.stir.drawing import placed
from dataloader.stir.numerals import Resizing, chosen, finished, mnist, resized
from tests.layers.scale.golden import FOLDER


def drawn_digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs instead of digits: what is drawn does not matter here."""
    generator = np.random.default_rng(0)
    images = ndimage.gaussian_filter(generator.random((10 * count, 28, 28)), (0, 2, 2))
    images = (images - images.min()) / np.ptp(images)
    return (255 * images).astype(np.uint8), np.arange(10 * count) % 10


@pytest.mark.parametrize("name", ["stir_mnist_A", "stir_mnist_A2", "stir_mnist_B"])
@pytest.mark.parametrize(("resizing", "key"), [("published", ""), ("modern", "modern_")])
def test_published_images(name: str, resizing: Resizing, key: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as file:
        values = dict(file)
    for side in values["sides"].tolist():
        found = resized(values["x"][None], side, resizing)
        if f"resized_{key}{side}" in values:
            np.testing.assert_allclose(found[0], values[f"resized_{key}{side}"], atol=2e-5)
        image = finished(placed(found, values[f"pos_{side}"][None]), side)[0].astype(int)
        apart = np.abs(image - values[f"img_{key}{side}"].astype(int))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.01


def test_latents_are_true() -> None:
    """The ink's box is where the latents say, but for the blur: half of the contrast lies inside."""
    digits = drawn_digits(4)
    container = mnist(digits, digits, count=2)
    assert container.images.shape == (3, 48, 10, 2, 64, 64)
    assert container.sides[0, :, 0, 0].tolist() == list(SIDES)
    again = mnist(digits, digits, count=2)
    assert again.checksum() == container.checksum() != mnist(digits, digits, seed=1, count=2).checksum()


def test_splits_show_other_digits() -> None:
    images, labels = drawn_digits(6)
    first, second = chosen(images, labels, 0, 2), chosen(images, labels, 2, 2)
    assert not (first[:, :, None] == second[:, None]).all((-2, -1)).any()
    with pytest.raises(ValueError, match="there are 6 images of digit 0; expected at least 7"):
        chosen(images, labels, 5, 2)


def test_all_digits_of_a_size_at_once_are_faster() -> None:
    """By far more than the machine's noise; the benchmark measures by how much."""
    images, _ = drawn_digits(20)
    for side in (20, 40):
        resized(images[:2], side, "modern")
    start = time.perf_counter()
    for side in (20, 40):
        finished(placed(resized(images, side, "modern"), np.zeros((len(images), 2), int)), side)
    together = time.perf_counter() - start
    start = time.perf_counter()
    for image in images:
        for side in (20, 40):
            zoomed = ndimage.zoom(image.astype(float), side / 28, order=3, mode="mirror", grid_mode=True)
            canvas = np.zeros((64, 64))
            canvas[:side, :side] = zoomed
            ndimage.gaussian_filter(canvas, 7 / 8 * side / 28, mode="nearest")
    assert together < time.perf_counter() - start
