"""Rescaled pictures as a data set that makes a whole batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.scaled.augment import Augment
from dataloader.scaled.draws import Draw
from dataloader.scaled.laws import Law
from dataloader.scaled.resampling import Resampling, rescaled
from dataloader.scaled.sources import Pool
from layers.seeds import seed_of

CHUNK = 500  # items that a checksum makes at once


class Rescaled(Dataset[tuple[Tensor, int]]):
    """Items are (image, label), images float (C, side, side) in [0, 1].

    Args:
        pool: of all pictures.
        draw: which of them are items, and the numbers that their factors follow from.
        law: of the factors.
        side: of the canvas.
        resampling: see ``rescaled``.
        fresh: whether factors are drawn anew in every epoch.
        rescale: interval of a second factor, uniform, that is drawn for every epoch; None leaves it out.
        augment: what is done last.
        seed: of what is drawn for every epoch and item.
    """

    standardize = False  # networks bring the statistics that they take out of images

    def __init__(
        self,
        pool: Pool,
        draw: Draw,
        law: Law,
        *,
        side: int,
        resampling: Resampling = "modern",
        fresh: bool = False,
        rescale: tuple[float, float] | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ):
        self.pool, self.draw, self.law, self.side, self.resampling = pool, draw, law, side, resampling
        self.fresh, self.rescale, self.augment, self.seed = fresh, rescale, augment or Augment(), seed
        self.labels, self.factors = pool.labels[draw.numbers], law.factors_of(draw.uniform)
        self.scales, self.channels = [(law.low, law.high)], 1 if pool.images.ndim == 3 else 3
        self._epoch = torch.zeros((), dtype=torch.int64)
        if fresh or rescale is not None or self.augment.is_on:
            self._epoch.share_memory_()  # so that workers that outlive an epoch hear of the next one

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """A batch, which the loader asks for at once."""
        chosen = np.asarray(indices)
        pixels = torch.from_numpy(self.shown(chosen))
        images = (pixels[:, None] if pixels.ndim == 3 else pixels.movedim(-1, 1)).float() / 255
        return list(zip(images, self.labels[chosen].tolist(), strict=True))

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that is drawn for."""
        self._epoch.fill_(epoch)

    def shown(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (B, side, side) or (B, side, side, 3), as in the present epoch."""
        factors = self.law.factors_of(self._uniform("factor")[indices]) if self.fresh else self.factors[indices]
        images = self.rescaled(indices, factors)
        if self.rescale is not None:
            low, high = self.rescale
            again = low + (high - low) * self._uniform("rescale")[indices]
            images = rescaled(images, again, self.side, "modern" if self.resampling == "spline" else self.resampling)
        return self.augment(images, self._uniform("augment", 5)[indices]) if self.augment.is_on else images

    def rescaled(self, indices: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """The pictures of items at these factors, whatever they are drawn at."""
        return rescaled(self.pool.images[self.draw.numbers[indices]], factors, self.side, self.resampling)

    def item(self, index: int, scales: Sequence[float] | None = None) -> tuple[np.ndarray, int]:
        """The uint8 image and its label, at the item's own factor or at the one that is given."""
        chosen = np.array([index])
        factors = self.factors[chosen] if scales is None else np.array(scales, float)
        return self.rescaled(chosen, factors)[0], int(self.labels[index])

    def stored(self) -> Iterator[np.ndarray]:
        """All that an item is before anything is drawn for an epoch: images, labels and factors, part by part."""
        for start in range(0, len(self), CHUNK):
            chosen = np.arange(start, min(start + CHUNK, len(self)))
            yield self.rescaled(chosen, self.factors[chosen])
        yield from (self.labels.astype("<i8"), self.factors.astype("<f4"))

    def _uniform(self, purpose: str, *each: Any) -> np.ndarray:
        """(N, *each) of this epoch: the same for an item, whatever the batch and the worker that it falls to."""
        generator = np.random.default_rng(seed_of(self.seed, purpose, int(self._epoch)))
        return generator.random((len(self), *each))
