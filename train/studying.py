"""Which closer looks a recipe takes at its finished model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from config.schema import Config
from evaluation.studies import STUDIES
from evaluation.study import Findings, Subject
from train.distributed import Process

StudyAll = Callable[[nn.Module], Iterator[tuple[str, Findings]]]  # of a model on its device; every process calls it


def build_studies(
    config: Config, data: Any, model: nn.Module, fresh: Callable[[], nn.Module], seed: int, process: Process
) -> StudyAll | None:
    """The studies of a recipe, or None; a ``ValueError`` says what they cannot be made of.

    All processes do the same, for a study takes little time, and only the first one writes.

    Args:
        config: the recipe.
        data: its splits.
        model: what is going to be studied, which need not be trained yet.
        fresh: makes the same model with random weights.
        seed: of the run.
        process: this one.
    """
    if not config.evaluation.studies:
        return None
    chosen = [STUDIES[name] for name in config.evaluation.studies]
    subject = Subject(data.evaluated, config.evaluation.study_items, seed, fresh)
    for study in chosen:
        study.check(model, subject)

    def study_all(model: nn.Module) -> Iterator[tuple[str, Findings]]:
        for study in chosen:
            process.say(f"  study {study.name}")
            yield study.name, study(model, subject)

    return study_all
