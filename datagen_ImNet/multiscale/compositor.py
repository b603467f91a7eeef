"""Cuts an object out of a picture and puts it on a background at any scale.

The colour of the object is continued beyond its edge, so that nothing of what was around it, and no black, comes along
on the soft edge; colour and mask are resampled alike, and positions between the pixels are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from PIL import Image

from multiscale.picture import Box

FEATHER, FEATHER_SIGMA = 5, 7.0  # the published blur of a pasted mask, in pixels of the result: alike at every scale


@dataclass(frozen=True)
class Cutout:
    """An object that will be scaled about the middle of its box.

    Args:
        image: (H, W, 3) uint8, where it comes from.
        mask: (H, W) bool, not empty.
        box: around it.
    """

    image: np.ndarray
    mask: np.ndarray
    box: Box

    @cached_property
    def colour(self) -> np.ndarray:
        """(H, W, 3) uint8: that of the object, and beyond it, of its nearest pixel."""
        return continued(self.image, self.mask)

    @cached_property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the mask."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class Placement:
    """Where an object appears at a scale: its scaled bounds and the reach of its edge, cut at the picture's borders.

    Args:
        cutout: the object.
        scale: factor of its size.
    """

    def __init__(self, cutout: Cutout, scale: float):
        H, W = cutout.mask.shape
        left, top, right, bottom = cutout.bounds
        columns = _Axis((cutout.box[0] + cutout.box[2]) / 2, scale, left, right, W)
        rows = _Axis((cutout.box[1] + cutout.box[3]) / 2, scale, top, bottom, H)
        self.is_empty = columns.stop <= columns.start or rows.stop <= rows.start
        self.slices = (slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        self._size = (columns.stop - columns.start, rows.stop - rows.start)
        self._pixels = np.ix_(rows.pixels, columns.pixels)
        self._inside = rows.inside[:, None] & columns.inside
        self._box = (columns.low, rows.low, columns.high, rows.high)

    def colour(self, colour: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8, of a (H, W, 3) uint8 that goes on beyond the picture as at its border."""
        return np.asarray(Image.fromarray(colour[self._pixels]).resize(self._size, Image.Resampling.LANCZOS, self._box))

    def cover(self, mask: np.ndarray) -> np.ndarray:
        """Which share of a pixel is the object's, (h, w) float32, of a (H, W) bool; beyond the picture is nothing."""
        cropped = (mask[self._pixels] & self._inside).astype(np.float32)
        return np.asarray(Image.fromarray(cropped).resize(self._size, Image.Resampling.BILINEAR, self._box))


def paste(background: np.ndarray, cutout: Cutout, scale: float) -> tuple[np.ndarray, float]:
    """A picture (H, W, 3) uint8 with the object at a scale, and the object's area in pixels, the sum of its alpha."""
    placement = Placement(cutout, scale)
    # replicated at the window's sides: an object that the picture's border cuts stays opaque up to it
    alpha = cv2.GaussianBlur(
        placement.cover(cutout.mask), (FEATHER, FEATHER), FEATHER_SIGMA, borderType=cv2.BORDER_REPLICATE
    ).clip(0, 1)
    result = background.copy()
    weight, behind = alpha[..., None], background[placement.slices]
    result[placement.slices] = np.rint(placement.colour(cutout.colour) * weight + behind * (1 - weight))
    return result, float(alpha.sum(dtype=np.float64))


def is_visible(cutout: Cutout, scale: float) -> bool:
    """Whether an object covers at least half of some pixel of the picture at a scale, its edge still sharp."""
    placement = Placement(cutout, scale)
    return not placement.is_empty and bool(placement.cover(cutout.mask).max() >= 0.5)


def continued(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image in which all but the object's inner pixels have the smoothed colour of the nearest of these."""
    core = inner(mask)
    _, labels = cv2.distanceTransformWithLabels(
        (~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    pixel_of = np.zeros(labels.max() + 1, np.int64)
    pixel_of[labels[core]] = np.flatnonzero(core)  # every pixel of the core has a label of its own
    nearest = image.reshape(-1, 3)[pixel_of[labels]]
    smooth = cv2.GaussianBlur(nearest, (FEATHER, FEATHER), 0)  # or single pixels would make a comb of the soft edge
    return np.where(core[..., None], image, smooth)


def inner(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost pixels, whose colour is mixed with the background's; thin parts stay whole."""
    square = np.ones((3, 3), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_REPLICATE)
    thin = mask & ~cv2.dilate(eroded, square, iterations=2).astype(bool)
    return eroded.astype(bool) | thin


def hole_mask(mask: np.ndarray, inflation: int, blur: int) -> np.ndarray:
    """How much of each pixel becomes background, (H, W) float32: all of the object, and less with distance from it.

    The object is dilated by a square of ``inflation`` pixels, and all of that is removed: a blur that began inside
    would leave a ghost of its edge. Beyond it the weight falls to 0 over three times ``blur``, the width to which the
    published blur spreads.
    """
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((max(1, inflation),) * 2, np.uint8))
    distance = cv2.distanceTransform(1 - grown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (1 - distance / (3 * blur + 1)).clip(0, 1).astype(np.float32)


class _Axis:
    """One direction of a placement.

    Args:
        centre: that stays where it is.
        scale: factor of all distances from it.
        low: where the object begins.
        high: where it ends.
        length: of the picture.
    """

    def __init__(self, centre: float, scale: float, low: int, high: int, length: int):
        edge = math.ceil(scale / 2) + FEATHER // 2 + 1  # how far alpha reaches: half a scaled pixel, and the blur
        self.start = max(0, math.floor(centre + (low - centre) * scale) - edge)
        self.stop = min(length, math.ceil(centre + (high - centre) * scale) + edge)
        begin, end = centre + (self.start - centre) / scale, centre + (self.stop - centre) / scale  # in the source
        # of the source, those that the stretch touches and as many more as its filter reaches (3 / scale, at least 3)
        reach = math.ceil(3 * max(1, 1 / scale))
        wanted = np.arange(math.floor(begin) - reach, math.ceil(end) + reach)
        self.inside = (wanted >= 0) & (wanted < length)
        self.pixels = wanted.clip(0, length - 1)
        self.low, self.high = begin - wanted[0], end - wanted[0]
