"""Locally scaled digits with a label for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataloader.digits.items import ScaledDigits

LEVEL = 64  # of 255: what is brighter belongs to the digit
NAMES = ("background", *map(str, range(10)))


class LabelledDigits(ScaledDigits):
    """``ScaledDigits`` whose labels are maps: int64 (side, side), 0 for the background and d + 1 for the digit d.

    Every digit has a cell of its own, so that no pixel belongs to two of them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_classes = len(NAMES)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        pixels, _ = self.item(index)
        return self._as_image(pixels), torch.from_numpy(self.labelled(index, pixels))

    def labelled(self, index: int, pixels: np.ndarray) -> np.ndarray:
        """The label of every pixel of an item's uint8 image, at whatever scales it was composed."""
        labels = np.zeros(pixels.shape, np.int64)
        for place, cell in enumerate(self.cells(index)):
            digit = self.labels[(index + place) % len(self)]
            labels[cell][pixels[cell] > LEVEL] = digit + 1
        return labels

    def cells(self, index: int) -> Sequence[tuple[slice, slice]]:
        """Rows and columns of the cell that each of an item's digits is centred in."""
        corners, side = self._corners[self._arrangement_of(self._position(index))], self.cell_size
        return [(slice(row, row + side), slice(column, column + side)) for row, column in corners]
