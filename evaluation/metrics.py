"""The metrics under their fixed names: each takes a callable from images to logits and returns a dict of floats.

They are those of ``evaluation/measures``, which a run keeps for every single item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from evaluation.measure import Measure, averages
from evaluation.measures import described
from evaluation.parts import Groups
from evaluation.predictions import Loader, Predict, undisturbed
from evaluation.scales import Intervals, ScaledItems, ahead, local_scale_pairs
from evaluation.sharing import alone, gathered
from evaluation.views import BASE, Judge, Views

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]  # (image, label, number)


class GroupedPictures(Protocol):
    """A data set of pictures that show objects at several scales."""

    groups: Any

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """A picture and its label, which is -1 where the picture could not be read."""


def accuracy(predict: Predict, loader: Loader, *, device: torch.device | str = "cpu") -> dict[str, float]:
    """Share of the items whose largest logit is that of the label."""
    return _found(("accuracy",), Judge(predict, device), _numbered(loader))


def warp_invariance_error(
    predict: Predict,
    loader: Loader,
    *,
    grid_size: int = 8,
    strength: float = 0.25,
    seed: int = 0,
    temperature: float = 1.0,
    floor_items: int | None = 256,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Mean of ||p(x) - p(warp(x))||_2 over the items, one random warp for each; from 0 to the root of 2.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes); p is their softmax.
        loader: yields (image, label, ...); the warp of an item is drawn by its place in the loader.
        grid_size: R, the number of knots per axis of the warps.
        strength: of the warps.
        seed: of the warps.
        temperature: divides the logits. A model that is less sure of everything has a smaller error and is no better
            for it, so models are compared at the temperature that calibrates each, see ``fit_temperature``.
        floor_items: the first items of the loader, over which the floor is measured; None takes all of them.
        device: where the images are moved to.

    Returns:
        ``warp_invariance_error``; ``warp_invariance_flips``, the share of items whose class changes; and
        ``warp_invariance_floor``, the error of a model that is invariant by construction, since it knows the warp and
        undoes it exactly: ||p(x) - p(unwarp(warp(x)))||. What is left there is the two resamplings, and what a warp
        that folds has hidden, which nothing brings back.
    """
    judge = Judge(predict, device, grid_size, strength, seed, floor_items)
    names = ("warp_invariance_error", "warp_invariance_flips", "warp_invariance_floor")
    return _found(names, judge, _numbered(loader), temperature=temperature)


def local_scale_error(
    predict: Predict,
    dataset: ScaledItems,
    *,
    items: int = 64,
    draws: int = 8,
    seed: int = 0,
    scales: Intervals | None = None,
    temperature: float = 1.0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    legacy_same_draws: bool = False,
) -> dict[str, float]:
    """Mean of ||p(x^1) - p(x^s)||_2 / ||p(x^1)||_2 over items and draws of s, the scales of the item's parts.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes); p is their softmax.
        dataset: composes an item at any scales.
        items: the first so many of the data set, or all if it has fewer.
        draws: random scales per item, see ``local_scale_pairs``.
        seed: of the scales.
        scales: (low, high) for each part; left out, those of the data set.
        temperature: as in ``warp_invariance_error``.
        batch_size: images per call of ``predict``.
        device: where the images are moved to.
        legacy_same_draws: let all draws of an item be its first one, as the original evaluation did unawares.

    Returns:
        ``local_scale_error``; ``local_scale_flips``, the share of draws that change the class; and
        ``local_scale_floor``, the error of a model that knows the scales and resizes every part back.
    """
    if items < 1:
        raise ValueError(f"items is {items}; expected at least 1")
    found = local_scale_pairs(
        predict,
        dataset,
        range(min(items, len(dataset))),
        draws=draws,
        seed=seed,
        scales=scales,
        batch_size=batch_size,
        device=device,
        legacy_same_draws=legacy_same_draws,
    )
    names = ("local_scale_error", "local_scale_flips", "local_scale_floor")
    return {name: _adjustable(name).values(found, temperature).mean().item() for name in names}


def scale_consistency(
    predict: Predict,
    dataset: GroupedPictures,
    *,
    temperature: float = 1.0,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Mean of ||p(x_s) - p(x_1)||_2 over the scales s of an object but 1, then over objects; from 0 to the root of 2.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes); p is their softmax.
        dataset: has ``groups``, and gives a picture and its label, -1 where the picture could not be read. Objects
            without a picture at scale 1, or with no other, do not count.
        temperature: as in ``warp_invariance_error``.
        batch_size: images per call of ``predict``, of whole groups.
        device: where the images are moved to.

    Returns:
        ``consistency_error``; ``consistency_error_published``, which counts the zero distance of scale 1 from itself
        as one more scale, as the original did; and ``consistency_flips``, the mean share of scales that change the
        class.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}; expected a positive number")
    names = ("consistency_error", "consistency_error_published", "consistency_flips")
    loader, nothing = _loaded(dataset, batch_size), "no group has a picture at scale 1 and one at another"
    return _found(names, Judge(predict, device), loader, dataset.groups, temperature, nothing)


def per_scale_accuracy(
    predict: Predict,
    dataset: GroupedPictures,
    *,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Accuracy over the pictures at each scale of the objects.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``undisturbed``.
        dataset: as in ``scale_consistency``.
        batch_size: images per call of ``predict``, of whole groups.
        device: where the images are moved to.

    Returns:
        ``top1_at_S`` and ``top5_at_S`` for every scale S that there is; ``multi_scale_top1`` and ``multi_scale_top5``
        over all pictures.
    """
    names = ("top1_at", "top5_at", "top1", "top5")
    found = _found(names, Judge(predict, device), _loaded(dataset, batch_size), dataset.groups)
    return {f"multi_scale_{name}" if name in names else name: value for name, value in found.items()}


def _found(
    names: Sequence[str],
    judge: Judge,
    batches: Batches,
    groups: Groups | None = None,
    temperature: float = 1.0,
    nothing: str = "there are no items to evaluate",
) -> dict[str, float]:
    """Means over all items, by the names that runs have for them; where there is nothing, that is an error."""
    measures = [_adjustable(name) for name in names]
    with undisturbed(judge.predict):
        parts = [
            Views(judge, image, label, number, number.tolist(), groups).columns(measures, temperature)
            for image, label, number in batches
        ]
    found = list(averages(measures, gathered(parts, [*BASE, *names], alone)))
    if not found:
        raise ValueError(nothing)
    return {measure.name + part.suffix: part.values.mean().item() for measure, part in found}


def _adjustable(name: str) -> Measure:
    """The metric at the temperature that it is given."""
    measure = described(name)
    assert measure is not None
    return replace(measure, is_tempered=True)


def _numbered(loader: Loader) -> Batches:
    """(image, label, number) of a loader's items, numbered as they come."""
    seen = 0
    for image, label, *_ in loader:
        yield image, torch.as_tensor(label), torch.arange(seen, seen + len(image))
        seen += len(image)


def _loaded(dataset: GroupedPictures, size: int) -> Batches:
    """(image, label, number) of all pictures, each batch made by a thread while the one before it is in use."""
    if size < 1:
        raise ValueError(f"batch_size is {size}; expected at least 1")

    def made() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in dataset.groups.batches(size):
            images, labels = zip(*(dataset[number] for number in batch), strict=True)
            yield torch.stack(images), torch.tensor(labels), torch.tensor(batch)

    return ahead(made())
