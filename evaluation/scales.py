"""Predictions for items composed at given scales of their parts, or at random ones: the local-scale test."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from evaluation.predictions import AtScales, Comparison, Pairs, Predict, logits_of, undisturbed
from evaluation.sharing import Gather, alone, gathered
from layers.seeds import seed_of

T = TypeVar("T")
Composing = Callable[[], tuple[np.ndarray, int]]
Intervals = Sequence[tuple[float, float]]
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels


class ScaledItems(Protocol):
    """A data set whose items are composed of parts, each at a scale of its own."""

    @property
    def scales(self) -> Intervals:
        """The (low, high) that the scale of each part is drawn from."""

    @property
    def channels(self) -> int:
        """Of a model's input; all of them are alike."""

    @property
    def standardize(self) -> bool:
        """Whether a model's input has MNIST's mean and deviation taken out of it."""

    def __len__(self) -> int: ...

    def item(self, index: int, scales: Sequence[float] | None = None) -> tuple[np.ndarray, int]:
        """The uint8 image and its label at these scales, one per part."""

    def restored_item(self, index: int, scales: Sequence[float]) -> tuple[np.ndarray, int]:
        """The same at scale 1, after every part was resized to its scale and back."""


@dataclass(frozen=True)
class Composer:
    """Shows composed images to a model: while it works on a batch, a thread composes the next one.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``undisturbed``.
        dataset: composes the images.
        batch_size: images per call of ``predict``, of whatever items.
        device: where the images are moved to.
        share: (rank, world): this process takes every world-th batch, from rank on.
        gather: joins what all processes found.
    """

    predict: Predict
    dataset: ScaledItems
    batch_size: int = 64
    device: torch.device | str = "cpu"
    share: tuple[int, int] = (0, 1)
    gather: Gather = alone

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; expected at least 1")

    def answers(self, wanted: Sequence[Composing]) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and labels (N,) of N images, of all processes."""
        parts = []
        with undisturbed(self.predict):
            for places, pixels, known in ahead(self._composed(wanted)):
                logits = logits_of(self.predict, model_input(self.dataset, pixels, self.device), self.device)
                parts.append({"position": torch.tensor(places), "logits": logits, "label": torch.tensor(known)})
        found = gathered(parts, ("position", "logits", "label"), self.gather)
        return found["logits"].float(), found["label"].long()

    def _composed(self, wanted: Sequence[Composing]) -> Iterator[tuple[range, np.ndarray, tuple[int, ...]]]:
        for places in batches(len(wanted), self.batch_size)[self.share[0] :: self.share[1]]:
            pixels, labels = zip(*(wanted[place]() for place in places), strict=True)
            yield places, np.stack(pixels), labels


def at_scales(
    predict: Predict,
    dataset: ScaledItems,
    indices: Sequence[int],
    scales: Sequence[float],
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    gather: Gather = alone,
) -> AtScales:
    """Logits of items with all parts at one scale, at each of these scales; the rest is as in ``local_scale_pairs``."""
    parts = len(dataset.scales)
    wanted = [partial(dataset.item, int(index), [scale] * parts) for index in indices for scale in scales]
    logits, labels = Composer(predict, dataset, batch_size, device, share, gather).answers(wanted)
    of_item = (len(indices), len(scales))
    return AtScales(labels.view(of_item)[:, 0], logits.view(*of_item, -1 if wanted else 0), tuple(scales))


def local_scale_pairs(
    predict: Predict,
    dataset: ScaledItems,
    indices: Sequence[int],
    *,
    draws: int = 8,
    seed: int = 0,
    scales: Intervals | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    legacy_same_draws: bool = False,
    share: tuple[int, int] = (0, 1),
    gather: Gather = alone,
) -> Comparison:
    """Logits of items with all parts at scale 1, at random scales, and resized to these scales and back.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``undisturbed``.
        dataset: composes the images.
        indices: numbers of the items; the scales of an item are drawn by its number.
        draws: random scales per item, all of them different.
        seed: of the scales.
        scales: (low, high) for each part; left out, those of the data set.
        batch_size: images per call of ``predict``, of whatever items.
        device: where the images are moved to.
        legacy_same_draws: let all draws of an item be its first one, as the original evaluation did unawares.
        share: (rank, world): this process takes every world-th batch, from rank on.
        gather: joins what all processes found.

    Returns:
        of all processes, pairs whose changed logits are (N, draws, classes).
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1")
    intervals = dataset.scales if scales is None else scales
    wanted: list[Composing] = []
    for index in map(int, indices):
        drawn = [draw_scales(seed, index, 0 if legacy_same_draws else draw, intervals) for draw in range(draws)]
        wanted.append(partial(dataset.item, index, [1.0] * len(intervals)))
        for compose in (dataset.item, dataset.restored_item):
            wanted += [partial(compose, index, factors) for factors in drawn]
    logits, labels = Composer(predict, dataset, batch_size, device, share, gather).answers(wanted)
    by_item = logits.view(len(indices), 1 + 2 * draws, -1 if wanted else 0)
    clean, changed, restored = by_item.split([1, draws, draws], dim=1)
    return Comparison(labels[:: 1 + 2 * draws], Pairs(clean.squeeze(1), changed), Pairs(clean.squeeze(1), restored))


def draw_scales(seed: int, item: int, draw: int, intervals: Intervals) -> list[float]:
    """One uniform factor per interval, from a generator of this draw's own."""
    generator = random.Random(seed_of(seed, "local scale", item, draw))
    return [generator.uniform(low, high) for low, high in intervals]


def model_input(dataset: ScaledItems, pixels: np.ndarray, device: torch.device | str) -> Tensor:
    """What a loader over the data set yields for uint8 (B, side, side), or with colours last: (B, C, side, side)."""
    image = torch.from_numpy(pixels).to(device).float().div_(255)
    image = image.unsqueeze(1) if image.ndim == 3 else image.movedim(-1, 1)
    if dataset.standardize:
        image.sub_(MEAN).div_(STD)
    return image.expand(-1, dataset.channels, -1, -1).contiguous()


def batches(count: int, size: int) -> list[range]:
    """So many places cut into batches; the last one may be smaller."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def ahead(values: Iterator[T]) -> Iterator[T]:
    """The same values, each made by a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, values, None)
        while (value := following.result()) is not None:
            following = pool.submit(next, values, None)
            yield value
