"""Predictions for items at scale 1 and at random scales of their parts: the local-scale test."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from evaluation.predictions import Comparison, Pairs, Predict, logits_of, undisturbed
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

    While the model works on a batch, a thread composes the next one.

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
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    intervals = dataset.scales if scales is None else scales
    wanted: list[Composing] = []
    for index in map(int, indices):
        drawn = [draw_scales(seed, index, 0 if legacy_same_draws else draw, intervals) for draw in range(draws)]
        wanted.append(partial(dataset.item, index, [1.0] * len(intervals)))
        for compose in (dataset.item, dataset.restored_item):
            wanted += [partial(compose, index, factors) for factors in drawn]

    def composed() -> Iterator[tuple[range, np.ndarray, tuple[int, ...]]]:
        for places in batches(len(wanted), batch_size)[share[0] :: share[1]]:
            pixels, labels = zip(*(wanted[place]() for place in places), strict=True)
            yield places, np.stack(pixels), labels

    parts = []
    with undisturbed(predict):
        for places, pixels, known in ahead(composed()):
            logits = logits_of(predict, model_input(dataset, pixels, device), device)
            parts.append({"position": torch.tensor(places), "logits": logits, "label": torch.tensor(known)})
    found = gathered(parts, ("position", "logits", "label"), gather)
    by_item = found["logits"].float().view(len(indices), 1 + 2 * draws, -1 if wanted else 0)
    clean, changed, restored = by_item.split([1, draws, draws], dim=1)
    labels = found["label"].long()[:: 1 + 2 * draws]
    return Comparison(labels, Pairs(clean.squeeze(1), changed), Pairs(clean.squeeze(1), restored))


def draw_scales(seed: int, item: int, draw: int, intervals: Intervals) -> list[float]:
    """One uniform factor per interval, from a generator of this draw's own."""
    generator = random.Random(seed_of(seed, "local scale", item, draw))
    return [generator.uniform(low, high) for low, high in intervals]


def model_input(dataset: ScaledItems, pixels: np.ndarray, device: torch.device | str) -> Tensor:
    """What a loader over the data set yields for such images: (B, side, side) in uint8 -> (B, channels, side, side)."""
    image = torch.from_numpy(pixels).to(device).float().div_(255).unsqueeze(1)
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
