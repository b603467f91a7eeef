"""All metrics of one model at once, on one process or divided among several, with their values per item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.metrics import correct, mean
from evaluation.predictions import Loader, Pairs, Predict, Predictions, predictions
from evaluation.scales import ScaledItems, local_scale_pairs
from evaluation.temperature import fit_temperature
from evaluation.warps import warp_pairs

Columns = dict[str, Tensor]  # one value per item in each
COLUMN_OF = {
    "accuracy": "correct",
    "nll": "nll",
    "warp_invariance_error": "warp_error",
    "warp_invariance_error_tempered": "warp_error_tempered",
    "warp_invariance_flips": "warp_flip",
    "warp_invariance_floor": "warp_floor",
    "warp_invariance_floor_tempered": "warp_floor_tempered",
    "local_scale_error": "local_scale_error",
    "local_scale_error_tempered": "local_scale_error_tempered",
    "local_scale_flips": "local_scale_flip",
    "local_scale_floor": "local_scale_floor",
    "local_scale_floor_tempered": "local_scale_floor_tempered",
}


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: means over the items.
        items: the values behind them, one per item, for ``paired_bootstrap``: ``index`` numbers the items of all but
            the ``local_scale_*``, which are averaged over draws and whose numbers are ``local_scale_index``.
    """

    metrics: dict[str, float]
    items: dict[str, np.ndarray]


def identity(columns: Columns) -> Columns:
    """Gathers from a single process."""
    return columns


def evaluate(
    predict: Predict,
    loader_of: Callable[[Sequence[int]], Loader],
    dataset: ScaledItems | None,
    indices: Sequence[int],
    *,
    calibration: Loader | None = None,
    grid_size: int = 8,
    strength: float = 0.25,
    seed: int = 0,
    floor_items: int | None = 256,
    local_scale_items: int = 64,
    local_scale_draws: int = 8,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Columns], Columns] = identity,
    full: bool = True,
) -> Evaluation:
    """Accuracy, both errors with their floors, and both errors at the temperature that calibrates the model.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``predictions``.
        loader_of: makes a loader that yields (image, label, ...) of the items with these numbers, in this order.
        dataset: composes items at given scales; None leaves the local-scale error out.
        indices: numbers of the items to evaluate.
        calibration: loader over items that the model neither trained on nor is evaluated on; None leaves out what
            needs the temperature. Every process goes through all of it.
        grid_size: R, the number of knots per axis of the random warps.
        strength: of the random warps.
        seed: of the warps, drawn by an item's place in ``indices``, and of the scales, drawn by its number.
        floor_items: the first so many of ``indices``, over which the warp error's floor is measured; None takes all.
        local_scale_items: the first so many of ``indices``, over which the local-scale error is measured.
        local_scale_draws: random scales for each of them.
        batch_size: images per call in the local-scale error; ``loader_of`` decides elsewhere.
        device: where the images are moved to.
        share: (rank, world): this process evaluates every world-th item, from rank on.
        gather: joins the columns of all processes, in any order of items. It is called equally often on each, also on
            one without items. The means are taken behind it, so they are the same for any number of processes.
        full: False measures the accuracy alone.
    """
    if not 0 <= share[0] < share[1]:
        raise ValueError(f"share is {share}; expected (rank, world) with rank from 0 to world - 1")
    if not len(indices):
        raise ValueError("indices is empty; there are no items to evaluate")

    def gathered(places: Sequence[int], columns: Columns) -> Columns:
        """The columns of all processes in the order of ``indices``, and the items' numbers."""
        numbers = {
            "index": torch.tensor([int(indices[place]) for place in places], dtype=torch.int64),
            "place": torch.tensor(places, dtype=torch.int64),
        }
        found = gather(numbers | columns)
        order = found.pop("place").argsort()
        return {name: values[order] for name, values in found.items()}

    own = range(len(indices))[share[0] :: share[1]]
    loader = loader_of([int(indices[place]) for place in own]) if own else []
    if not full:
        columns = gathered(own, {"correct": correct(predictions(predict, loader, device=device))})
        return Evaluation(_means(columns), _arrays(columns))

    temperature = None if calibration is None else fit_temperature(*predictions(predict, calibration, device=device))
    warps = warp_pairs(
        predict,
        loader,
        own,
        grid_size=grid_size,
        strength=strength,
        seed=seed,
        floor_items=floor_items,
        device=device,
    )
    clean = Predictions(warps.changed.clean, warps.labels)
    columns = {"correct": correct(clean), "nll": _nll(clean), "warp_flip": warps.changed.flips()}
    columns = gathered(own, columns | _errors("warp_error", warps.changed, temperature))
    floor = gathered(own[: len(warps.restored.clean)], _errors("warp_floor", warps.restored, temperature))
    metrics = _means(columns | floor)
    if temperature is not None:
        metrics["temperature"] = temperature
    items = _arrays(columns)
    if dataset is not None:
        own = range(min(local_scale_items, len(indices)))[share[0] :: share[1]]
        scaled = local_scale_pairs(
            predict,
            dataset,
            [int(indices[place]) for place in own],
            draws=local_scale_draws,
            seed=seed,
            batch_size=batch_size,
            device=device,
        )
        columns = {"local_scale_flip": scaled.changed.flips()}
        columns |= _errors("local_scale_error", scaled.changed, temperature, relative=True)
        columns |= _errors("local_scale_floor", scaled.restored, temperature, relative=True)
        columns = gathered(own, columns)
        columns["local_scale_index"] = columns.pop("index")
        metrics |= _means(columns)
        items |= _arrays(columns)
    return Evaluation(metrics, items)


def _errors(name: str, pairs: Pairs, temperature: float | None, *, relative: bool = False) -> Columns:
    columns = {name: pairs.errors(relative=relative)}
    if temperature is not None:
        columns[f"{name}_tempered"] = pairs.errors(temperature, relative=relative)
    return columns


def _nll(found: Predictions) -> Tensor:
    if not len(found.labels):
        return torch.empty(0, dtype=torch.float64)
    return F.cross_entropy(found.logits.double(), found.labels, reduction="none")


def _means(columns: Columns) -> dict[str, float]:
    return {metric: mean(columns[column]) for metric, column in COLUMN_OF.items() if column in columns}


def _arrays(columns: Columns) -> dict[str, np.ndarray]:
    """All but the floors, which errors are held against and models are not compared by."""
    return {name: values.numpy() for name, values in columns.items() if "floor" not in name}
