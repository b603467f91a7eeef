"""The stages between reading and writing, and the small interfaces of what does their work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from multiscale.compositor import Cutout, hole_mask, is_visible
from multiscale.picture import Box, Picture


class Detection(NamedTuple):
    """Where an object is, and how sure that is."""

    box: Box
    score: float


class Segmentation(NamedTuple):
    """Which pixels are the object's, (H, W) bool, and how sure that is."""

    mask: np.ndarray
    score: float


class Detector(Protocol):
    """Finds the labelled object of each picture, whose ``image`` and ``source`` are known, or None."""

    def __call__(self, pictures: Sequence[Picture]) -> list[Detection | None]: ...


class Segmenter(Protocol):
    """Finds the pixels of the object of each picture, whose ``box`` is known too."""

    def __call__(self, pictures: Sequence[Picture]) -> list[Segmentation]: ...


class Inpainter(Protocol):
    """Fills holes, (H, W) bool, in images, (H, W, 3) uint8, which still show the object.

    A hole is all that may change, its soft edge too; what is changed elsewhere is not used.
    """

    def __call__(self, images: Sequence[np.ndarray], holes: Sequence[np.ndarray]) -> list[np.ndarray]: ...


class Detect:
    """Gives each picture the box of its object, as far as it lies in the picture."""

    def __init__(self, detector: Detector):
        self.detector = detector

    def __call__(self, pictures: list[Picture]) -> list[Picture]:
        left = remaining(pictures)
        for picture, found in zip(left, self.detector(left) if left else [], strict=True):
            box = found and clipped(found.box, picture.image)
            if found is None:
                picture.skip("no_box", f"no box for '{picture.source.label}'")
            elif box is None:
                picture.skip("no_box", f"the box {tuple(round(side, 1) for side in found.box)} is empty in the picture")
            else:
                picture.box, picture.box_score = box, found.score
        return pictures


class Segment:
    """Gives each picture the mask of its object.

    Args:
        segmenter: that finds it.
        min_in_box: share of the mask that must lie in the box.
        scale_factors: at which the object must stay visible.
    """

    def __init__(self, segmenter: Segmenter, min_in_box: float, scale_factors: Sequence[float]):
        self.segmenter, self.min_in_box, self.scale_factors = segmenter, min_in_box, scale_factors

    def __call__(self, pictures: list[Picture]) -> list[Picture]:
        left = remaining(pictures)
        for picture, found in zip(left, self.segmenter(left) if left else [], strict=True):
            picture.mask_score, picture.mask_area = found.score, int(found.mask.sum())
            if not picture.mask_area:
                picture.skip("no_mask", "no pixel of the picture is the object's")
            elif (share := share_in_box(found.mask, picture.box)) < self.min_in_box:
                picture.skip(
                    "mask_outside_box", f"{share:.0%} of the mask lies in the box, less than {self.min_in_box:.0%}"
                )
            elif (scale := self.vanishes(Cutout(picture.image, found.mask, picture.box))) is not None:
                picture.skip("vanishes", f"at scale {scale:g} the object covers half of no pixel")
            else:
                picture.mask = found.mask
        return pictures

    def vanishes(self, cutout: Cutout) -> float | None:
        """A scale at which the object is not to be seen, if there is one."""
        return next((scale for scale in self.scale_factors if not is_visible(cutout, scale)), None)


class Inpaint:
    """Gives each picture its background: the picture without the object.

    Args:
        inpainter: that fills the hole.
        inflation: side in pixels of the square by which the mask grows.
        blur: a third of the width in pixels of the hole's soft edge.
    """

    def __init__(self, inpainter: Inpainter, inflation: int, blur: int):
        self.inpainter, self.inflation, self.blur = inpainter, inflation, blur

    def __call__(self, pictures: list[Picture]) -> list[Picture]:
        for picture in remaining(pictures):
            picture.hole = hole_mask(picture.mask, self.inflation, self.blur)
            if picture.hole.all():
                picture.skip("fills_picture", "nothing is left of the background")
        left = remaining(pictures)
        filled = self.inpainter([p.image for p in left], [p.hole > 0 for p in left]) if left else []
        for picture, new in zip(left, filled, strict=True):
            hole = picture.hole[..., None]
            picture.background = np.rint(new * hole + picture.image * (1 - hole)).astype(np.uint8)
        return pictures


def remaining(pictures: Sequence[Picture]) -> list[Picture]:
    """Those that no stage has skipped."""
    return [picture for picture in pictures if picture.skipped is None]


def clipped(box: Box, image: np.ndarray) -> Box | None:
    """The part of a box that lies in an image, or None if that is empty."""
    H, W = image.shape[:2]
    left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(float(W), box[2]), min(float(H), box[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


def share_in_box(mask: np.ndarray, box: Box) -> float:
    """Of a mask's pixels, those that a box touches."""
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[2]), math.ceil(box[3])
    return float(mask[top:bottom, left:right].sum() / mask.sum())
