"""What one batch is asked for: its views, its forward pass, its losses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config.schema import Config
from layers.grid import WarpParams
from layers.monotone import unchecked_warp
from layers.seeds import item_warps, seed_of
from train.losses import (
    EQUIVARIANCE_LOSSES,
    consistency_loss,
    halves,
    phi_difference_loss,
    phi_prior_loss,
    uniqueness_loss,
)


class Batch(NamedTuple):
    """A part of a batch on the model's device.

    Args:
        image: (B, C, H, W).
        label: (B,) class numbers, or (B, classes) shares where images were mixed.
        items: their numbers in the data set.
    """

    image: Tensor
    label: Tensor
    items: list[int]


class Outcome(NamedTuple):
    """Of a batch's part: the loss that is minimised, and what is shown of it.

    Args:
        loss: mean over the part, with its graph.
        task: the classification's share of it, weighted as in the loss; what a plateau is looked for in.
        correct: (B,) of the unwarped images where there are two views, else of what was trained on.
        residual: mean relative residual of the fixed points; None without a canonicalizer.
    """

    loss: Tensor
    task: Tensor
    correct: Tensor
    residual: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The bi-level objective, and all the baselines', of one batch.

    Args:
        seed: of the run; every draw belongs to it, to the epoch and to the step or the item.
        finds_warps: whether the model returns what its canonicalizer found.
        has_energy: whether warps minimise an energy that the model can be asked for.
        Others: as in ``config.schema``.
    """

    seed: int
    finds_warps: bool
    has_energy: bool
    warp_grid_size: int
    warp_strength: float
    warp_probability: float
    two_views: bool
    equivariance: Callable[[Tensor, Tensor], Tensor]
    equivariance_weight: float
    canonicalizer_equivariance_weight: float
    canonicalizer_task_weight: float
    phi_weight: float
    phi_difference: float
    phi_difference_increment: float
    phi_difference_max: float
    phi_prior: float
    consistency_weight: float
    uniqueness_weight: float

    def __call__(
        self, model: nn.Module, batch: Batch, epoch: int, step: int, *, canonicalizer_only: bool = False
    ) -> Outcome:
        """Run the model on a batch, or a part of it, and add up its losses."""
        is_warped = random.Random(seed_of(self.seed, "coin", epoch, step)).random() < self.warp_probability
        task_weight = self.canonicalizer_task_weight if canonicalizer_only else 1.0
        equivariance_weight = self.canonicalizer_equivariance_weight if canonicalizer_only else self.equivariance_weight
        image = batch.image
        if is_warped and not self.two_views:
            image = unchecked_warp(image, self._warp(image, batch.items, "augmentation", epoch))
        has_pair = self.two_views or equivariance_weight > 0
        views, warp = image, None
        if has_pair or self.consistency_weight > 0:
            warp = self._warp(image, batch.items, "view", epoch)
            views = torch.cat([image, unchecked_warp(image, warp)])
        shown = views if has_pair else image
        output: Any = model(shown, return_output=True) if self.finds_warps else None
        logits = (model(shown) if output is None else output.logits).float()
        first, second = logits.chunk(2) if has_pair else (logits, logits)

        loss = task = task_weight * self._task(first, second, batch.label, is_warped)
        if equivariance_weight > 0:
            loss = loss + equivariance_weight * self.equivariance(first, second)
        if self.two_views and output is not None:
            loss = loss + self._of_warps(model, views, output.phis, epoch)
        if self.consistency_weight > 0 and warp is not None:
            # The second view of a canonicalizer that reads images does not have to go through the backbone.
            other = halves(output.phis)[1] if has_pair else _adapted(model).find_warps(views[len(image) :]).phis
            phis = halves(output.phis)[0] if has_pair else output.phis
            frames = _adapted(model).frames((image.shape[-2], image.shape[-1]))
            loss = loss + self.consistency_weight * consistency_loss(phis, other, warp, frames)
        residual = None if output is None else output.residual.mean()
        label = batch.label if batch.label.ndim == 1 else batch.label.argmax(dim=1)
        return Outcome(loss, task.detach(), first.detach().argmax(dim=1) == label, residual)

    def _task(self, first: Tensor, second: Tensor, label: Tensor, is_warped: bool) -> Tensor:
        if not self.two_views:  # a second view, if any, serves the equivariance loss alone
            return F.cross_entropy(first, label)
        if self.warp_probability > 0:
            return F.cross_entropy(second if is_warped else first, label)
        return (F.cross_entropy(first, label) + F.cross_entropy(second, label)) / 2

    def _of_warps(self, model: nn.Module, views: Tensor, phis: tuple[WarpParams, ...], epoch: int) -> Tensor:
        if self.has_energy:
            return self.uniqueness_weight * self._uniqueness(model, views, phis)
        weight = min(self.phi_difference + epoch * self.phi_difference_increment, self.phi_difference_max)
        total = views.new_zeros(())
        if weight > 0:
            total = total + weight * phi_difference_loss(*halves(phis))
        if self.phi_prior > 0:
            total = total + self.phi_prior * phi_prior_loss(phis)
        return self.phi_weight * total

    def _uniqueness(self, model: nn.Module, views: Tensor, phis: tuple[WarpParams, ...]) -> Tensor:
        adapted = _adapted(model)
        identity = tuple(
            WarpParams.identity(len(phi.x), phi.grid_size, device=phi.x.device, dtype=phi.x.dtype) for phi in phis
        )
        before, warped_before = adapted.energies(views, identity).chunk(2)
        after, warped_after = adapted.energies(views, phis).chunk(2)
        return uniqueness_loss(before, after, warped_before, warped_after)

    def _warp(self, image: Tensor, items: list[int], use: str, epoch: int) -> WarpParams:
        phi = item_warps(items, self.warp_grid_size, self.warp_strength, self.seed, use, epoch)
        return WarpParams(*(part.to(image.device, image.dtype) for part in phi))


def _adapted(model: nn.Module) -> Any:
    """The model below DistributedDataParallel."""
    return getattr(model, "module", model)


def build_objective(config: Config, seed: int) -> Objective:
    """The objective of a recipe."""
    loss = config.loss
    return Objective(
        seed=seed,
        finds_warps=config.dec is not None or config.energy is not None,
        has_energy=config.energy is not None,
        warp_grid_size=config.warp.grid_size,
        warp_strength=config.warp.strength,
        warp_probability=config.warp.probability,
        equivariance=EQUIVARIANCE_LOSSES[loss.equivariance],
        **{name: value for name, value in vars(loss).items() if name != "equivariance"},
    )
