"""What one batch is asked for: its views, its forward pass, and the sum of the terms of its phase."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from config.schema import Config
from layers.grid import WarpParams
from layers.monotone import unchecked_warp
from layers.seeds import item_strengths, item_warps, seed_of
from train.orbit import Members, Orbit, build_orbit
from train.tasks import Task, build_task
from train.terms import ORBIT, Moment, Weighted, build_terms
from train.views import Batch, Views


class Outcome(NamedTuple):
    """Of a batch's part: the loss that is minimised, and what is told of it.

    Args:
        loss: mean over the part, with its graph.
        told: by name and without a graph, the part's mean of the loss, of its terms before they are weighed and of the
            fixed points' residual where there are any; and (B,) the task's score where the backbone ran.
        is_solved: (B,), whether the warps that were found for an image are numbers; None where none were looked for.
    """

    loss: Tensor
    told: dict[str, Tensor]
    is_solved: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The bi-level objective, and all the baselines', of one batch.

    Args:
        seed: of the run; every draw belongs to it, to the epoch and to the step or the item.
        task: that the model is trained for.
        finds_warps: whether the model returns what its canonicalizer found.
        two_views: whether images and their warped versions always go through the model together.
        warp_grid_size: R of the random warps.
        warp_strength: of the random warps; or the interval that it is drawn from for every item.
        warp_probability: share of the batches that train on their warped version.
        terms: of every phase.
        orbit: that some terms draw members from.
        teacher: the model as it was before it trained, at rest; None where no term asks it.
    """

    seed: int
    task: Task
    finds_warps: bool
    two_views: bool
    warp_grid_size: int
    warp_strength: float | tuple[float, float]
    warp_probability: float
    terms: Sequence[Sequence[Weighted]]
    orbit: Orbit
    teacher: nn.Module | None = None

    def __call__(self, model: nn.Module, batch: Batch, epoch: int, step: int, phase: int = -1) -> Outcome:
        """Run the model on a batch, or a part of it, and add up the terms of a phase, by default the last one."""
        terms, needs = self.terms[phase], self._needs(phase)
        is_warped = random.Random(seed_of(self.seed, "coin", epoch, step)).random() < self.warp_probability
        image, label = batch.image, batch.label
        if is_warped and not self.two_views:
            drawn = self._warp(image, batch.items, "augmentation", epoch)
            image, label = unchecked_warp(image, drawn), self.task.warped(label, drawn)
        views = self._views(model, batch._replace(image=image), epoch, needs)
        if ORBIT & needs:
            views.members = self._members(views, batch, epoch, step, needs)
        warped_label = label if views.warp is None else self.task.warped(label, views.warp)
        moment = Moment(self.task, (label, warped_label), is_warped, epoch)

        values = {name: term(views, moment) for name, _, term in terms}
        loss = sum((weight * values[name] for name, weight, _ in terms[1:]), terms[0].weight * values[terms[0].name])
        told = {"loss": loss} | values
        if views.runs:
            told[self.task.score_name] = self.task.score(views.logits[0], label)
        if self._solves(phase):
            told["residual"] = views.output.residual.mean()
        return Outcome(loss, {name: value.detach() for name, value in told.items()}, self._is_solved(views, phase))

    def tells(self, phase: int) -> list[str]:
        """The names of what an outcome of this phase tells."""
        terms = [name for name, *_ in self.terms[phase]]
        score = [self.task.score_name] if self.runs_backbone(phase) else []
        return ["loss", *score, *(["residual"] if self._solves(phase) else []), *terms]

    def runs_backbone(self, phase: int) -> bool:
        """Whether a term of this phase needs the backbone's answer."""
        return "logits" in self._needs(phase)

    def _is_solved(self, views: Views, phase: int) -> Tensor | None:
        found: list[Tensor] = []
        if self._solves(phase):  # of both views, where they go through the model together
            found += views.output.residual.isfinite().all(1).split(len(views.image))
        if views.members is not None:
            last = [phi for states in views.members.states.values() for phi in states[-1]]
            found += [part.isfinite().flatten(1).all(1) for phi in last for part in phi]
        return torch.stack(found).all(0) if found else None

    def _solves(self, phase: int) -> bool:
        """Whether the solver searches for fixed points; members of an orbit alone do without it."""
        return self.finds_warps and bool({"logits", "warps"} & self._needs(phase))

    def _needs(self, phase: int) -> set[str]:
        needs = {need for _, _, term in self.terms[phase] for need in term.needs}
        needs |= {"pair"} if self.two_views else set()
        return needs if self.finds_warps else needs | {"logits"}

    def _views(self, model: nn.Module, batch: Batch, epoch: int, needs: set[str]) -> Views:
        has_second = bool({"pair", "second"} & needs)
        return Views(
            model=model,
            image=batch.image,
            warp=self._warp(batch.image, batch.items, "view", epoch) if has_second else None,
            is_pair="pair" in needs,
            finds_warps=self.finds_warps,
            runs="logits" in needs,
            sibling=batch.sibling,
            teacher=self.teacher,
        )

    def _members(self, views: Views, batch: Batch, epoch: int, step: int, needs: set[str]) -> Members:
        # Where nothing else goes through the model, this has to: several processes learn there what is to be shared.
        model = views.adapted if {"logits", "warps"} & needs else views.model
        return Members(
            find=partial(model, warps_only=True, evaluations=self.orbit.count(epoch, step)),
            evaluations=self.orbit.evaluations,
            image=batch.image,
            drawn=self.orbit.draw(batch.image, batch.items, epoch, step),
            sibling=batch.sibling,
            place=batch.place,
            needs=ORBIT & needs,
            frames=views.frames,
        )

    def _warp(self, image: Tensor, items: list[int], use: str, epoch: int) -> WarpParams:
        strength, key = self.warp_strength, (self.seed, use, epoch)
        if isinstance(strength, tuple):
            factor = item_strengths(items, strength, *key)[:, None, None]
            phi = WarpParams(*(factor * part for part in item_warps(items, self.warp_grid_size, 1.0, *key)))
        else:
            phi = item_warps(items, self.warp_grid_size, strength, *key)
        return WarpParams(*(part.to(image.device, image.dtype) for part in phi))


def build_objective(config: Config, seed: int, num_classes: int, teacher: nn.Module | None = None) -> Objective:
    """The objective of a recipe, of models that answer with so many classes; some terms ask a teacher."""
    return Objective(
        seed=seed,
        task=build_task(config, num_classes),
        finds_warps="warps" in config.method.gives,
        two_views=config.loss.two_views,
        warp_grid_size=config.warp.grid_size,
        warp_strength=config.warp.strengths or config.warp.strength,
        warp_probability=config.warp.probability,
        terms=build_terms(config),
        orbit=build_orbit(config.loss.orbit, seed),
        teacher=teacher,
    )
