"""What the stages make of what detectors, segmenters and inpainters find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from multiscale.picture import Box, Picture
from multiscale.stages import Detect, Detection, Inpaint, Segment, Segmentation
from tests.datagen_ImNet.script_runs import picture_of

SCALES = (1.3, 1.0, 0.7)


def blank(number: int = 0, size: tuple[int, int] = (60, 80)) -> Picture:
    return picture_of(np.full((*size, 3), 100, np.uint8), number)


class Boxes:
    """Finds given boxes, in order; remembers what it was asked."""

    def __init__(self, *boxes: Box | None):
        self.boxes = list(boxes)
        self.asked: list[int] = []

    def __call__(self, pictures: Sequence[Picture]) -> list[Detection | None]:
        self.asked += [picture.number for picture in pictures]
        return [box and Detection(box, 0.5) for box in (self.boxes.pop(0) for _ in pictures)]


def masked(box: Box, *, min_in_box: float = 0.8, size: tuple[int, int] = (60, 80), **area: slice) -> Picture:
    """A picture behind the segmenting stage, whose mask is a rectangle."""
    mask = np.zeros(size, bool)
    mask[area["rows"], area["columns"]] = True
    picture = blank(size=size)
    picture.box = box
    return Segment(lambda pictures: [Segmentation(mask, 0.9)], min_in_box, SCALES)([picture])[0]


def test_a_box_is_cut_at_the_picture_and_skipped_pictures_are_not_asked_about() -> None:
    pictures = [blank(number) for number in range(5)]
    pictures[1].skip("unreadable", "for the test")
    detector = Boxes((-5, -7, 30, 30), None, (80, 0, 90, 9), (70, 50, 99, 99))
    Detect(detector)(pictures)
    assert detector.asked == [0, 2, 3, 4]
    assert pictures[0].box == (0, 0, 30, 30) and pictures[0].box_score == 0.5
    assert pictures[4].box == (70, 50, 80, 60)
    assert [picture.skipped for picture in pictures] == [None, "unreadable", "no_box", "no_box", None]
    assert not hasattr(pictures[2], "image")  # its memory is free


def test_nobody_is_asked_about_nothing() -> None:
    picture = blank()
    picture.skip("unreadable", "for the test")

    def never(*_: object) -> list:
        raise AssertionError("asked")

    for stage in (Detect(never), Segment(never, 0.8, SCALES), Inpaint(never, 5, 2)):
        assert stage([picture])[0].skipped == "unreadable"


@pytest.mark.parametrize(
    ("box", "share"),
    [((20, 20, 40, 30), 1.0), ((20, 20, 35.5, 30), 0.8), ((24, 20, 40, 30), 0.8), ((20, 21.5, 40, 30), 0.9)],
)
def test_pixels_that_the_box_touches_lie_in_it(box: Box, share: float) -> None:
    area = {"rows": slice(20, 30), "columns": slice(20, 40)}
    assert masked(box, min_in_box=share, **area).skipped is None
    picture = masked(box, min_in_box=share + 0.01, **area)
    assert picture.skipped == "mask_outside_box" and f"{share:.0%} of the mask lies in the box" in str(picture.reason)


def test_an_object_that_leaves_the_picture_as_it_grows_vanishes() -> None:
    picture = masked((0, 0, 80, 60), rows=slice(58, 60), columns=slice(78, 80))
    assert picture.skipped == "vanishes" and "at scale 1.3" in str(picture.reason)


def test_new_pixels_fade_out_beyond_the_object_and_nothing_else_changes() -> None:
    picture = blank()
    picture.mask = np.zeros((60, 80), bool)
    picture.mask[25:35, 30:50] = True
    asked: list[np.ndarray] = []

    def white(images: Sequence[np.ndarray], holes: Sequence[np.ndarray]) -> list[np.ndarray]:
        asked.extend(holes)
        return [np.full_like(image, 200) for image in images]

    Inpaint(white, inflation=5, blur=2)([picture])
    row = picture.background[30, :, 0].astype(int)
    assert (row[28:52] == 200).all()  # the object and two pixels around it
    fading = row[51:59]
    assert (np.diff(fading[:7]) < 0).all() and set(fading[1:7]) == {114, 129, 143, 157, 171, 186}
    assert (row[58:] == 100).all() and (row[:22] == 100).all()
    assert (asked[0] == (picture.background[..., 0] > 100)).all()  # the inpainter is given all that changes


def test_a_hole_without_surroundings_cannot_be_filled() -> None:
    picture = blank()
    picture.mask = np.zeros((60, 80), bool)
    picture.mask[8:-8, 8:-8] = True
    Inpaint(lambda images, holes: list(images), 5, 2)([picture])
    assert picture.skipped is None  # the corners are left
    picture.mask[:] = True
    Inpaint(lambda images, holes: list(images), 5, 2)([picture])
    assert picture.skipped == "fills_picture"
