"""The metrics under their fixed names: each takes a callable from images to logits and returns a dict of floats.

What each metric says of every single item is in ``predictions``, ``warp_pairs``, ``local_scale_pairs`` and
``picture_columns``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evaluation.pictures import (
    GroupedPictures,
    consistency_columns,
    loaded,
    picture_columns,
    picture_means,
    scale_means,
)
from evaluation.predictions import Comparison, Loader, Predict, Predictions, predictions
from evaluation.scales import Intervals, ScaledItems, local_scale_pairs
from evaluation.warps import warp_pairs


def accuracy(predict: Predict, loader: Loader, *, device: torch.device | str = "cpu") -> dict[str, float]:
    """Share of the items whose largest logit is that of the label."""
    return {"accuracy": mean(correct(predictions(predict, loader, device=device)))}


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
    found = warp_pairs(
        predict, loader, grid_size=grid_size, strength=strength, seed=seed, floor_items=floor_items, device=device
    )
    return _means("warp_invariance", found, temperature)


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
    return _means("local_scale", found, temperature, relative=True)


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
    loader = loaded(dataset, _batches(dataset, batch_size))
    columns = picture_columns(predict, loader, dataset.groups, temperature=temperature, device=device)
    found = consistency_columns(columns | {"change": columns["change_tempered"]})
    if not len(found["group_index"]):
        raise ValueError("no group has a picture at scale 1 and one at another; there is no consistency")
    names = ("consistency_error", "consistency_error_published", "consistency_flips")
    return {name: mean(found[name]) for name in names}


def per_scale_accuracy(
    predict: Predict,
    dataset: GroupedPictures,
    *,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Accuracy over the pictures at each scale of the objects.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``predictions``.
        dataset: as in ``scale_consistency``.
        batch_size: images per call of ``predict``, of whole groups.
        device: where the images are moved to.

    Returns:
        ``top1_at_S`` and ``top5_at_S`` for every scale S that there is; ``multi_scale_top1`` and ``multi_scale_top5``
        over all pictures.
    """
    columns = picture_columns(predict, loaded(dataset, _batches(dataset, batch_size)), dataset.groups, device=device)
    total = picture_means(columns)
    return scale_means(columns) | {f"multi_scale_{name}": total[name] for name in ("top1", "top5")}


def correct(found: Predictions) -> Tensor:
    """Which items are classified correctly, (N,) of 0 and 1 in float64."""
    return (found.logits.argmax(-1) == found.labels).double() if len(found.labels) else torch.empty(0).double()


def mean(values: Tensor) -> float:
    """The mean over items, of which there must be at least one."""
    if not len(values):
        raise ValueError("there are no items to evaluate")
    return values.mean().item()


def _batches(dataset: GroupedPictures, size: int) -> list[list[int]]:
    if size < 1:
        raise ValueError(f"batch_size is {size}; expected at least 1")
    return dataset.groups.batches(size)


def _means(name: str, found: Comparison, temperature: float, *, relative: bool = False) -> dict[str, float]:
    return {
        f"{name}_error": mean(found.changed.errors(temperature, relative=relative)),
        f"{name}_flips": mean(found.changed.flips()),
        f"{name}_floor": mean(found.restored.errors(temperature, relative=relative)),
    }
