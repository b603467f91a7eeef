"""Phases of a run: what trains in each, at which rates, and how a run goes on across them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.runs import (
    ALONE,
    WITH_DEC,
    config_of,
    fitted,
    phases,
    trainer_of,
)
from train.loop import Trainer
from train.optim import Learner
from train.runs.errors import RunError

FEW: dict[str, Any] = {"data": {"train_items": 16}, "train": {"batch_size": 8, "epochs": 1}}


def test_a_plateau_of_a_phase_without_labels_is_looked_for_in_its_whole_loss(tmp_path, monkeypatch) -> None:
    seen: list[float] = []
    original = Learner.end_epoch
    monkeypatch.setattr(Learner, "end_epoch", lambda self, task: (seen.append(task), original(self, task))[1])
    alone = phases({**ALONE, "epochs": 1, "terms": {"task": 0.0}})
    without = {"loss": {"consistency": {"weight": 1.0}}, "data": {"train_items": 16}, "train": {"epochs": 1}}
    trainer = trainer_of(config_of(tmp_path, WITH_DEC, alone, without))
    shown: list[dict[str, float]] = []
    trainer.fit(end_epoch=shown.append)
    assert seen == [pytest.approx(shown[0]["train_loss"])] and seen[0] > 0.1
    assert shown[0].keys() == {"train_loss", "train_residual", "train_consistency", "backbone_lr", "canonicalizer_lr"}


def test_a_plateau_begins_afresh_behind_a_phase_without_the_task(tmp_path) -> None:
    """The task's loss lies above the one before, and falls all the same: the rate stays."""
    unlabelled = {**ALONE, "epochs": 2, "terms": {"task": 0.0, "consistency": 1.0}}
    train = {"epochs": 4, "batch_size": 8, "backbone_lr": 0.003, "schedule": {"name": "plateau", "patience": 0}}
    few = {"model": {"backbone": "test_resnet"}, "data": {"train_items": 8}, "train": train}
    _, shown = fitted(config_of(tmp_path, WITH_DEC, phases(unlabelled, {}), few))
    losses = [one["train_loss"] for one in shown]
    assert max(losses[:2]) < losses[3] < losses[2]
    assert shown[1]["canonicalizer_lr"] == shown[3]["canonicalizer_lr"]


def test_a_phase_whose_loss_does_not_know_what_trains_ends_in_one_line(tmp_path) -> None:
    blind = phases({"trains": ["backbone"], "terms": {"task": 0.0, "consistency": 1.0}})
    with pytest.raises(RunError, match=r"train\.phases\[0\] trains the backbone, which no term of its loss depends on"):
        trainer_of(config_of(tmp_path, WITH_DEC, blind)).fit()


def test_half_precision_bears_a_backbone_that_trains_and_does_not_run(tmp_path) -> None:
    unlabelled = phases({"terms": {"task": 0.0, "consistency": 1.0}})
    trainer = trainer_of(config_of(tmp_path, WITH_DEC, unlabelled, FEW, {"train": {"amp": "fp16"}}))
    before = copy.deepcopy(trainer.model.backbone.state_dict())
    trainer.fit()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.backbone.state_dict().items())


THREE = [
    {**ALONE, "epochs": 1, "terms": {"task": 0.0, "consistency": 1.0}},
    {"trains": ["backbone"], "epochs": 2, "rates": {"backbone": 0.002}},
    {"rates": {"canonicalizer": 0.005, "backbone": 1e-4}},
]
IN_THREE: dict[str, Any] = {
    "model": {"backbone": "test_resnet"},
    "data": {"train_items": 16},
    "train": {"batch_size": 8, "epochs": 5, "phases": THREE, "schedule": {"name": "constant"}},
}


def test_what_rests_does_not_change_and_is_in_evaluation_mode(tmp_path) -> None:
    trainer = trainer_of(config_of(tmp_path, WITH_DEC, IN_THREE))
    before = copy.deepcopy(trainer.model.state_dict())
    changed: list[set[str]] = []
    modes: list[tuple[bool, bool]] = []
    parts = trainer.model.backbone, trainer.model.canonicalizer
    step = Trainer._step

    def noted(self: Trainer, *args: Any) -> None:
        step(self, *args)
        modes.append(tuple(any(part.training for part in whole.modules()) for whole in parts))

    def look(metrics: dict[str, float]) -> None:
        state = trainer.model.state_dict()
        changed.append(
            {name.partition(".")[0] for name, value in state.items() if not torch.equal(value, before[name])}
        )
        before.update(copy.deepcopy(state))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", noted)
        trainer.fit(end_epoch=look)
    assert changed == [{"canonicalizer"}, *[{"backbone"}] * 2, *[{"backbone", "canonicalizer"}] * 2]
    assert modes == [*[(False, True)] * 2, *[(True, False)] * 4, *[(True, True)] * 4]


def rates_of(tmp_path: Path, schedule: dict[str, Any]) -> tuple[list[float], list[float]]:
    _, metrics = fitted(config_of(tmp_path, WITH_DEC, IN_THREE, {"train": {"schedule": schedule}}))
    return [one["backbone_lr"] for one in metrics], [one["canonicalizer_lr"] for one in metrics]


def test_a_phase_goes_on_at_its_rates(tmp_path) -> None:
    backbone, own = rates_of(tmp_path, {"name": "constant"})
    assert backbone == pytest.approx([1e-3, 2e-3, 2e-3, 1e-4, 1e-4])
    assert own == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005])


def test_the_schedule_goes_on_from_the_rates_of_a_phase_and_rests_with_its_part(tmp_path) -> None:
    """Behind an epoch, the rate of the next one is told; factors of before a phase stay in what it sets."""
    backbone, own = rates_of(tmp_path, {"name": "step", "step_size": 1, "factor": 0.5})
    assert backbone == pytest.approx([1e-3, 1e-3, 5e-4, 1.25e-5, 6.25e-6])
    assert own == pytest.approx([0.005, 0.005, 0.005, 0.00125, 0.000625])


@pytest.mark.parametrize("name", ["constant", "plateau", "step", "cyclic", "cosine"])
def test_a_run_goes_on_to_the_same_weights_across_phases_with_rates(tmp_path, name: str) -> None:
    """From behind every epoch, also where a phase with rates begins, and from within one."""
    schedule = {"name": name, "patience": 0, "step_size": 1}
    few = {"train": {"schedule": schedule, "checkpoint_steps": 1}, "data": {"train_items": 24}}
    config = config_of(tmp_path, WITH_DEC, IN_THREE, few)
    whole = trainer_of(config)
    states: list[dict[str, Any]] = []
    shown: list[dict[str, float]] = []
    whole.fit(lambda: states.append(copy.deepcopy(whole.state_dict())), shown.append)
    places = [(state["place"]["epoch"], state["place"]["step"]) for state in states]
    for place in ((1, 0), (3, 0), (3, 1), (4, 2)):
        resumed = trainer_of(config)
        again: list[dict[str, float]] = []
        resumed.load_state_dict(copy.deepcopy(states[places.index(place)]))
        resumed.fit(end_epoch=again.append)
        assert again == shown[place[0] :], place
        state = resumed.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in whole.model.state_dict().items()), place


def test_all_that_is_weighed_is_told_of_every_epoch(tmp_path) -> None:
    loss = {"loss": {"two_views": True, "phi": {"prior": 1.0}, "equivariance": {"weight": 0.1}}}
    _, (metrics,) = fitted(config_of(tmp_path, WITH_DEC, FEW, loss))
    terms = {f"train_{name}" for name in ("task", "equivariance", "phi")}
    rest = {"train_loss", "train_accuracy", "train_residual", "backbone_lr", "canonicalizer_lr"}
    assert metrics.keys() == terms | rest
    total = metrics["train_task"] + 0.1 * metrics["train_equivariance"] + 0.1 * metrics["train_phi"]
    assert metrics["train_loss"] == pytest.approx(total, rel=1e-5)
