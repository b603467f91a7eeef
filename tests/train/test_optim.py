"""Learners: who belongs to which, what clipping does, and the rates of every schedule."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from config.load import load_recipes
from config.schema import Config, ConfigError, ModelConfig, Phase, ScheduleConfig, TrainConfig
from layers.spec import DEC, Plain, Site
from models.build import build_model
from models.wrapped import WrappedBackbone
from train.optim import build_learners, build_schedule, rate_at


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.canonicalizer = nn.Linear(3, 1)

    def is_of_backbone(self, name: str) -> bool:
        return name.startswith("backbone.")


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
    model = WrappedBackbone(nn.Linear(1, 1))
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


def test_step_falls_at_milestones_alone() -> None:
    found = rates(ScheduleConfig(name="step", factor=0.2, milestones=(1, 3)), 5)
    assert [rate / found[0] for rate in found] == pytest.approx([1, 0.2, 0.2, 0.04, 0.04])


def test_sgd_has_nesterovs_momentum_and_decays_in_the_gradient() -> None:
    """By hand: the first step goes by (1 + momentum) (g + decay w)."""
    network = WrappedBackbone(nn.Linear(3, 2))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    train = TrainConfig(optimizer="sgd", backbone_lr=0.1, weight_decay=0.01)
    (learner,) = build_learners(network, train).values()
    for value in network.parameters():
        value.grad = torch.full_like(value, 2.0)
    learner.optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(value, before[name] - 0.1 * 1.9 * (2 + 0.01 * before[name]))


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
    phases = Phase(trains=("canonicalizer",), epochs=2), Phase()
    train = TrainConfig(epochs=6, phases=phases, canonicalizer_lr=0.1, schedule=ScheduleConfig(name="cosine"))
    learners = build_learners(Adapted(), train)
    for epoch in range(6):
        for name, learner in learners.items():
            if name == "canonicalizer" or epoch >= 2:
                learner.optimizer.step()
                learner.end_epoch(1.0)
    assert [learner.rate for learner in learners.values()] == pytest.approx([0, 0])


def test_a_schedule_is_as_long_as_the_epochs_in_which_its_part_trains() -> None:
    """Whatever rests between them; both end at nothing."""
    phases = Phase(trains=("canonicalizer",), epochs=2), Phase(trains=("backbone",), epochs=4), Phase()
    train = TrainConfig(epochs=9, phases=phases, canonicalizer_lr=0.1, schedule=ScheduleConfig(name="cosine"))
    learners = build_learners(Adapted(), train)
    for name, count in (("canonicalizer", 2 + 3), ("backbone", 4 + 3)):
        learner, first = learners[name], learners[name].rate
        for epoch in range(count):
            assert learner.rate == pytest.approx(first * (1 + math.cos(math.pi * epoch / count)) / 2)
            learner.optimizer.step()
            learner.end_epoch(1.0)
        assert learner.rate == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["constant", "plateau", "step"])
def test_a_rate_that_is_set_holds_for_all_groups_in_proportion(name: str) -> None:
    train = TrainConfig(schedule=ScheduleConfig(name=name, step_size=1, factor=0.5), **LAYERED)
    learner = build_learners(model_of("test_vit"), train)["backbone"]
    before = [group["lr"] for group in learner.optimizer.param_groups]
    learner.set_rate(0.02)
    assert learner.rate == pytest.approx(0.02)
    for group, rate in zip(learner.optimizer.param_groups, before, strict=True):
        assert group["lr"] == pytest.approx(0.2 * rate)
    learner.optimizer.step()
    learner.end_epoch(1.0)
    assert learner.rate == pytest.approx(0.01 if name == "step" else 0.02)


def test_a_rate_that_is_set_is_where_the_schedule_would_be_at_its_factor() -> None:
    """Of a schedule that has fallen to a half, the rate that is set falls to a half too."""
    train = TrainConfig(backbone_lr=0.1, schedule=ScheduleConfig(name="step", step_size=1, factor=0.5))
    learner = build_learners(Adapted(), train)["backbone"]
    learner.optimizer.step()
    learner.end_epoch(1.0)
    learner.set_rate(0.4)
    assert learner.rate == pytest.approx(0.2)


SWIN: dict[str, Any] = {"img_size": 32, "embed_dim": 12, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4}
BACKBONES: dict[str, dict[str, Any]] = {"test_vit": {}, "test_resnet": {}, "swin_tiny_patch4_window7_224": SWIN}
SMALL_DEC = DEC(sites=(Site(stage="image"),), channels=(3, 4), kernel_sizes=(3,), pools=(2,), input_size=16)
LAYERED = {"backbone_lr": 0.1, "weight_decay": 0.05, "layer_decay": 0.75}


def model_of(backbone: str, dec: DEC | None = None, **train: Any) -> nn.Module:
    options = {"backbone": backbone, "pretrained": False, "image_size": 32, "options": BACKBONES[backbone]}
    return build_model(
        Config(model=ModelConfig(**options), method=dec or Plain(), train=TrainConfig(**train)), num_classes=7
    )


def acting(learners: dict[str, Any], model: nn.Module) -> dict[str, tuple[float, float]]:
    """(rate, weight decay) of every parameter that an optimizer steps."""
    names = {id(value): name for name, value in model.named_parameters()}
    groups = [group for learner in learners.values() for group in learner.optimizer.param_groups]
    found = [(names[id(value)], (group["lr"], group["weight_decay"])) for group in groups for value in group["params"]]
    assert len(found) == len(dict(found))  # none twice
    return dict(found)


def by_timm(backbone: nn.Module, rate: float, decay: float, layer_decay: float) -> dict[str, tuple[float, float]]:
    names = {id(value): name for name, value in backbone.named_parameters()}
    exempt = getattr(backbone, "no_weight_decay", set)()
    groups = param_groups_layer_decay(backbone, decay, exempt, layer_decay=layer_decay)
    return {
        f"backbone.{names[id(value)]}": (rate * group["lr_scale"], group["weight_decay"])
        for group in groups
        for value in group["params"]
    }


def assert_alike(found: dict[str, tuple[float, float]], expected: dict[str, tuple[float, float]]) -> None:
    assert found.keys() == expected.keys()
    for name, settings in expected.items():
        assert found[name] == pytest.approx(settings, rel=1e-6, abs=0), name


@pytest.mark.parametrize("dec", [None, SMALL_DEC], ids=["base", "dec"])
@pytest.mark.parametrize("name", BACKBONES)
def test_layer_decay_makes_the_groups_of_timm(name: str, dec: DEC | None) -> None:
    own_rate = {} if dec is None else {"canonicalizer_lr": 0.2, "canonicalizer_weight_decay": 1e-4}
    model = model_of(name, dec)
    learners = build_learners(model, TrainConfig(**LAYERED, **own_rate))
    found = acting(learners, model)
    assert found.keys() == dict(model.named_parameters()).keys()
    own = {key: value for key, value in found.items() if not key.startswith("backbone.")}
    bare = timm.create_model(name, pretrained=False, num_classes=7, **BACKBONES[name])
    expected = by_timm(bare, 0.1, 0.05, 0.75)
    assert_alike({key: value for key, value in found.items() if key not in own}, expected)
    assert len({rate for rate, _ in expected.values()}) > 3
    shapes = {key: value.ndim for key, value in model.named_parameters()}
    assert all(decay == 0 for key, (_, decay) in found.items() if shapes[key] == 1)
    assert learners["backbone"].rate == pytest.approx(0.1)  # of the head
    # The canonicalizer is no layer of the backbone: its rate is its own, and its norms and biases are exempt too.
    assert bool(own) == (dec is not None)
    assert all(value == pytest.approx((0.2, 1e-4 if shapes[key] > 1 else 0)) for key, value in own.items())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("poolformer_s12", {}),  # has no group_matcher
        ("cait_xxs24_224", {"img_size": 32, "embed_dim": 16, "num_heads": 2, "depth": 3}),  # returns a function
        ("inception_v3", {}),  # returns a function too
    ],
)
def test_layer_decay_falls_back_as_timm_does(name: str, options: dict[str, Any]) -> None:
    bare = timm.create_model(name, pretrained=False, num_classes=7, **options)
    model = WrappedBackbone(copy.deepcopy(bare))
    model.own = nn.Linear(2, 2)  # outside of the backbone: it has the rate of the head
    learners = build_learners(model, TrainConfig(**LAYERED))
    found = acting(learners, model)
    expected = by_timm(bare, 0.1, 0.05, 0.75)
    own = {key: found.pop(key) for key in ("own.weight", "own.bias")}
    assert_alike(found, expected)
    assert len({rate for rate, _ in expected.values()}) > 2
    assert own == {"own.weight": (pytest.approx(0.1), 0.05), "own.bias": (pytest.approx(0.1), 0.0)}


def test_what_is_frozen_belongs_to_no_learner() -> None:
    for mode, names in (("head", {"backbone.head.weight", "backbone.head.bias"}), ("partial", set())):
        train = {**LAYERED, "canonicalizer_lr": 0.2, "finetune": mode}
        model = model_of("test_vit", SMALL_DEC, **train)
        learners = build_learners(model, TrainConfig(**train))
        own = {name for name, _ in model.named_parameters() if name.startswith("canonicalizer.")}
        assert acting(learners, model).keys() == own | names
        assert ("backbone" in learners) == bool(names)


def test_a_joint_learner_gives_the_canonicalizer_the_rate_of_the_head() -> None:
    model = model_of("test_vit", SMALL_DEC)
    found = acting(build_learners(model, TrainConfig(**LAYERED)), model)
    assert {rate for name, (rate, _) in found.items() if name.startswith("canonicalizer.")} == {0.1}


@pytest.mark.parametrize("rate", [1e-7, 0.01])
def test_cosine_is_timms_in_every_epoch_and_group(rate: float) -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=5, warmup_lr=1e-8)
    model = model_of("test_vit")
    train = TrainConfig(epochs=20, backbone_lr=rate, layer_decay=0.75, schedule=schedule)
    learner = build_learners(model, train)["backbone"]
    bare = timm.create_model("test_vit", num_classes=7)
    theirs = torch.optim.AdamW(param_groups_layer_decay(bare, layer_decay=0.75), lr=rate)
    scheduler = CosineLRScheduler(theirs, 20, warmup_t=5, warmup_lr_init=1e-8, warmup_prefix=False)
    for epoch in range(20):
        scheduler.step(epoch)
        expected = sorted(group["lr"] for group in theirs.param_groups)
        assert sorted(group["lr"] for group in learner.optimizer.param_groups) == pytest.approx(
            expected, rel=1e-9, abs=0
        )
        learner.optimizer.step()
        learner.end_epoch(1.0)


def test_rates_and_decays_of_a_published_dec_run() -> None:
    config = load_recipes("adapter_config.yaml", "dem_swin", kind="pictures")[0][1].resolved()
    model = Adapted()
    learners = build_learners(model, config.train)
    backbone, own = [], []
    for _ in range(config.train.epochs):
        backbone.append(learners["backbone"].rate)
        own.append(learners["canonicalizer"].rate)
        for learner in learners.values():
            learner.optimizer.step()
            learner.end_epoch(1.0)
    assert len(own) == 20
    assert own[:7] == pytest.approx([1e-8, 0.002, 0.004, 0.006, 0.008, 0.0085, 0.0079], rel=0.006, abs=0)
    assert own[-1] == pytest.approx(6.2e-5, rel=0.01)
    assert max(backbone) == pytest.approx(8.5e-8, rel=0.01, abs=0) and backbone[0] == pytest.approx(1e-8, abs=0)
    decays = {name: {group["weight_decay"] for group in one.optimizer.param_groups} for name, one in learners.items()}
    assert decays == {"backbone": {0.05}, "canonicalizer": {1e-4}}  # biases and norms too
    assert [learner.clip for learner in learners.values()] == [None, None] and config.train.clip == 1.0


def test_a_published_baseline_run_has_layer_decay() -> None:
    config = load_recipes("adapter_config.yaml", "base_beit", kind="pictures")[0][1].resolved()
    model = model_of("test_vit")
    found = acting(build_learners(model, config.train), model)
    bare = timm.create_model("test_vit", num_classes=7)
    start = 0.1  # the first epoch's rate is 1e-8, a tenth of the rate
    expected = {name: (rate * start, decay) for name, (rate, decay) in by_timm(bare, 1e-7, 0.05, 0.85).items()}
    assert_alike(found, expected)
