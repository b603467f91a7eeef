"""What is done to pictures in training besides rescaling: shifted, mirrored, and a square cut out of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augment:
    """Of a batch, each picture by random numbers of its own.

    Args:
        shift: pixels that a picture is shifted by at most, each way, with zeros coming in: a random crop of the padded
            picture.
        flip: whether every other picture is mirrored.
        cutout: side of a black square around a random pixel; 0 leaves it out.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0

    @property
    def is_on(self) -> bool:
        """Whether it does anything."""
        return bool(self.shift or self.flip or self.cutout)

    def __call__(self, images: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """(B, S, S) or (B, S, S, 3) of (B, 5) uniform numbers."""
        side, count = images.shape[1], len(images)
        down, right = ((uniform[:, :2] * (2 * self.shift + 1)).astype(int) - self.shift).T
        line = np.arange(side)
        rows, columns = line + down[:, None], line + right[:, None]
        if self.flip:
            columns = np.where(uniform[:, 2:3] < 0.5, columns[:, ::-1], columns)
        is_inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]
        if self.cutout:
            middle = (uniform[:, 3:5, None] * side).astype(int) - self.cutout // 2
            is_cut = (line >= middle) & (line < middle + self.cutout)  # (B, 2, S)
            is_inside &= ~(is_cut[:, 0, :, None] & is_cut[:, 1, None])
        at = np.arange(count)[:, None, None], rows.clip(0, side - 1)[:, :, None], columns.clip(0, side - 1)[:, None]
        return images[at] * is_inside.reshape(*is_inside.shape, *(1,) * (images.ndim - 3))
