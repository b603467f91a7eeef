"""A trainer from a recipe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any

from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader

from config.schema import Config, ConfigError
from train.best import Best
from train.distributed import Process
from train.loop import Mix, Trainer
from train.objective import build_objective
from train.optim import build_learners
from train.phases import Phase, build_phases


def build_trainer(
    config: Config, model: Any, loader: DataLoader | None, seed: int, process: Process, mix: Mix | None = None
) -> Trainer:
    """The trainer of a model that has its first weights already: it is moved, compiled and, for EMA, copied here."""
    assert loader is not None
    train = config.train
    if train.batch_size < process.world:
        raise ConfigError(
            f"train.batch_size is {train.batch_size} for {process.world} processes; expected one item each"
        )
    model = process.place(model)
    teacher = deepcopy(model).eval().requires_grad_(False) if config.loss.teach.weight else None
    ema = None if train.ema is None else ModelEmaV3(model, decay=train.ema)
    if train.compile:
        # In place, and after the copy: parameters keep their names. The solver's loop stays eager.
        for part in (model.backbone, *getattr(getattr(model, "canonicalizer", None), "module_list", ())):
            part.compile()  # type: ignore[operator, union-attr]
    learners, phases = build_learners(model, train), build_phases(config)
    _check_parts(phases, learners)
    return Trainer(
        model=model,
        objective=build_objective(config, seed, model.num_classes, teacher),
        learners=learners,
        loader=loader,
        process=process,
        phases=phases,
        accumulate=train.accumulate,
        clip=train.clip,
        mix=mix,
        amp=train.amp,
        checkpoint_steps=train.checkpoint_steps,
        statistics_steps=train.statistics_steps,
        ema=ema,
        best=Best(patience=train.patience),
    )


def _check_parts(phases: Sequence[Phase], learners: Collection[str]) -> None:
    """Refuse phases of parts of which train.finetune leaves nothing to train."""
    for phase in phases:
        absent = [part for part in phase.rates if part not in learners]
        if absent or not set(phase.trains) & set(learners):
            part = (absent or list(phase.trains))[0]
            raise ConfigError(
                f"train.phases[{phase.number}] is about the {part}, of which nothing trains; expected another "
                "train.finetune, or a phase without it"
            )
