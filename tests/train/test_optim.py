"""Learners: who belongs to which, what clipping does, and the rates of every schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from config.schema import ConfigError, ScheduleConfig, TrainConfig
from train.optim import build_learners, build_schedule, rate_at


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.canonicalizer = nn.Linear(3, 1)


def test_each_parameter_has_one_learner() -> None:
    model = Adapted()
    learners = build_learners(model, TrainConfig(backbone_lr=0.1, canonicalizer_lr=0.2, canonicalizer_weight_decay=0))
    assert {id(value) for value in learners["backbone"].parameters} == {id(v) for v in model.backbone.parameters()}
    owned = {id(value) for value in learners["canonicalizer"].parameters}
    assert owned == {id(value) for value in model.canonicalizer.parameters()}
    assert (learners["backbone"].rate, learners["canonicalizer"].rate) == (0.1, 0.2)
    decays = [learner.optimizer.param_groups[0]["weight_decay"] for learner in learners.values()]
    assert decays == [0.01, 0]


def test_without_a_rate_of_its_own_the_canonicalizer_trains_with_the_backbone() -> None:
    model = Adapted()
    (learner,) = build_learners(model, TrainConfig(backbone_lr=0.1)).values()
    assert len(learner.parameters) == len(list(model.parameters()))


def test_a_rate_for_nothing_is_refused() -> None:
    model = nn.Module()
    model.backbone = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="canonicalizer has no parameters"):
        build_learners(model, TrainConfig(canonicalizer_lr=0.1))


def test_clipping_bounds_the_norm_over_all_parameters() -> None:
    model = Adapted()
    learner = build_learners(model, TrainConfig(backbone_clip=0.5))["backbone"]
    norms = []

    def record(*args, **kwargs) -> None:
        norms.append(math.sqrt(sum(value.grad.square().sum().item() for value in learner.parameters)))

    learner.optimizer.register_step_pre_hook(record)
    for parameter in learner.parameters:
        parameter.grad = torch.full_like(parameter, 10.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    learner.prepare(scaler)
    learner.step(scaler)
    assert norms == [pytest.approx(0.5, rel=1e-4)]
    assert all(parameter.grad is None for parameter in learner.parameters)


def rates(schedule: ScheduleConfig, epochs: int, rate: float = 0.1, losses: list[float] | None = None) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = build_schedule(optimizer, schedule, epochs, rate)
    found = []
    for epoch in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([losses[epoch]] if losses else []))
    return found


def test_step_falls_every_two_epochs() -> None:
    found = rates(ScheduleConfig(name="step", factor=0.7, step_size=2), 5)
    assert found == pytest.approx([0.1, 0.1, 0.07, 0.07, 0.049])


def test_plateau_halves_after_the_third_epoch_without_progress() -> None:
    found = rates(ScheduleConfig(name="plateau"), 7, losses=[1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_cyclic_rises_and_falls_between_its_floor_and_the_rate() -> None:
    found = rates(ScheduleConfig(name="cyclic", step_size=2, floor=0.1), 6)
    assert found == pytest.approx([0.01, 0.055, 0.1, 0.055, 0.01, 0.055])


def test_cosine_with_its_warm_up_inside() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=5, warmup_lr=1e-8)
    found = rates(schedule, 20, rate=0.01)
    expected = [1e-8 + epoch * (0.01 - 1e-8) / 5 for epoch in range(5)]
    expected += [0.01 * 0.5 * (1 + math.cos(math.pi * epoch / 20)) for epoch in range(5, 20)]
    assert found == pytest.approx(expected)
    assert rate_at(20, schedule, 20, 0.01) == pytest.approx(0)


def test_constant_stays() -> None:
    assert rates(ScheduleConfig(name="constant"), 3) == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("name", ["constant", "plateau", "step", "cyclic", "cosine"])
def test_a_schedule_goes_on_from_its_state(name: str) -> None:
    train = TrainConfig(epochs=8, backbone_lr=0.1, schedule=ScheduleConfig(name=name, patience=0))
    straight, stopped = (build_learners(Adapted(), train)["backbone"] for _ in range(2))
    found = []
    for epoch in range(8):
        if epoch == 3:
            resumed = build_learners(Adapted(), train)["backbone"]
            resumed.load_state_dict(stopped.state_dict())
            stopped = resumed
        for learner in (straight, stopped):
            learner.optimizer.step()
            learner.end_epoch(1.0)
        found.append((straight.rate, stopped.rate))
    assert all(one == other for one, other in found)


def test_the_backbones_schedule_ends_with_the_run_though_it_rests_at_first() -> None:
    train = TrainConfig(epochs=6, canonicalizer_epochs=2, canonicalizer_lr=0.1, schedule=ScheduleConfig(name="cosine"))
    learners = build_learners(Adapted(), train)
    for epoch in range(6):
        for name, learner in learners.items():
            if name == "canonicalizer" or epoch >= 2:
                learner.optimizer.step()
                learner.end_epoch(1.0)
    assert [learner.rate for learner in learners.values()] == pytest.approx([0, 0])
