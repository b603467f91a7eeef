"""Locally scaled digits with a label for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

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


@dataclass(frozen=True)
class Scales:
    """Of every item the scale of its objects, and the number of the picture that it shows at this scale."""

    scales: np.ndarray
    of_item: np.ndarray


class AtScales(Dataset[tuple[Tensor, Tensor]]):
    """Items with all their digits at one scale, for one scale after the other; scale 1 is among them.

    Where an item shows a digit twice, it is left out: which of the two a pixel belongs to, its label does not tell.

    Args:
        digits: composes the items.
        items: of which the first so many with different digits are taken.
        count: so many.
        scales: besides 1.
    """

    def __init__(self, digits: LabelledDigits, items: Sequence[int], count: int, scales: Sequence[float]):
        self.digits = digits
        self.items = [item for item in items if len(set(self._shown(item))) == digits.n_digits][:count]
        self.scales = [1.0, *(scale for scale in scales if scale != 1)]
        of_item = np.repeat(np.arange(len(self.items)), len(self.scales))
        self.groups = Scales(np.tile(self.scales, len(self.items)), of_item)

    def __len__(self) -> int:
        return len(self.items) * len(self.scales)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        item, scale = self.items[number // len(self.scales)], self.scales[number % len(self.scales)]
        pixels, _ = self.digits.item(item, [scale] * self.digits.n_digits)
        return self.digits._as_image(pixels), torch.from_numpy(self.digits.labelled(item, pixels))

    def _shown(self, item: int) -> list[int]:
        digits = self.digits
        return [int(digits.labels[(item + place) % len(digits)]) for place in range(digits.n_digits)]
