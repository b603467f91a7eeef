"""What a model says of pictures that show one object at several scales, item by item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.predictions import Loader, Predict, logits_of, undisturbed
from evaluation.scales import ahead

Columns = dict[str, Tensor]  # one value per item in each


class Groups(Protocol):
    """Which items show one object, and at which scales."""

    @property
    def scales(self) -> np.ndarray:
        """(N,); NaN for an item that is a group by itself."""

    @property
    def of_item(self) -> np.ndarray:
        """(N,) number of the group."""

    def batches(self, size: int) -> list[list[int]]:
        """Whole groups together, as many as fit."""


class GroupedPictures(Protocol):
    """A data set of such pictures."""

    groups: Any

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """A picture and its label, which is -1 where the picture could not be read."""


def picture_columns(
    predict: Predict,
    loader: Iterable[Sequence[Any]],
    groups: Groups,
    *,
    temperature: float | None = None,
    device: torch.device | str = "cpu",
) -> Columns:
    """Values of all pictures that could be read.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``predictions``.
        loader: yields (image, label, number) in batches of whole groups; a label of -1 leaves its item out.
        groups: of the items.
        temperature: gives ``change_tempered`` too.
        device: where the images are moved to.

    Returns:
        ``index`` (the item's number), ``group``, ``scale``, ``top1``, ``top5``, ``nll``; and the distance from the
        prediction for the group's picture at scale 1, ``change``, with ``flip``, whether the class is another. These
        are NaN for that picture itself, and in groups without it.
    """
    parts: list[Columns] = []
    with undisturbed(predict):
        for image, label, number in loader:
            logits = logits_of(predict, image, device)
            readable = torch.as_tensor(label) >= 0
            if readable.any():
                numbers = torch.as_tensor(number)[readable]
                columns = _columns(logits[readable].double(), torch.as_tensor(label)[readable], numbers, groups)
                if temperature is not None:
                    changes = _changes((logits[readable].double() / temperature).softmax(1), numbers, groups)
                    columns["change_tempered"] = changes
                parts.append(columns)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else _none(temperature)


def loaded(dataset: GroupedPictures, batches: Sequence[Sequence[int]]) -> Loader:
    """(image, label, number) of these batches, each made by a thread while the one before it is in use."""

    def made() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in batches:
            images, labels = zip(*(dataset[number] for number in batch), strict=True)
            yield torch.stack(images), torch.tensor(labels), torch.tensor(batch)

    return ahead(made())


def _columns(logits: Tensor, label: Tensor, number: Tensor, groups: Groups) -> Columns:
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == label[:, None]
    chosen = logits.argmax(1)
    reference = _references(number, groups)
    return {
        "index": number,
        "group": torch.from_numpy(groups.of_item[number.numpy()]),
        "scale": torch.from_numpy(groups.scales[number.numpy()]),
        "top1": best[:, 0].double(),
        "top5": best.any(1).double(),
        "nll": F.cross_entropy(logits, label, reduction="none").double(),
        "change": _changes(logits.softmax(1), number, groups),
        "flip": torch.where(reference >= 0, (chosen != chosen[reference]).double(), torch.nan),
    }


def _none(temperature: float | None) -> Columns:
    """The columns of no pictures."""
    kinds = dict.fromkeys(("index", "group"), torch.int64)
    names = ["scale", "top1", "top5", "nll", "change", "flip", *(["change_tempered"] if temperature else [])]
    return {name: torch.empty(0, dtype=kind) for name, kind in (kinds | dict.fromkeys(names, torch.float64)).items()}


def _changes(probabilities: Tensor, number: Tensor, groups: Groups) -> Tensor:
    reference = _references(number, groups)
    distance = (probabilities - probabilities[reference]).norm(dim=1).double()
    return torch.where(reference >= 0, distance, torch.nan)


def _references(number: Tensor, groups: Groups) -> Tensor:
    """(B,) place in the batch of the group's picture at scale 1; -1 for that picture itself, and without one."""
    scales, owners = groups.scales[number.numpy()], groups.of_item[number.numpy()]
    first: dict[int, int] = {}
    for place in np.flatnonzero(scales == 1):
        first.setdefault(int(owners[place]), int(place))
    found = [first.get(int(owner), -1) for owner in owners]
    return torch.tensor([-1 if place == at else at for place, at in enumerate(found)], dtype=torch.int64)


def picture_means(columns: Columns) -> dict[str, float]:
    """``top1``, ``top5`` and ``nll`` over all items."""
    if not len(columns["index"]):
        raise ValueError("there are no items to evaluate")
    return {name: columns[name].mean().item() for name in ("top1", "top5", "nll")}


def scale_means(columns: Columns) -> dict[str, float]:
    """``top1_at_S`` and ``top5_at_S`` over all items of a scale, for every scale that there is."""
    found: dict[str, float] = {}
    for scale in columns["scale"].unique():
        if not scale.isnan():
            own = columns["scale"] == scale
            found |= {f"{name}_at_{scale:g}": columns[name][own].mean().item() for name in ("top1", "top5")}
    return found


def consistency_columns(columns: Columns) -> Columns:
    """Per group that has scale 1 and another one: ``group_index``, the mean ``consistency_error`` over the others.

    ``consistency_error_published`` counts the zero distance of scale 1 from itself too, as the original did.
    """
    kept = ~columns["flip"].isnan()  # a model may say NaN, and its distance then counts
    group, place = columns["group"][kept].unique(return_inverse=True)
    counts = torch.zeros(len(group), dtype=torch.float64).index_add_(0, place, torch.ones(len(place)).double())

    def mean(name: str) -> Tensor:
        return torch.zeros(len(group), dtype=torch.float64).index_add_(0, place, columns[name][kept]) / counts

    found = {"group_index": group, "consistency_error": mean("change"), "consistency_flips": mean("flip")}
    found["consistency_error_published"] = found["consistency_error"] * counts / (counts + 1)
    if "change_tempered" in columns:
        found["consistency_error_tempered"] = mean("change_tempered")
    return found
