"""A run from its folder's first file to its summary; both scripts call it with a trainer and a way to measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.evaluator import Evaluation
from train.checkpoint import save_items, save_state, save_weights
from train.log import Log
from train.loop import Trainer


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """When a run is evaluated besides at its end, where it is always measured in full.

    Args:
        every: epochs between two evaluations.
        full_every: epochs between two full ones, at epochs that ``every`` divides.
        before_training: measure in full before the first epoch.
    """

    every: int
    full_every: int
    before_training: bool = False


def carry_out(
    trainer: Trainer,
    measure: Callable[[bool], Evaluation],
    rhythm: Rhythm,
    log: Log,
    folder: Path,
    *,
    is_new: bool = True,
) -> dict[str, Any]:
    """Train to the end, from wherever the trainer is, and return what the summary holds.

    Args:
        trainer: at its start, or where its saved state was; every process has one.
        measure: evaluates the trainer's model, in full or (False) its accuracy alone; every process calls it.
        rhythm: when.
        log: takes the metrics.
        folder: takes state, weights and the values per item; only the first process writes.
        is_new: whether the run begins here, and may be measured before its training.
    """
    is_first = trainer.process.is_first

    def save() -> None:
        saved = trainer.state_dict()
        if is_first:
            save_state(folder, {"trainer": saved, "log_size": log.size})

    def end_epoch(metrics: dict[str, float]) -> None:
        epoch = trainer.place.epoch
        if epoch % rhythm.every == 0 and epoch < trainer.epochs:
            metrics = metrics | measure(epoch % rhythm.full_every == 0).metrics
            if is_first:
                save_weights(folder, trainer.evaluated)
        log(epoch, metrics)

    if is_new and rhythm.before_training:
        log(0, measure(True).metrics)
    trainer.fit(save, end_epoch)

    began = time.perf_counter()
    final = measure(True)
    log(trainer.epochs, final.metrics)
    if is_first:
        save_weights(folder, trainer.evaluated)
        save_items(folder, final.items)
    seconds = trainer.place.seconds
    return {
        "metrics": final.metrics,
        "seconds": seconds,
        "evaluation_seconds": time.perf_counter() - began,
        "images_per_second": len(trainer.order.items) * trainer.epochs / seconds if seconds else 0.0,
        "epochs": trainer.epochs,
        "parameters": sum(value.numel() for value in trainer.model.parameters()),
        "processes": trainer.process.world,
    }
