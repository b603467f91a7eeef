"""All metrics of a model on pictures, on one process or divided among several, with their values per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from evaluation.evaluator import Evaluation, identity
from evaluation.pictures import Columns, Groups, consistency_columns, picture_columns, picture_means, scale_means
from evaluation.predictions import Loader, Predict, logits_of, undisturbed
from evaluation.temperature import fit_temperature
from evaluation.warps import warp_pairs


class PictureSet(Protocol):
    """Pictures to be judged by, in batches that never change: the work is divided by batches."""

    @property
    def batches(self) -> list[list[int]]:
        """Numbers of the items, whole groups together."""

    @property
    def groups(self) -> Groups:
        """Of all items of the data set."""

    def loader(self, batches: list[list[int]]) -> Loader:
        """(image, label, number) of these batches."""


def evaluate_pictures(
    predict: Predict,
    evaluated: Mapping[str, PictureSet],
    calibration: PictureSet | None,
    *,
    grid_size: int = 8,
    strength: float = 0.2,
    seed: int = 0,
    warp_items: int = 1000,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Columns], Columns] = identity,
    full: bool = True,
) -> Evaluation:
    """Accuracy at every scale, consistency over scales, and the warp invariance error.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``predictions``.
        evaluated: ``val``, and ``multi_scale`` where the groups are in another set.
        calibration: pictures of the training split, which the model did not train on, that the temperature is fitted
            on; None leaves out what needs it.
        grid_size: R, the number of knots per axis of the random warps.
        strength: of the random warps.
        seed: of the warps.
        warp_items: the first so many groups of ``val``; their pictures at scale 1, or without one, are warped.
        device: where the images are moved to.
        share: (rank, world): this process takes every world-th batch, from rank on.
        gather: joins the columns of all processes; it is called equally often on each. Batches are the same for any
            number of processes, and means are taken behind it in the order of the items: so are the metrics.
        full: False leaves the warp invariance error out.
    """

    def divided(function: Callable[[list[list[int]]], Columns], batches: list[list[int]]) -> Columns:
        columns = gather(function(batches[share[0] :: share[1]]))
        order = columns["index"].argsort(stable=True)
        return {name: values[order] for name, values in columns.items()}

    temperature = None
    if calibration is not None:
        own = calibration.batches[share[0] :: share[1]]
        known = gather(_logits(predict, calibration.loader(own), device))
        order = known["index"].argsort(stable=True)
        if not len(order):
            raise ValueError("there are no items to fit the temperature on")
        temperature = fit_temperature(known["logits"].view(len(order), -1)[order], known["label"][order])
    metrics: dict[str, float] = {} if temperature is None else {"temperature": temperature}
    items: dict[str, np.ndarray] = {}

    for name, part in evaluated.items():

        def measured(own: list[list[int]], part: PictureSet = part) -> Columns:
            return picture_columns(predict, part.loader(own), part.groups, temperature=temperature, device=device)

        columns = divided(measured, part.batches)
        if name == "val":
            metrics |= picture_means(columns)
            items |= _arrays({key: columns[key] for key in ("index", "top1", "top5", "nll")})
        if not columns["scale"].isnan().all():
            metrics |= {f"multi_scale_{key}": value for key, value in picture_means(columns).items()}
            metrics |= scale_means(columns)
            items |= _arrays(_by_scale(columns))
            consistency = consistency_columns(columns)
            if len(consistency["group_index"]):
                metrics |= {key: values.mean().item() for key, values in consistency.items() if key != "group_index"}
                items |= _arrays(consistency)
    if full:
        part = evaluated["val"]

        def warped(own: list[list[int]]) -> Columns:
            return _warp_columns(predict, part, own, grid_size, strength, seed, temperature, device)

        columns = divided(warped, _unscaled(part, warp_items))
        if len(columns["index"]):
            metrics |= {name: values.mean().item() for name, values in columns.items() if name != "index"}
            columns["warp_index"] = columns.pop("index")
            items |= _arrays({name: values for name, values in columns.items() if "floor" not in name})
    return Evaluation(metrics, items)


def _logits(predict: Predict, loader: Loader, device: torch.device | str) -> Columns:
    """Logits one item after the other in one dimension: a process without items does not know how many classes."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    with undisturbed(predict):
        for image, label, number in loader:
            found.append((logits_of(predict, image, device)[label >= 0], label[label >= 0], number[label >= 0]))
    if not found:
        return {"logits": torch.empty(0), "label": torch.empty(0).long(), "index": torch.empty(0).long()}
    logits, label, index = map(torch.cat, zip(*found, strict=True))
    return {"logits": logits.flatten(), "label": label, "index": index}


def _unscaled(part: PictureSet, count: int) -> list[list[int]]:
    """Batches of the first groups' pictures as they were taken."""
    scales = part.groups.scales
    size = max(map(len, part.batches))
    kept = [number for batch in part.batches for number in batch if np.isnan(scales[number]) or scales[number] == 1]
    kept = kept[:count]
    return [kept[start : start + size] for start in range(0, len(kept), size)]


def _warp_columns(
    predict: Predict,
    part: PictureSet,
    batches: list[list[int]],
    grid_size: int,
    strength: float,
    seed: int,
    temperature: float | None,
    device: torch.device | str,
) -> Columns:
    """The warp of a picture is drawn by its number."""
    numbers = [number for batch in batches for number in batch]
    found = warp_pairs(
        predict,
        part.loader(batches),
        numbers,
        grid_size=grid_size,
        strength=strength,
        seed=seed,
        floor_items=None,
        device=device,
    )
    readable = found.labels.flatten() >= 0  # (0, 0) of no items
    columns = {"index": torch.tensor(numbers, dtype=torch.int64)}
    for name, pairs in (("error", found.changed), ("floor", found.restored)):
        columns[f"warp_invariance_{name}"] = pairs.errors()
        if temperature is not None:
            columns[f"warp_invariance_{name}_tempered"] = pairs.errors(temperature)
    columns["warp_invariance_flips"] = found.changed.flips()
    return {name: values[readable] for name, values in columns.items()}


def _by_scale(columns: Columns) -> Columns:
    """What is right at each scale, for paired comparisons."""
    found: Columns = {}
    for scale in columns["scale"].unique():
        if not scale.isnan():
            own = columns["scale"] == scale
            found |= {f"at_{scale:g}_index": columns["index"][own], f"top1_at_{scale:g}": columns["top1"][own]}
    return found


def _arrays(columns: Columns) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in columns.items()}
