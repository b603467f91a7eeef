"""Optimizers, clipping and schedules: one learner per set of parameters that trains by rates of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from config.schema import ConfigError, ScheduleConfig, TrainConfig

MOMENTUM = 0.9  # of sgd


@dataclass
class Learner:
    """Parameters that train together.

    Args:
        parameters: all of them.
        optimizer: steps them.
        schedule: changes the optimizer's rates after every epoch.
        clip: largest norm of their gradient; None leaves it.
    """

    parameters: list[nn.Parameter]
    optimizer: Optimizer
    schedule: LRScheduler | ReduceLROnPlateau
    clip: float | None

    def prepare(self, scaler: torch.amp.GradScaler) -> None:
        """Unscale and clip the gradients."""
        scaler.unscale_(self.optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Take a step; the gradients are gone afterwards."""
        if any(value.grad is not None for value in self.parameters):
            scaler.step(self.optimizer)
        else:  # what trains may have no part in a loss; a scaler that scales would ask for gradients
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def end_epoch(self, task: float) -> None:
        """Let the schedule see the epoch's mean training loss of the task, without the other terms, as published."""
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(task)
        else:
            self.schedule.step()

    def look_afresh(self) -> None:
        """Forget the losses that the schedule has seen: those to come are of another kind."""
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.best, self.schedule.num_bad_epochs = math.inf, 0

    def set_rate(self, rate: float) -> None:
        """Go on at this rate, those of other groups in proportion, and with the schedule from there."""
        highest = max(group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups)
        for group in self.optimizer.param_groups:
            for name in ("lr", "initial_lr"):
                if name in group:
                    group[name] *= rate / highest
        if isinstance(self.schedule, LambdaLR):
            self.schedule.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]

    @property
    def rate(self) -> float:
        """The present learning rate, of the last layer where they differ."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def build_learners(model: Any, config: TrainConfig) -> dict[str, Learner]:
    """The backbone's learner, and the canonicalizer's where it has a rate of its own."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    own = [value for name, value in trained.items() if not model.is_of_backbone(name)]
    backbone = [value for name, value in trained.items() if model.is_of_backbone(name)]
    rate, decay, clip = config.backbone_lr, config.weight_decay, config.backbone_clip
    if config.canonicalizer_lr is None:
        groups = _groups(model, [*backbone, *own], rate, decay, config.layer_decay)
        return {"backbone": _learner(groups, rate, clip, config, config.epochs)}
    if not own:
        raise ConfigError(
            "train.canonicalizer_lr is given, but this model's canonicalizer has no parameters; set it to null"
        )
    learners = {}
    if backbone:  # fine-tuning may leave nothing of it to train
        groups = _groups(model, backbone, rate, decay, config.layer_decay)
        # A schedule rests while its part does, and ends with the run all the same.
        learners["backbone"] = _learner(groups, rate, clip, config, _epochs_of("backbone", config))
    rate, decay, clip = config.canonicalizer_lr, config.canonicalizer_weight_decay, config.canonicalizer_clip
    groups = _groups(model, own, rate, decay, config.layer_decay)
    return learners | {"canonicalizer": _learner(groups, rate, clip, config, _epochs_of("canonicalizer", config))}


def _epochs_of(part: str, config: TrainConfig) -> int:
    """Epochs in which a part trains."""
    pairs = zip(config.phases, config.epochs_of_phases, strict=True)
    return sum(epochs for phase, epochs in pairs if part in phase.trains)


def _groups(
    model: nn.Module, parameters: list[nn.Parameter], rate: float, decay: float, layer_decay: float | None
) -> list[dict[str, Any]]:
    """AdamW's groups of some of a model's parameters; what lies outside the backbone has the rate of its head."""
    if layer_decay is None:
        return [{"params": parameters, "lr": rate, "weight_decay": decay}]
    kept = {id(value) for value in parameters}
    exempt: Any = getattr(model, "no_weight_decay", set)
    return [
        {"params": own, "lr": rate * group["lr_scale"], "weight_decay": group["weight_decay"]}
        for group in param_groups_layer_decay(model, decay, exempt(), layer_decay=layer_decay)
        if (own := [value for value in group["params"] if id(value) in kept])
    ]


def _learner(
    groups: list[dict[str, Any]], rate: float, clip: float | None, config: TrainConfig, epochs: int
) -> Learner:
    optimizer = AdamW(groups) if config.optimizer == "adamw" else SGD(groups, momentum=MOMENTUM, nesterov=True)
    schedule = build_schedule(optimizer, config.schedule, epochs, rate)
    return Learner([value for group in groups for value in group["params"]], optimizer, schedule, clip)


def build_schedule(
    optimizer: Optimizer, schedule: ScheduleConfig, epochs: int, rate: float
) -> LRScheduler | ReduceLROnPlateau:
    """The schedule of an optimizer: of this rate, and of those of its groups in proportion."""
    if schedule.name == "plateau":
        return ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
    return LambdaLR(optimizer, lambda epoch: rate_at(epoch, schedule, epochs, rate) / rate)


def rate_at(epoch: int, schedule: ScheduleConfig, epochs: int, rate: float) -> float:
    """The rate in an epoch, counted from 0, of a schedule that does not look at the loss."""
    if schedule.name == "step":
        passed = sum(epoch >= milestone for milestone in schedule.milestones)
        return rate * schedule.factor ** (passed if schedule.milestones else epoch // schedule.step_size)
    if schedule.name == "cyclic":  # up for step_size epochs, down for as many
        phase = abs((epoch / schedule.step_size + 1) % 2 - 1)
        return rate * (schedule.floor + (1 - schedule.floor) * phase)
    if schedule.name == "cosine":
        if epoch < schedule.warmup_epochs:
            return schedule.warmup_lr + (rate - schedule.warmup_lr) * epoch / schedule.warmup_epochs
        return rate * (1 + math.cos(math.pi * min(epoch, epochs) / max(epochs, 1))) / 2
    return rate
