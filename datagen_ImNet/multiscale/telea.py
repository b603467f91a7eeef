"""Fills holes by Telea's method, from their edges inwards: needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# In 8 bits OpenCV rounds up at each step into a hole: one 240 pixels wide becomes 17 levels too bright. Floats do not
# drift, and spread out like this they are spared the level and a half by which its gradient term misses.
SPREAD = 256


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
        channels = np.moveaxis(image, -1, 0).astype(np.float32) * SPREAD  # OpenCV takes floats one by one
        inside = hole.astype(np.uint8)
        new = [cv2.inpaint(channel, inside, self.radius, cv2.INPAINT_TELEA) for channel in channels]
        return np.rint(np.stack(new, -1) / SPREAD).clip(0, 255).astype(np.uint8)
