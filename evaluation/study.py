"""What a study is: a closer look at one finished model, which leaves arrays for figures and a few numbers for tables.

A metric is a mean over the values of all items, and is measured again and again. A study looks at few items from many
sides, once, after training. It depends on the seed and on the items alone: images go through the model in chunks of one
size, whatever the batches and the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.measure import Measure
from evaluation.parts import Part, unscaled_batches
from evaluation.predictions import undisturbed

CHUNK = 16  # images that go through a model at a time


class Findings(NamedTuple):
    """What a study found.

    Args:
        metrics: for the summary; one that is not finite is left out there.
        arrays: by key, for <study>.npz; the docstring of each study says their shapes.
    """

    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


class Objects(NamedTuple):
    """The same N objects at each of S sizes.

    Args:
        images: (N, S, C, H, W).
        labels: (N,).
        sides: (S,) of the objects, in pixels, increasing.
        corners: (N, S, 2), left and top of the objects' boxes, in pixels.
        trained: sides that the model was trained at.
    """

    images: Tensor
    labels: Tensor
    sides: Tensor
    corners: Tensor
    trained: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """What a model is studied on.

    Args:
        parts: by name; the first one answers what is asked about single images.
        count: so many images of it, or so many objects where the data have them at many sizes.
        seed: of the run.
        fresh: makes the same model with random weights.
    """

    parts: Mapping[str, Part]
    count: int
    seed: int
    fresh: Callable[[], nn.Module]

    def images(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The first images (N, C, H, W) and their labels (N,), without what could not be read."""
        part = next(iter(self.parts.values()))
        _, images, labels = _loaded(part, unscaled_batches(part, self.count if count is None else count))
        if not len(images[labels >= 0]):
            raise ValueError("there are no items to study")
        return images[labels >= 0], labels[labels >= 0]

    def objects(self, sides: Sequence[int] | None = None, count: int | None = None) -> Objects:
        """The first objects, in the order in which the items show them, at these sides or at all."""
        part = self._sized()
        groups: Any = part.groups
        number = {
            (int(groups.of_item[item]), int(groups.scales[item])): item for item in chain.from_iterable(part.batches)
        }
        chosen = list(dict.fromkeys(owner for owner, _ in number))[: self.count if count is None else count]
        at = sorted({side for _, side in number}) if sides is None else sorted(sides)
        wanted = [number[owner, side] for owner in chosen for side in at]
        found, images, labels = _loaded(part, [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)])
        shape = (len(chosen), len(at))
        corners = torch.from_numpy(np.asarray(groups.corners)[found.numpy()]).reshape(*shape, 2)
        return Objects(
            images.unflatten(0, shape), labels.reshape(shape)[:, 0], torch.tensor(at), corners, tuple(groups.trained)
        )

    @property
    def has_sizes(self) -> bool:
        """Whether the data show the same objects at many sizes, and tell where they lie."""
        return any(hasattr(part.groups, "corners") for part in self.parts.values())

    def _sized(self) -> Part:
        for part in self.parts.values():
            if hasattr(part.groups, "corners"):
                return part
        kinds = ", ".join(dict.fromkeys(part.kind for part in self.parts.values()))
        raise ValueError(f"needs the same objects at many sizes, which data of the kind stir/ have; this is {kinds}")


Need = Callable[[Any, Subject], None]  # raises a ValueError, whose text follows "study NAME"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study.

    Args:
        name: in a recipe, and of its file of arrays.
        run: of a model in evaluation mode, without gradients; what it needs of them it switches on itself.
        needs: what a model and its data must have, each a function that refuses others.
        measures: its numbers in a summary.
    """

    name: str
    run: Callable[[Any, Subject], Findings]
    needs: tuple[Need, ...] = ()
    measures: Sequence[Measure] = field(default_factory=list)

    def check(self, model: Callable[..., Any], subject: Subject) -> None:
        """Refuse, before hours of training, a model or data that cannot be studied."""
        with undisturbed(model):
            try:
                for need in self.needs:
                    need(model, subject)
            except ValueError as error:
                raise ValueError(f"evaluation.studies has {self.name}, which {error}") from error

    def __call__(self, model: Callable[..., Any], subject: Subject) -> Findings:
        """Study a model, which is left as it was."""
        with undisturbed(model):
            metrics, arrays = self.run(model, subject)
        return Findings({name: value for name, value in metrics.items() if isfinite(value)}, arrays)


def sizes(_: Any, subject: Subject) -> None:
    """A need: the same objects at many sizes."""
    subject.objects(count=1)


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """What a function of images gives, on the CPU, with a few images at a time."""
    parts = zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True)
    return torch.cat([function(*part).detach().cpu() for part in parts])


def device_of(model: Callable[..., Any]) -> torch.device:
    """Where a model computes."""
    values = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    return next((value.device for value in values), torch.device("cpu"))


def finds_warps(model: Any) -> bool:
    """Whether a model is an adapted one, which tells the warps of its sites."""
    return hasattr(model, "frames")


def _loaded(part: Part, batches: Iterable[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, images and labels."""
    found = [
        (torch.as_tensor(number), image, torch.as_tensor(label)) for image, label, number in part.loader([*batches])
    ]
    if not found:
        raise ValueError("there are no items to study")
    numbers, images, labels = map(torch.cat, zip(*found, strict=True))
    return numbers, images, labels
