"""Objects that are cut out and pasted: their size, their rim, and what stays as it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

import measure_quality
from measure_quality import SCALES, rim_against_clean
from multiscale.compositor import Cutout, Placement, continued, hole_mask, inner, is_visible, paste

SIZE = (160, 140)
CENTRE = (80.37, 69.6)


def disc(front: float = 200, back: float = 50, radius: float = 30.3, centre: tuple[float, float] = CENTRE) -> Cutout:
    return measure_quality.disc(SIZE, centre, radius, front, back)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("radius", [16, 30.3, 45])
@pytest.mark.parametrize(("front", "back"), [(200, 50), (50, 200), (0, 255), (255, 0)])
def test_a_pasted_disc_has_a_clean_rim(front: float, back: float, radius: float, scale: float) -> None:
    cutout = disc(front, back, radius)
    pasted, _ = paste(np.full_like(cutout.image, back), cutout, scale)
    assert abs(rim_against_clean(pasted, cutout, scale, front, back)) <= 2


def test_black_surroundings_would_give_a_dark_rim() -> None:
    cutout = disc(200, 180)
    background = np.full_like(cutout.image, 180)
    # as published: an object on black is resized, and its mask is blurred behind that
    side = tuple(round(length * 1.3) for length in SIZE)
    layer = cv2.resize(cutout.image * cutout.mask[..., None], side, interpolation=cv2.INTER_LANCZOS4)
    mask = cv2.resize(cutout.mask.astype(np.float32), side, interpolation=cv2.INTER_NEAREST)
    alpha = cv2.GaussianBlur(mask, (5, 5), 7)
    left, top = round(CENTRE[0] * 1.3 - CENTRE[0]), round(CENTRE[1] * 1.3 - CENTRE[1])
    window = (slice(top, top + SIZE[1]), slice(left, left + SIZE[0]))
    published = layer[window] * alpha[window][..., None] + background * (1 - alpha[window][..., None])
    assert rim_against_clean(published, cutout, 1.3, 200, 180) < -10
    assert abs(rim_against_clean(paste(background, cutout, 1.3)[0], cutout, 1.3, 200, 180)) <= 2


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("radius", [16, 16.4, 23, 45])
def test_the_area_follows_the_square_of_the_scale(radius: float, scale: float) -> None:
    cutout = disc(radius=radius)
    _, area = paste(cutout.image, cutout, scale)
    assert area == pytest.approx(scale**2 * cutout.mask.sum(), rel=0.01)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", [0, 0.25, 0.5, 0.8])
def test_the_middle_of_the_box_stays_where_it_is_between_pixels(shift: float, scale: float) -> None:
    centre = (80 + shift, 70 - shift)
    cutout = disc(255, 0, 20, centre)
    pasted, _ = paste(np.zeros_like(cutout.image), cutout, scale)
    weight = pasted[..., 0] / pasted[..., 0].sum()
    x, y = np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1])[:, None] + 0.5
    rows, columns = np.nonzero(cutout.mask)
    offset = columns.mean() + 0.5 - centre[0], rows.mean() + 0.5 - centre[1]  # of the mask, which has whole pixels
    assert (weight * x).sum() == pytest.approx(centre[0] + scale * offset[0], abs=0.03)
    assert (weight * y).sum() == pytest.approx(centre[1] + scale * offset[1], abs=0.03)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("centre", [(5, 60), (150, 60), (80, 4), (80, 137), (3, 3), (158, 138)])
def test_all_borders_are_treated_alike(centre: tuple[float, float], scale: float) -> None:
    cutout = disc(radius=20, centre=centre)
    box = (max(0, cutout.box[0]), max(0, cutout.box[1]), min(SIZE[0], cutout.box[2]), min(SIZE[1], cutout.box[3]))
    cutout = Cutout(cutout.image, cutout.mask, box)
    turned_box = (SIZE[0] - box[2], SIZE[1] - box[3], SIZE[0] - box[0], SIZE[1] - box[1])
    turned = Cutout(cutout.image[::-1, ::-1].copy(), cutout.mask[::-1, ::-1].copy(), turned_box)
    background = np.full_like(cutout.image, 90)
    difference = paste(background, cutout, scale)[0].astype(int) - paste(background, turned, scale)[0][::-1, ::-1]
    assert abs(difference).max() <= 1  # rounding


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_an_object_at_the_border_stays_opaque_up_to_it(scale: float) -> None:
    mask = np.zeros(SIZE[::-1], bool)
    mask[40:100, :30] = True
    image = np.full((*mask.shape, 3), 200, np.uint8)
    pasted, _ = paste(np.zeros_like(image), Cutout(image, mask, (0, 40, 30, 100)), scale)
    assert (pasted[60:80, 0] == 200).all()


@pytest.mark.parametrize("scale", SCALES)
def test_nothing_changes_beyond_the_object(scale: float) -> None:
    cutout = disc(radius=20)
    background = np.random.default_rng(0).integers(0, 255, cutout.image.shape, np.uint8)
    pasted, _ = paste(background, cutout, scale)
    x, y = np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1])[:, None] + 0.5
    beyond = np.hypot(x - CENTRE[0], y - CENTRE[1]) > 20 * scale + 6
    assert (pasted[beyond] == background[beyond]).all()
    assert (pasted != background).any()


def test_at_scale_one_the_inside_is_the_picture_itself() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    pasted, area = paste(np.zeros_like(image), Cutout(image, mask, (30, 20, 60, 40)), 1.0)
    assert (pasted[22:38, 32:58] == image[22:38, 32:58]).all()
    assert area == pytest.approx(mask.sum())


def test_colour_of_inner_pixels_goes_on_beyond_them() -> None:
    image = np.zeros((9, 9, 3), np.uint8)
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    image[mask] = 100  # mixed with what is behind
    image[3:6, 3:6] = 200
    assert (continued(image, mask) == 200).all()


def test_thin_parts_keep_their_own_colour() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:15] = True
    mask[10, 15:28] = True  # a handle
    core = inner(mask)
    assert not core[5, 5:15].any() and core[6:14, 6:14].all()
    assert core[10, 18:28].all()
    single = np.zeros((5, 5), bool)
    single[2, 2] = True
    assert (inner(single) == single).all()


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.3, 8.0])
def test_the_edge_is_as_soft_as_the_published_one_and_nowhere_cut(scale: float) -> None:
    mask = np.zeros((200, 200), bool)
    mask[90:110, 90:110] = True
    white = np.full((200, 200, 3), 255, np.uint8)
    pasted, area = paste(np.zeros_like(white), Cutout(white, mask, (90, 90, 110, 110)), scale)
    profile = pasted[100, 100:, 0] / 255
    assert (np.diff(profile) <= 0).all() and profile[0] > 0.9 and profile[-1] == 0
    assert abs(np.diff(profile)).max() <= 0.25  # five pixels of nearly equal weight, and a scaled pixel's own ramp
    assert profile[np.flatnonzero(profile)[-1]] < 0.21  # of five pixels, the last
    assert area == pytest.approx(400 * scale**2, rel=0.02)


@pytest.mark.parametrize(("scale", "seen"), [(1.3, True), (1.0, True), (0.8, True), (0.7, False)])
def test_a_pixel_vanishes_when_less_than_half_of_one_is_covered(scale: float, seen: bool) -> None:
    mask = np.zeros((20, 20), bool)
    mask[10, 10] = True
    image = np.zeros((20, 20, 3), np.uint8)
    assert is_visible(Cutout(image, mask, (10, 10, 11, 11)), scale) == seen


def test_an_object_that_leaves_the_picture_is_not_visible() -> None:
    mask = np.zeros((100, 100), bool)
    mask[97:, 97:] = True
    cutout = Cutout(np.zeros((100, 100, 3), np.uint8), mask, (0, 0, 100, 100))  # far from the middle of its box
    assert not is_visible(cutout, 1.3) and Placement(cutout, 1.3).is_empty
    assert is_visible(cutout, 0.9)


def test_the_hole_holds_the_whole_object_and_softens_outwards() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    hole = hole_mask(mask, inflation=5, blur=2)
    assert (hole[18:42, 18:42] == 1).all()
    profile = hole[30, 42:]
    assert (np.diff(profile[:7]) < 0).all() and (profile[6:] == 0).all()
    assert profile[0] == pytest.approx(6 / 7)
    assert (hole_mask(mask, 0, 0) == mask).all()
    assert (hole_mask(np.ones((5, 5), bool), 5, 2) == 1).all()


def test_resampling_agrees_with_pil_on_the_whole_picture() -> None:
    image = np.asarray(Image.effect_noise((64, 64), 80).convert("RGB"))
    mask = np.ones((64, 64), bool)
    placement = Placement(Cutout(image, mask, (0, 0, 64, 64)), 0.5)
    whole = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
    shown = placement.colour(image)
    top, left = 16 - placement.slices[0].start, 16 - placement.slices[1].start
    assert abs(shown[top + 4 : top + 28, left + 4 : left + 28] - whole[4:28, 4:28]).max() <= 1
