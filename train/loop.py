"""The training loop, the same for every method.

It is one class, and long, for every part of it changes the same state of the training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from layers.scale.functions import WidthError
from layers.seeds import seed_of
from train.best import Best
from train.distributed import Process
from train.objective import Objective, Outcome
from train.optim import Learner
from train.phases import PARTS, Phase, Place, is_break, phase_at
from train.runs.errors import RunError
from train.statistics import estimated_afresh, is_below, train_what_trains
from train.tally import Tally
from train.views import Batch

Mix = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
Amp = Literal["off", "bf16", "fp16"]
SHOWN_EVERY = 10  # steps between two looks at the loss, each of which waits for the device


@dataclass(kw_only=True)
class Trainer:
    """A run in memory.

    Args:
        model: what is trained, without wrappers.
        objective: of a batch.
        learners: by name, "backbone" and perhaps "canonicalizer".
        loader: of (image, label, index) batches, whose batch sampler is a ``BatchOrder``.
        process: this one.
        phases: of the run, one after the other.
        accumulate: parts that a batch is cut into.
        clip: largest norm of the gradients of all learners together; None leaves it.
        mix: makes of a whole batch's images and labels others, in an epoch and step.
        amp: precision of the forward pass.
        checkpoint_steps: steps between two checkpoints within an epoch; None saves after epochs alone.
        statistics_steps: batches that batch norm's statistics are estimated from once more after the last step; 0 keeps
            the running ones, which lag behind weights that still moved.
        ema: averaged copy of the model, if one is kept.
        best: the best weights so far, where ``end_epoch`` tells it what an epoch came to; it may end training early.
    """

    model: Any
    objective: Objective
    learners: dict[str, Learner]
    loader: DataLoader
    process: Process
    phases: Sequence[Phase]
    accumulate: int = 1
    clip: float | None = None
    mix: Mix | None = None
    amp: Amp = "off"
    checkpoint_steps: int | None = None
    statistics_steps: int = 0
    ema: ModelEmaV3 | None = None
    best: Best = field(default_factory=Best)
    place: Place = field(default_factory=Place)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=self.amp == "fp16")
        self.order: Any = self.loader.batch_sampler
        trained = [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
        self._trainable: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
        for name, value in trained:
            self._trainable[PARTS[0] if self.model.is_of_backbone(name) else PARTS[1]].append(value)
        trains = {part for phase in self.phases for part in phase.trains}
        for value in (value for part in PARTS if part not in trains for value in self._trainable[part]):
            value.requires_grad_(False)
        self._resting = train_what_trains(self.model)  # in all phases, which fine-tuning can see to as well
        self._begin_epoch()

    @property
    def epochs(self) -> int:
        """Number of them in all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def phase(self) -> Phase:
        """The present one."""
        return phase_at(self.phases, self.place.epoch)

    def _begin_epoch(self) -> None:
        self._solved: list[tuple[list[int], Tensor]] = []  # since the last look, which items' warps are numbers
        self.tally = Tally(self.objective.tells(self.phase.number), self.process.device)

    @property
    def evaluated(self) -> nn.Module:
        """The model whose metrics count."""
        return self.model if self.ema is None else self.ema.module

    def fit(
        self,
        save: Callable[[], None] = lambda: None,
        end_epoch: Callable[[dict[str, float]], None] = lambda metrics: None,
        *,
        max_steps: int = 0,
    ) -> None:
        """Train from the present place to the end, and give what is evaluated the best weights, where they are kept.

        Args:
            save: keeps the present state; called after every epoch, and within where ``checkpoint_steps`` says so.
            end_epoch: is given an epoch's training metrics, before its state is saved.
            max_steps: stop after so many steps, in the middle of the first epoch; 0 goes to the end.
        """
        wrapped, begun = self.model, None
        while self.place.epoch < self.epochs and not self.best.is_over(self.place.epoch):
            if self.phase is not begun:
                wrapped, begun = self._begin_phase(), self.phase
            train_what_trains(self.model)
            self._run_epoch(wrapped, save, max_steps)
            if max_steps:
                return
            metrics = self._close_epoch()
            end_epoch(metrics)
            save()
        if self.statistics_steps and self.epochs:
            self._estimate_statistics()
        self.best.restore(self.evaluated)

    def _begin_phase(self) -> nn.Module:
        """Let the parts of the present phase train, at its rates, and wrap the model for several processes."""
        self.phase.release(self.model, self._trainable)
        if (self.place.epoch, self.place.step) == (self.phase.start, 0):  # later, the rates are where they were saved
            for learner in self.learners.values() if is_break(self.phases, self.phase) else ():
                learner.look_afresh()
            for part, rate in self.phase.rates.items():
                self.learners[part].set_rate(rate)
        runs_whole = self.objective.runs_backbone(self.phase.number) or "backbone" not in self.phase.trains
        return self.process.wrap(self.model, runs_whole)

    def _estimate_statistics(self) -> None:
        """After the last step, on views as in the last epoch, unmixed; every call begins afresh."""
        self._seek(self.epochs - 1)
        self.order.seek(self.epochs)
        rests = partial(is_below, parts=self._resting)
        with estimated_afresh(self.evaluated, self.process, rests), torch.no_grad(), self._autocast():
            for step, loaded in zip(range(self.statistics_steps), self.loader, strict=False):
                batch = Batch.loaded(loaded, self.process.device)
                self.objective(self.evaluated, batch, self.epochs, step, self.phase.number)

    def _seek(self, epoch: int, step: int = 0) -> None:
        """Let the loader go on from there."""
        self.order.seek(epoch, step)
        data: Any = self.loader.dataset
        getattr(data, "set_epoch", lambda epoch: None)(epoch)

    def _run_epoch(self, wrapped: nn.Module, save: Callable[[], None], max_steps: int) -> None:
        place, began, before = self.place, time.perf_counter(), self.place.seconds
        self._seek(place.epoch, place.step)
        check: Callable[[], None] = getattr(self.loader.dataset, "check", lambda: None)
        with self._bar() as bar:
            for loaded in self.loader:
                batch = Batch.loaded(loaded, self.process.device)
                self._step(wrapped, batch)
                place.step += 1
                place.seconds = before + time.perf_counter() - began
                is_last = place.step == len(self.order)
                saves = self.checkpoint_steps and place.step % self.checkpoint_steps == 0 and not is_last
                if place.step % SHOWN_EVERY == 0 or saves or is_last:
                    means = self.tally.means()
                    self._check(means)
                    check()
                    bar.set_postfix(means, refresh=False)
                bar.update(len(batch.items) * self.process.world)
                if max_steps and place.step >= max_steps:
                    return
                if saves:
                    self._check_weights()
                    save()

    def _step(self, wrapped: nn.Module, batch: Batch) -> None:
        """One optimizer step, over the batch's parts."""
        place, weight = self.place, self.order.weight(self.place.step)
        if self.mix is not None:
            image, label = self.mix(batch.image, batch.label, place.epoch, place.step)
            batch = batch._replace(image=image, label=label)
        count = min(self.accumulate, self.order.least(place.step))  # the same in every process, which wait for another
        for part_number, part in enumerate(batch.parts(count)):
            # dropout and stochastic depth draw from torch's generator: every draw belongs to a place of its own
            key = (self.objective.seed, "step", place.epoch, place.step, part_number, self.process.rank)
            torch.manual_seed(seed_of(*key))
            outcome = self._outcome(wrapped, part)
            self.phase.check_loss(outcome.loss)
            share = weight * len(part.items) / len(batch.items)
            self.scaler.scale(outcome.loss * share).backward()
            if weight > 0:
                self.tally.add(outcome.told, len(part.items))
                self._solved += [] if outcome.is_solved is None else [(part.items, outcome.is_solved)]
        active = self._active
        for learner in active:
            learner.prepare(self.scaler)
        has_step = True
        if self.clip is not None:
            norm = nn.utils.clip_grad_norm_([value for learner in active for value in learner.parameters], self.clip)
            # The scaler knows of each learner alone, whether its gradients overflowed; the norm has spread it to all.
            has_step = not self.scaler.is_enabled() or bool(norm.isfinite())
        for learner in active:
            if has_step:
                learner.step(self.scaler)
            else:
                learner.optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)

    @property
    def _active(self) -> list[Learner]:
        """The learners that train in the present phase."""
        return [learner for part, learner in self.learners.items() if part in self.phase.trains]

    def _outcome(self, wrapped: nn.Module, part: Batch) -> Outcome:
        place = self.place
        try:
            with self._autocast():
                return self.objective(wrapped, part, place.epoch, place.step, self.phase.number)
        except WidthError as error:
            raise RunError(f"step {place.step + 1} of epoch {place.epoch + 1}: {error}") from error
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):  # torch's batch norm
                raise
            raise RunError(
                f"step {place.step + 1} of epoch {place.epoch + 1} computes on {len(part.items)} item by itself, of "
                "which batch norm has no statistics on a map of 1 x 1; take a batch_size that gives every process and "
                "accumulated part two items, larger images, or another backbone"
            ) from error

    def _close_epoch(self) -> dict[str, float]:
        place, phase = self.place, self.phase
        means = self.tally.means(self.process.sum(self.tally.sums))
        self._check(means)
        self._check_weights()
        # Where the task has no weight in this phase, as in a warm-up without labels, there is nothing else to look at.
        looked_at = phase.task_weight * means["task"] if "task" in means else means["loss"]
        for learner in self._active:
            learner.end_epoch(looked_at)
        metrics = {f"train_{name}": value for name, value in means.items()}
        metrics |= {f"{name}_lr": learner.rate for name, learner in self.learners.items()}
        place.epoch, place.step = place.epoch + 1, 0
        self._begin_epoch()
        return metrics

    def _check(self, means: dict[str, float]) -> None:
        known, self._solved = self._solved, []
        for items, is_solved in known:  # the first step that has any: its gradient spoils all that come after
            lost = [items[place] for place in (~is_solved).nonzero().flatten().tolist()]
            if lost:
                numbers = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
                self._fail(f"the warps of {len(lost)} items became NaN (their numbers: {numbers})")
        for name, words in (("loss", "loss"), ("residual", "residual of the fixed points")):
            if not math.isfinite(value := means.get(name, 0.0)):
                self._fail(f"the {words} became {value}")

    def _check_weights(self) -> None:
        """Before anything is saved: a gradient can spoil the weights one step before the loss shows it."""
        if not torch.stack([value.detach().isfinite().all() for value in self.model.parameters()]).all():
            self._fail("weights became infinite or NaN")

    def _fail(self, what: str) -> None:
        raise RunError(
            f"{what} in epoch {self.place.epoch + 1}, by step {self.place.step}. Try smaller rates "
            "(train.backbone_lr, train.canonicalizer_lr), stricter clipping, or train.amp=off; the state saved before "
            "is still there"
        )

    def _bar(self) -> tqdm:
        size = len(self.order.items)
        name = f"epoch {self.place.epoch + 1}/{self.epochs}{self.phase.title}"
        done = min(size, self.place.step * self.order.batch_size)
        is_shown = self.process.is_first
        return tqdm(total=size, initial=done, desc=name, unit="img", disable=None if is_shown else True, leave=False)

    def _autocast(self) -> AbstractContextManager:
        dtype = torch.float16 if self.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.process.device.type, dtype=dtype, enabled=self.amp != "off")

    def state_dict(self) -> dict[str, Any]:
        """All that changes in training; random draws follow from the place alone."""
        place = self.place
        tally = self.tally.state_dict(self.process.sum(self.tally.sums.clone()))
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "teacher": None if self.objective.teacher is None else self.objective.teacher.state_dict(),
            "learners": {name: learner.state_dict() for name, learner in self.learners.items()},
            "scaler": self.scaler.state_dict(),
            "best": self.best.state_dict(),
            "place": {"epoch": place.epoch, "step": place.step, "seconds": place.seconds, "tally": tally},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a state was saved, with any number of processes."""
        try:
            self.model.load_state_dict(self.model.under_todays_names(state["model"]))
            if self.ema is not None:
                self.ema.module.load_state_dict(self.model.under_todays_names(state["ema"]))
            if self.objective.teacher is not None:
                self.objective.teacher.load_state_dict(self.model.under_todays_names(state["teacher"]))
            for name, learner in self.learners.items():
                learner.load_state_dict(state["learners"][name])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(f"the saved state belongs to another model or recipe ({reason})") from error
        if state["scaler"]:  # empty where nothing was scaled
            self.scaler.load_state_dict(state["scaler"])
        self.best.load_state_dict(state.get("best", Best().state_dict()))  # older states have none
        self.best.weights = self.model.under_todays_names(self.best.weights)
        place = dict(state["place"])
        tally = place.pop("tally")
        self.place = Place(**place)
        self._begin_epoch()
        self.tally.load(tally, self.process.is_first)
