"""Epochs are timed by their own steps, one line for each phase."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import epochs
from benchmarks.epochs import go_on, phases_of
from config.load import load_recipes
from train_scale import KINDS


def test_a_phase_is_timed_by_the_steps_of_what_trains_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, Any] = {}
    done: list[int] = []

    def timed(functions: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
        for number, function in enumerate(functions.values()):
            function()
            done.append(number)
        return {name: 3.0 * (number + 1) for number, name in enumerate(functions)}

    monkeypatch.setattr(epochs, "medians", timed)
    monkeypatch.setattr(epochs, "write", lambda name, command, rows, notes: written.update({name: rows}))
    words = ["--config", "emoji_residual_rescale", "--steps", "3", "--threads", f"{torch.get_num_threads()}"]
    phases = "[{trains: [canonicalizer], epochs: 1}, {trains: [backbone], epochs: 1}, {trains: [backbone]}]"
    words += ["train.batch_size=8", f"train.phases={phases}", "train.epochs=3"]
    monkeypatch.setattr(sys, "argv", ["epochs", *words])
    epochs.main()
    assert done == [0, 1, 2]
    assert written == {
        "epochs": [
            {
                "recipe": "emoji_residual_rescale",
                "trains": parts,
                "steps": 72,
                "seconds per epoch": 72.0 * times,  # three seconds of the stand-in for three steps
                "times the first": float(times),
            }
            for times, parts in enumerate(["canonicalizer", "backbone", "backbone"], 1)
        ]
    }


def test_no_more_steps_are_counted_than_an_epoch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = []

    def timed(functions: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
        return {name: 6.0 for name in functions}

    monkeypatch.setattr(epochs, "medians", timed)
    monkeypatch.setattr(epochs, "write", lambda name, command, found, notes: rows.extend(found))
    words = ["--config", "emoji_standard", "--steps", "100", "--threads", f"{torch.get_num_threads()}"]
    monkeypatch.setattr(sys, "argv", ["epochs", *words, "train.batch_size=192"])
    epochs.main()
    assert [(row["steps"], row["seconds per epoch"]) for row in rows] == [(3, 6.0)]


def test_each_phase_trains_its_parts_alone_and_goes_round_its_epoch() -> None:
    settings = ["train.batch_size=8"]
    ((_, config),) = load_recipes("scale/stir.yaml", "emoji_residual_rescale", settings, KINDS)
    for parts, trainer in list(phases_of(config)):
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        trainer.place.step = len(trainer.order) - 2
        go_on(trainer, 2)
        assert trainer.place.step == len(trainer.order)
        for began in (trainer.place.step, trainer.place.step - 1):  # nothing is left of the epoch, or too little
            trainer.place.step = began
            go_on(trainer, 2)
            assert (trainer.place.epoch, trainer.place.step) == (trainer.phase.start, 2)
        changed = {
            "backbone" if trainer.model.is_of_backbone(name) else "canonicalizer"
            for name, value in trainer.model.named_parameters()
            if not value.equal(before[name])
        }
        assert changed == {parts}
