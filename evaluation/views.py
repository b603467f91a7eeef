"""What a model says of a batch and of its warped images: each is asked for once, and only if a metric needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.measure import Measure
from evaluation.parts import Groups
from evaluation.predictions import Pairs, Predict, logits_of
from evaluation.sharing import Columns
from layers.frame import Frame
from layers.grid import WarpParams
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.seeds import item_warps
from layers.spec import SampleMode

BASE = ("index", "position", "is_restored", "group", "scale", "is_compared")


@dataclass(frozen=True)
class Judge:
    """A model, and how its images are warped."""

    predict: Predict  # from images (B, C, H, W) to logits (B, classes), see ``undisturbed``
    device: torch.device | str = "cpu"
    grid_size: int = 8
    strength: float = 0.25
    seed: int = 0
    floor_items: int | None = 256
    """The first so many items of a pass are restored too: to invert a warp exactly takes longer than a small model."""


class Views:
    """One batch, without what could not be read; all tensors but the images are on the CPU.

    Args:
        judge: the model.
        image: (B, C, H, W).
        labels: (B,), or (B, H, W) of pixels; -1 leaves an item out.
        numbers: (B,) of the items.
        positions: (B,) that the items are ordered by, and their warps are drawn by.
        groups: of the items.
        places: (B,) of the items among all that are gone through; left out, their positions.
    """

    def __init__(
        self,
        judge: Judge,
        image: Tensor,
        labels: Tensor,
        numbers: Tensor,
        positions: Sequence[int],
        groups: Groups | None = None,
        places: Sequence[int] | None = None,
    ):
        self.judge, self.positions, self.groups = judge, list(positions), groups
        self.places = self.positions if places is None else list(places)
        self.image = image.to(judge.device)
        labels = torch.as_tensor(labels).long()
        self.kept = (labels >= 0).flatten(1).all(1) if labels.ndim > 1 else labels >= 0
        self.labels, self.numbers = labels[self.kept], torch.as_tensor(numbers)[self.kept]
        self._answers: dict[tuple[float, SampleMode], Pairs] = {}  # of ``under``
        self._told: dict[int, list[Any]] = {}  # after so many evaluations

    def columns(self, measures: Sequence[Measure], temperature: float | None) -> Columns:
        """Of every item that could be read: the columns of ``BASE``, and the values of the metrics by their names."""
        numbers, groups = self.numbers.numpy(), self.groups
        return {
            "index": self.numbers,
            "position": torch.tensor(self.positions)[self.kept],
            "is_restored": self.is_restored[self.kept],
            "group": self.numbers if groups is None else torch.from_numpy(groups.of_item[numbers]),
            "scale": self.scales,
            "is_compared": self.references >= 0,
            **{measure.name: measure.values(self, temperature) for measure in measures},
        }

    @cached_property
    def clean(self) -> Tensor:
        """Logits of the images, (N, classes)."""
        return self._logits(self.image)[self.kept]

    @cached_property
    def changed(self) -> Pairs:
        """Logits of the images, and of the images under one random warp each."""
        return Pairs(self.clean, self._logits(self._warped)[self.kept])

    @cached_property
    def restored(self) -> Pairs:
        """Logits of the images, and of those warped and unwarped; NaN where ``floor_items`` says not to."""
        clean, chosen = self.clean, self.is_restored.to(self.judge.device)
        restored = clean.new_full((len(self.kept), clean.shape[1]), torch.nan)
        if self.is_restored.any():
            phi = WarpParams(self.warp.x[chosen], self.warp.y[chosen])
            restored[self.is_restored] = self._logits(_unwarped(self._warped[chosen], phi))
        return Pairs(clean, restored[self.kept])

    def under(self, strength: float, mode: SampleMode = "bilinear") -> Pairs:
        """``changed`` with warps of another strength, or read in another way; an item's draw stays the same."""
        if (strength, mode) == (self.judge.strength, "bilinear"):
            return self.changed
        if (strength, mode) not in self._answers:
            warped = monotone_warp(self.image, self._drawn(strength), mode=mode)
            self._answers[strength, mode] = Pairs(self.clean, self._logits(warped)[self.kept])
        return self._answers[strength, mode]

    def after(self, evaluations: int) -> Pairs:
        """``changed`` of a DEC whose maps are evaluated so many times from the identity on, without its solver."""
        of_both = (told.logits.float().cpu() for told in self._told_after(evaluations))
        return Pairs(*(logits[self.kept] for logits in of_both))

    def residual_after(self, evaluations: int) -> Tensor:
        """How far the last of so many evaluations moved the warps of the images, (N,), the mean over sites."""
        return self._told_after(evaluations)[0].residual.mean(1).cpu()[self.kept]

    @cached_property
    def told(self) -> Any:
        """What an adapted model tells of the images: its logits, and the warps that it found."""
        return self._model(self.image, return_output=True)

    @cached_property
    def told_of_warped(self) -> Any:
        """The warps that it found for the warped images."""
        return self._model(self._warped, warps_only=True)

    @cached_property
    def bypassed(self) -> Pairs:
        """Logits of the images under identity warps at all sites, and under those that the model found."""
        identity = [WarpParams(*map(torch.ones_like, phi)) for phi in self.told.phis]
        plain = logits_of(partial(self._model.predict, phis=identity), self.image, self.judge.device)
        return Pairs(plain[self.kept], self.told.logits.float().cpu()[self.kept])

    @cached_property
    def frames(self) -> list[Frame]:
        """Where the positions of each site lie in the images."""
        return self._model.frames(self.size)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.image.shape[-2], self.image.shape[-1]

    @cached_property
    def warp(self) -> WarpParams:
        """One random warp per image, of ``changed``."""
        return self._drawn(self.judge.strength)

    @cached_property
    def is_restored(self) -> Tensor:
        """(B,): whether the item is one of those whose warp is also undone, for the floor."""
        first = self.judge.floor_items
        return torch.tensor([first is None or place < first for place in self.places], dtype=torch.bool)

    @property
    def scales(self) -> Tensor:
        """(N,) of the objects; NaN where nothing tells them."""
        if self.groups is None:
            return self.numbers * torch.nan
        return torch.from_numpy(self.groups.scales[self.numbers.numpy()])

    @cached_property
    def references(self) -> Tensor:
        """(N,) place in the batch of the object's picture at scale 1; -1 for that picture itself, and without one."""
        if self.groups is None:
            return torch.full((len(self.numbers),), -1)
        numbers = self.numbers.numpy()
        scales, owners = self.groups.scales[numbers], self.groups.of_item[numbers]
        first: dict[int, int] = {}
        for place in np.flatnonzero(scales == 1):
            first.setdefault(int(owners[place]), int(place))
        found = [first.get(int(owner), -1) for owner in owners]
        return torch.tensor([-1 if place == at else at for place, at in enumerate(found)], dtype=torch.int64)

    @cached_property
    def _warped(self) -> Tensor:
        return monotone_warp(self.image, self.warp)

    @property
    def _model(self) -> Any:  # with what an adapted model knows besides images
        return self.judge.predict

    def _told_after(self, evaluations: int) -> list[Any]:
        """What a DEC tells of the images and of those warped."""
        if evaluations not in self._told:
            predict = partial(self._model, evaluations=evaluations, return_output=True)
            self._told[evaluations] = [predict(image) for image in (self.image, self._warped)]
        return self._told[evaluations]

    def _drawn(self, strength: float) -> WarpParams:
        judge = self.judge
        drawn = item_warps(self.positions, judge.grid_size, strength, judge.seed, "warp error")
        return WarpParams(*(part.to(judge.device) for part in drawn))

    def _logits(self, image: Tensor) -> Tensor:  # of what could not be read too: a batch is always the same
        return logits_of(self.judge.predict, image, self.judge.device)


def _unwarped(image: Tensor, phi: WarpParams) -> Tensor:
    """Undo warps image by image: so that on a CPU the exact inverse works in the cache."""
    if image.is_cuda:
        return inverse_monotone_warp(image, phi, method="exact")
    one_by_one = zip(image.split(1), phi.x.split(1), phi.y.split(1), strict=True)
    return torch.cat([inverse_monotone_warp(i, WarpParams(x, y), method="exact") for i, x, y in one_by_one])
