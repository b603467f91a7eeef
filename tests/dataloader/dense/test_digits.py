"""Digits with a label for every pixel: the items of the classification set, seen pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from config.load import load_recipes
from dataloader.build import build_splits, count_classes
from dataloader.dense.digits import LEVEL, LabelledDigits
from dataloader.digits.items import ScaledDigits
from dataloader.digits.single import embedded_digits

OPTIONS = {"n_digits": 3, "scales": ((0.4, 2.0),) * 3, "cell_size": 56, "channels": 1}


@pytest.fixture(scope="module")
def both() -> tuple[LabelledDigits, ScaledDigits]:
    images, labels = embedded_digits(False)
    return LabelledDigits(images[:60], labels[:60], **OPTIONS), ScaledDigits(images[:60], labels[:60], **OPTIONS)


def test_the_images_are_those_of_the_classification_set(both) -> None:
    labelled, plain = both
    assert all(torch.equal(labelled[index][0], plain[index][0]) for index in range(20))


def test_pixels_read_in_the_order_of_the_digits_give_the_number(both) -> None:
    """The label of the item follows from the map: the digits stand from left to right or from the top down."""
    labelled, plain = both
    for index in range(60):
        image, label = labelled[index]
        assert label.dtype == torch.int64 and label.shape == image.shape[-2:]
        assert torch.equal(label > 0, image[0] * 255 > LEVEL)
        found = {}
        for digit in set(label.unique().tolist()) - {0}:
            ys, xs = np.nonzero((label == digit).numpy())
            found[digit - 1] = (ys.min() + ys.max() + xs.min() + xs.max()) / 2  # grows along every layout
        number = [int(digit) for digit in f"{plain[index][1]:03d}"]
        if len(set(number)) == 3:
            assert sorted(found, key=found.__getitem__) == number


def test_a_wide_and_a_small_digit_keep_their_pixels_to_themselves(both) -> None:
    labelled, _ = both
    pixels, _ = labelled.item(0, [0.4, 2.0, 1.0])
    label = labelled.labelled(0, pixels)
    areas = [int((label[cell] > 0).sum()) for cell in labelled.cells(0)]
    assert areas[0] < areas[2] < areas[1]
    assert all(len(np.unique(label[cell])) <= 2 for cell in labelled.cells(0))


def test_splits_hold_the_items_of_classification() -> None:
    words = ["data.train_items=50", "evaluation.calibration_items=10", "data.n_digits=2", "data.cell_size=56"]
    words += ["data.scales=[[0.5, 1.5], [0.5, 1.5]]", "data.test_scales=[[0.5, 1.5], [0.5, 1.5]]"]
    ((_, dense),) = load_recipes("dense/small.yaml", "dense_base", words, kind="dense")
    ((_, plain),) = load_recipes(
        "mnist/small.yaml", "small_base", [*words, "data.name=digits", "data.channels=1", "evaluation.items=null"]
    )
    found, expected = build_splits(dense, 3), build_splits(plain, 3)
    assert found.num_classes == count_classes(dense) == 11 and found.calibration is None
    assert list(found.train.batch_sampler.items) == list(expected.train.batch_sampler.items)
    image, label, number = next(iter(found.train))
    assert label.shape == (len(image), *image.shape[-2:]) and label.max() <= 10
    part = found.evaluated["test"]
    assert part.kind == "dense" and len(part.batches[0]) == 64 and number.ndim == 1
