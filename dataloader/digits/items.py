"""Locally scaled multi-digit MNIST: several digits on one canvas, each at a scale of its own.

Item ``index`` shows the digits at positions index, index + 1, ... of the source, around the end back to its start. The
scale of a digit is drawn with its position as the seed (a position past the end is not wrapped for that), so one digit
has one scale in whatever place of whatever item, and each is drawn once and then pasted.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsIndex, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.digits.patches import PatchStore
from dataloader.digits.single import SIDE, read_mnist
from layers.seeds import seed_of

Arrangement = Literal["horizontal", "vertical", "diagonal", "all"]
ARRANGEMENTS = ("horizontal", "vertical", "diagonal")  # in the order that "all" chooses from
UNKNOWN = 255
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels
DEFAULT_SCALES = ((0.4, 2.0),) * 3


class ScaledDigits(Dataset[tuple[Tensor, int]]):
    """Items composed of several digits, each at its own scale; the label reads the digits as one decimal number.

    Negative indices count from the end, as in a list. Digits that were not prepared are drawn when first asked for and
    remembered, which one thread at a time may do.

    Args:
        images: uint8 (N, 28, 28).
        labels: (N,), 0 to 9.
        n_digits: digits per item, at least 2.
        scales: (low, high) of the uniform draw, one interval per digit.
        cell_size: side in pixels of the square that a digit is centred on; the canvas has n_digits times as much.
        layout: how the cells follow each other, or "all": one of the three, drawn per item.
        channels: 1, or 3 equal ones.
        standardize: take MNIST's mean and deviation out of the [0, 1] values.
        fresh_scales: draw fresh scales in every epoch, see ``set_epoch``.
        seed: of the fresh scales; the others depend on the position alone.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        n_digits: int = 3,
        scales: Sequence[Sequence[float]] = DEFAULT_SCALES,
        cell_size: int = 70,
        layout: Arrangement = "all",
        channels: int = 3,
        standardize: bool = False,
        fresh_scales: bool = False,
        seed: int = 0,
    ) -> None:
        self.images, self.labels = np.asarray(images), np.asarray(labels)  # of the single digits
        self._check_digits()
        if not 2 <= n_digits <= 18:  # a label of more digits does not fit 64 bits
            raise ValueError(f"n_digits is {n_digits}; expected 2 to 18")
        if layout not in get_args(Arrangement):
            raise ValueError(f"layout is {layout!r}; expected one of {', '.join(get_args(Arrangement))}")
        if channels not in (1, 3):
            raise ValueError(f"channels is {channels}; expected 1 or 3")
        self.n_digits, self.cell_size, self.channels = n_digits, cell_size, channels
        self.standardize, self.fresh_scales, self.seed = standardize, fresh_scales, seed
        self.scales = self._checked_intervals(scales)
        self.side = n_digits * cell_size
        self.num_classes = 10**n_digits
        # Shared memory, so that workers that outlive an epoch hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64)
        if fresh_scales:
            self._epoch.share_memory_()

        size = len(self.images)
        self._item_labels = sum(
            np.roll(self.labels, -k).astype(np.int64) * 10 ** (n_digits - 1 - k) for k in range(n_digits)
        )
        self._arrangements = np.full(size, ARRANGEMENTS.index(layout) if layout != "all" else UNKNOWN, np.uint8)
        middle = (self.side - cell_size) // 2
        steps = [k * cell_size for k in range(n_digits)]
        self._corners = (
            [(middle, step) for step in steps],
            [(step, middle) for step in steps],
            [(s, s) for s in steps],
        )
        # Drawn digits: for every interval one row per position, those past the end included.
        self._intervals = list(dict.fromkeys(self.scales))
        self._num_positions = size + n_digits - 1
        self._first_rows = [self._intervals.index(pair) * self._num_positions + k for k, pair in enumerate(self.scales)]
        self._forget()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image as floats (channels, side, side), in [0, 1] unless standardized, and the label.

        The channels share one memory: clone the image before writing to it.
        """
        pixels, label = self.item(index)
        return self._as_image(pixels), label

    def sibling(self, index: int) -> Tensor:
        """The image of the same item with all its digits at scale 1, in the same arrangement."""
        return self._as_image(self.item(index, [1.0] * self.n_digits)[0])

    def item(self, index: int, scales: Sequence[float] | None = None) -> tuple[np.ndarray, int]:
        """The uint8 image (side, side) and its label, at the item's own scales or at one given factor per digit."""
        index = self._position(index)
        if scales is None:
            digits = self._own_digits(index)
        else:
            digits = [_resized(digit, side) for digit, side in self._with_sides(index, scales)]
        return self._composed(index, digits), int(self._item_labels[index])

    def restored_item(self, index: int, scales: Sequence[float]) -> tuple[np.ndarray, int]:
        """The item at scale 1, each of its digits resized to its scale and back: what interpolation alone does to it.

        Lanczos both ways, as in ``item``; compare with ``item(index, scales=(1, ..., 1))``.
        """
        index = self._position(index)
        self._checked_side(1.0)
        digits = [_resized(_resized(digit, side), SIDE) for digit, side in self._with_sides(index, scales)]
        return self._composed(index, digits), int(self._item_labels[index])

    def scales_of(self, index: int) -> tuple[float, ...]:
        """The item's own scale factors, one per digit; fresh ones are those of the present epoch."""
        index = self._position(index)
        return tuple(self._scale(index + k, interval) for k, interval in enumerate(self.scales))

    def prepare(self, indices: Iterable[SupportsIndex] | None = None) -> None:
        """Draw all digits that these items (or all items) need, each once, into memory that worker processes share.

        Items are the same without it, only slower the first time; and workers forget what they drew when they end.
        Fresh scales are prepared for the present epoch.
        """
        self._follow_epoch()
        size = len(self)
        wanted = (
            np.arange(size) if indices is None else np.array([self._position(index) for index in indices], np.int64)
        )
        rows = self._drawn.missing(np.concatenate([first + wanted for first in self._first_rows])).tolist()
        sides = [self._side_of(row) for row in rows]
        self._drawn.reserve(sum(side * side for side in sides))
        for row, side in zip(rows, sides, strict=True):
            self._draw(row, side)
        for index in np.unique(wanted).tolist():
            self._arrangement_of(index)

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that fresh scales are drawn for; without ``fresh_scales`` nothing depends on it.

        Worker processes that are running hear of it too.
        """
        self._epoch.fill_(operator.index(epoch))

    def _as_image(self, pixels: np.ndarray) -> Tensor:
        image = torch.from_numpy(pixels).to(torch.float32).div_(255)
        if self.standardize:
            image.sub_(MEAN).div_(STD)
        return image.expand(self.channels, -1, -1)

    def _position(self, index: SupportsIndex) -> int:
        given, size = operator.index(index), len(self)
        if not -size <= given < size:
            raise IndexError(f"index {given} is out of range; there are {size} items")
        return given % size

    def _scale(self, position: int, interval: tuple[float, float]) -> float:
        seed = seed_of(self.seed, "scale", int(self._epoch), position) if self.fresh_scales else position
        return random.Random(seed).uniform(*interval)

    def _arrangement_of(self, index: int) -> int:
        if self._arrangements[index] == UNKNOWN:
            self._arrangements[index] = ARRANGEMENTS.index(random.Random(index).choice(ARRANGEMENTS))
        return int(self._arrangements[index])

    def _composed(self, index: int, digits: Iterable[np.ndarray]) -> np.ndarray:
        canvas = np.zeros((self.side, self.side), np.uint8)
        for digit, (row, column) in zip(digits, self._corners[self._arrangement_of(index)], strict=True):
            side = len(digit)
            margin = (self.cell_size - side) // 2
            top, left = row + margin, column + margin
            canvas[top : top + side, left : left + side] = digit
        return canvas

    def _with_sides(self, index: int, scales: Sequence[float]) -> list[tuple[np.ndarray, int]]:
        """The item's digits at their own size, with the side that each is to have."""
        if len(scales) != self.n_digits:
            raise ValueError(f"scales has {len(scales)} factors; expected one per digit, {self.n_digits}")
        sides = [self._checked_side(float(scale)) for scale in scales]
        return [(self.images[(index + k) % len(self)], side) for k, side in enumerate(sides)]

    def _own_digits(self, index: int) -> list[np.ndarray]:
        self._follow_epoch()
        rows = [first + index for first in self._first_rows]
        for row in rows:
            if row not in self._drawn:
                self._draw(row, self._side_of(row))
        return [self._drawn[row] for row in rows]

    def _side_of(self, row: int) -> int:
        interval, position = divmod(row, self._num_positions)
        return int(SIDE * self._scale(position, self._intervals[interval]))

    def _draw(self, row: int, side: int) -> None:
        self._drawn[row] = _resized(self.images[row % self._num_positions % len(self)], side)

    def _follow_epoch(self) -> None:
        if self.fresh_scales and self._drawn_epoch != int(self._epoch):
            self._forget()

    def _forget(self) -> None:
        self._drawn = PatchStore(len(self._intervals) * self._num_positions)
        self._drawn_epoch = int(self._epoch)

    def _check_digits(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or not len(images):
            raise ValueError(
                f"images are {images.dtype} of shape {images.shape}; expected uint8 (N, {SIDE}, {SIDE}), N at least 1"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; expected integers ({len(images)},)")
        if labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"labels run from {labels.min()} to {labels.max()}; expected digits, 0 to 9")

    def _checked_intervals(self, scales: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
        if len(scales) != self.n_digits:
            raise ValueError(f"scales has {len(scales)} intervals; expected one per digit, {self.n_digits}")
        checked = []
        for pair in scales:
            if len(pair) != 2 or not pair[0] <= pair[1]:
                raise ValueError(f"scales holds {tuple(pair)}; expected (low, high) with low <= high")
            low, high = float(pair[0]), float(pair[1])
            self._checked_side(low)
            self._checked_side(high)
            checked.append((low, high))
        return tuple(checked)

    def _checked_side(self, scale: float) -> int:
        side = int(SIDE * scale) if math.isfinite(scale) else 0
        if not 1 <= side <= self.cell_size:
            raise ValueError(
                f"scale {scale} makes a digit of {SIDE} pixels {SIDE * scale:.4g} pixels large; expected 1 to "
                f"cell_size = {self.cell_size}"
            )
        return side


class LocallyScaledMNIST(ScaledDigits):
    """``ScaledDigits`` of MNIST's training or test digits; see there for the options, and ``read_mnist`` for root."""

    def __init__(self, root: str | Path, train: bool, *, download: bool = True, **options: Any) -> None:
        super().__init__(*read_mnist(root, train, download=download), **options)


def _resized(digit: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.LANCZOS))
