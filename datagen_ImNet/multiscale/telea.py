"""Fills holes by Telea's method, from their edges inwards: needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


class Telea:
    """OpenCV's implementation.

    Args:
        radius: in pixels, of the surroundings that each new pixel is made of.
    """

    def __init__(self, radius: float = 3):
        self.radius = radius

    def __call__(self, images: Sequence[np.ndarray], holes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.fill(image, hole) for image, hole in zip(images, holes, strict=True)]

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """One image; the order of its channels does not matter."""
        return cv2.inpaint(image, hole.astype(np.uint8), self.radius, cv2.INPAINT_TELEA)
