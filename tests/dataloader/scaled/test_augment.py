"""Shifts, mirrors and squares, beside one picture at a time done by hand."""

from __future__ import annotations

import numpy as np

from dataloader.scaled.augment import Augment

IMAGES = np.random.default_rng(0).integers(1, 256, (50, 12, 12, 3), np.uint8)
UNIFORM = np.random.default_rng(1).random((50, 5))


def test_a_shift_is_a_crop_of_the_padded_picture() -> None:
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    tops, lefts = (UNIFORM[:, :2] * 5).astype(int).T
    expected = [one[top : top + 12, left : left + 12] for one, top, left in zip(padded, tops, lefts, strict=True)]
    np.testing.assert_array_equal(Augment(shift=2)(IMAGES, UNIFORM), expected)
    assert {*tops} == {*lefts} == {0, 1, 2, 3, 4}


def test_every_other_picture_is_mirrored() -> None:
    found = Augment(flip=True)(IMAGES[..., 0], UNIFORM)
    is_mirrored = UNIFORM[:, 2] < 0.5
    np.testing.assert_array_equal(found[is_mirrored], IMAGES[is_mirrored][:, :, ::-1, 0])
    np.testing.assert_array_equal(found[~is_mirrored], IMAGES[~is_mirrored][..., 0])
    both = Augment(shift=2, flip=True)(IMAGES, UNIFORM)
    crop = Augment(shift=2)(IMAGES, UNIFORM)
    np.testing.assert_array_equal(both[is_mirrored], crop[is_mirrored][:, :, ::-1])


def test_a_square_is_cut_around_a_random_pixel() -> None:
    found = Augment(cutout=4)(IMAGES, UNIFORM)
    rows, columns = (UNIFORM[:, 3:5] * 12).astype(int).T
    for one, image, row, column in zip(found, IMAGES, rows, columns, strict=True):
        expected = image.copy()
        expected[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = 0
        np.testing.assert_array_equal(one, expected)


def test_nothing_is_done_where_nothing_is_asked_for() -> None:
    np.testing.assert_array_equal(Augment()(IMAGES, UNIFORM), IMAGES)
    assert not Augment().is_on and Augment(flip=True).is_on
