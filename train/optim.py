"""Optimizers, clipping and schedules: one learner per set of parameters that trains by rates of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from config.schema import ConfigError, ScheduleConfig, TrainConfig


@dataclass
class Learner:
    """Parameters that train together.

    Args:
        parameters: all of them.
        optimizer: steps them.
        schedule: changes the optimizer's rates behind every epoch.
        clip: largest norm of their gradient; None leaves it.
    """

    parameters: list[nn.Parameter]
    optimizer: Optimizer
    schedule: LRScheduler | ReduceLROnPlateau
    clip: float | None

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Clip, and take a step; the gradients are gone afterwards."""
        scaler.unscale_(self.optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        scaler.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)

    def end_epoch(self, loss: float) -> None:
        """Let the schedule see the epoch's mean training loss."""
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(loss)
        else:
            self.schedule.step()

    @property
    def rate(self) -> float:
        """The present learning rate."""
        return self.optimizer.param_groups[0]["lr"]

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def build_learners(model: nn.Module, config: TrainConfig) -> dict[str, Learner]:
    """The backbone's learner, and the canonicalizer's where it has a rate of its own."""
    own = {name: value for name, value in model.named_parameters() if not name.startswith("backbone.")}
    backbone = [value for name, value in model.named_parameters() if name not in own]
    rate, decay, clip = config.backbone_lr, config.weight_decay, config.backbone_clip
    if config.canonicalizer_lr is None:
        return {"backbone": _learner([*backbone, *own.values()], rate, decay, clip, config, config.epochs)}
    if not own:
        raise ConfigError(
            "train.canonicalizer_lr is given, but this model's canonicalizer has no parameters; set it to null"
        )
    # The backbone's schedule rests while the canonicalizer trains alone, and ends with the run all the same.
    learners = {"backbone": _learner(backbone, rate, decay, clip, config, config.epochs - config.canonicalizer_epochs)}
    rate, decay, clip = config.canonicalizer_lr, config.canonicalizer_weight_decay, config.canonicalizer_clip
    return learners | {"canonicalizer": _learner(own.values(), rate, decay, clip, config, config.epochs)}


def _learner(
    parameters: Iterable[nn.Parameter], rate: float, decay: float, clip: float | None, config: TrainConfig, epochs: int
) -> Learner:
    parameters = list(parameters)
    optimizer = AdamW(parameters, lr=rate, weight_decay=decay)
    return Learner(parameters, optimizer, build_schedule(optimizer, config.schedule, epochs), clip)


def build_schedule(optimizer: Optimizer, schedule: ScheduleConfig, epochs: int) -> LRScheduler | ReduceLROnPlateau:
    """The schedule of an optimizer whose rate is the highest one."""
    if schedule.name == "plateau":
        return ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
    rate = optimizer.param_groups[0]["lr"]
    return LambdaLR(optimizer, lambda epoch: rate_at(epoch, schedule, epochs, rate) / rate)


def rate_at(epoch: int, schedule: ScheduleConfig, epochs: int, rate: float) -> float:
    """The rate in an epoch, counted from 0, of a schedule that does not look at the loss."""
    if schedule.name == "step":
        return rate * schedule.factor ** (epoch // schedule.step_size)
    if schedule.name == "cyclic":  # up for step_size epochs, down for as many
        phase = abs((epoch / schedule.step_size + 1) % 2 - 1)
        return rate * (schedule.floor + (1 - schedule.floor) * phase)
    if schedule.name == "cosine":
        if epoch < schedule.warmup_epochs:
            return schedule.warmup_lr + (rate - schedule.warmup_lr) * epoch / schedule.warmup_epochs
        return rate * (1 + math.cos(math.pi * min(epoch, epochs) / max(epochs, 1))) / 2
    return rate
