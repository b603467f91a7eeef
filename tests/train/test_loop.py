"""The loop: what adds up to a step, what belongs to a phase, and what stops a run."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from layers.scale.widths import ScaleWidths
from tests.train.runs import (
    ALONE,
    DEC,
    ENERGY,
    OWN_RATE,
    WITH_DEC,
    assert_same_run,
    config_of,
    fitted,
    phases,
    recipe,
    refusal,
    train,
    trainer_of,
)
from train.loop import Trainer
from train.objective import Objective
from train.optim import Learner
from train.runs.checkpoint import load_state
from train.runs.errors import RunError
from train.views import Batch

FEW: dict[str, Any] = {"data": {"train_items": 16}, "train": {"batch_size": 8, "epochs": 1}}


def assert_close_weights(model: nn.Module, other: nn.Module, tolerance: float) -> None:
    """But for biases, whose gradient can be mere rounding, which Adam makes a step of."""
    others = other.state_dict()
    weights = {name: value for name, value in model.state_dict().items() if name.endswith("weight")}
    assert weights
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("settings", [{}, WITH_DEC], ids=["base", "dec"])
def test_it_overfits_a_batch(tmp_path, settings: dict[str, Any]) -> None:
    small = {"data": {"train_items": 8}, "train": {"batch_size": 8, "epochs": 20, "backbone_lr": 0.01}}
    _, metrics = fitted(config_of(tmp_path, settings, small, {"model": {"backbone": "test_resnet"}}))
    assert metrics[0]["train_loss"] > 4 and metrics[0]["train_accuracy"] < 0.5
    assert metrics[-1]["train_loss"] < 0.1 and metrics[-1]["train_accuracy"] == 1
    assert ("train_residual" in metrics[0]) == ("method" in settings)


def gradients_of_a_step(monkeypatch: pytest.MonkeyPatch, config: Any) -> dict[str, Tensor]:
    """Before the optimizers take them."""
    trainer = trainer_of(config)
    found: dict[str, Tensor] = {}

    def take(self: Any, scaler: Any) -> None:
        for name, value in trainer.model.named_parameters():
            if value.grad is not None:
                found[name] = value.grad.clone()

    with monkeypatch.context() as patch:
        patch.setattr("train.optim.Learner.step", take)
        trainer.fit(lambda: None, lambda metrics: None, max_steps=1)
    return found


METHODS: dict[str, dict[str, Any]] = {
    "views": {
        "method": DEC,
        "train": OWN_RATE,
        "loss": {"two_views": True, "phi": {"difference": 1.0, "prior": 1.0}},
    },
    "equivariance": {"loss": {"equivariance": {"weight": 0.5, "distance": "js"}}, "warp": {"probability": 0.5}},
    "energy": {"method": ENERGY, "train": OWN_RATE, "loss": {"two_views": True}},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path, monkeypatch, method: str) -> None:
    small = {"data": {"train_items": 11}, "train": {"batch_size": 11}}
    configs = [config_of(tmp_path, METHODS[method], small, {"train": {"accumulate": count}}) for count in (1, 3)]
    whole, parts = (gradients_of_a_step(monkeypatch, config) for config in configs)
    assert whole.keys() == parts.keys() and any(not name.startswith("backbone.") for name in whole) == (
        method != "equivariance"
    )
    scale = max(float(grad.abs().max()) for grad in whole.values())
    for name, grad in whole.items():
        assert (grad - parts[name]).abs().max() <= 1e-4 * grad.abs().max() + 1e-6 * scale, name


def joint_norm(gradients: dict[str, Tensor]) -> float:
    return float(torch.stack([grad.norm() for grad in gradients.values()]).norm())


def test_the_joint_clip_bounds_the_gradients_of_all_learners_together(tmp_path, monkeypatch) -> None:
    free = {"train": {"backbone_clip": None, "canonicalizer_clip": None}}
    whole, clipped, loose, after_own = (
        gradients_of_a_step(monkeypatch, config_of(tmp_path, WITH_DEC, FEW, *settings))
        for settings in (
            [free],
            [free, {"train": {"clip": 0.01}}],
            [free, {"train": {"clip": 1e6}}],
            [{"train": {"backbone_clip": 0.003, "canonicalizer_clip": 0.004, "clip": 0.01}}],
        )
    )
    assert {name.partition(".")[0] for name in whole} == {"backbone", "canonicalizer"}
    assert joint_norm(whole) > 0.1 and joint_norm(clipped) == pytest.approx(0.01, rel=1e-3)
    factor = 0.01 / joint_norm(whole)  # one for all: the direction stays
    for name, grad in whole.items():
        torch.testing.assert_close(clipped[name], grad * factor, rtol=1e-3, atol=1e-9)
        torch.testing.assert_close(loose[name], grad)
    for part, bound in (("backbone", 0.003), ("canonicalizer", 0.004)):
        own = joint_norm({name: grad for name, grad in after_own.items() if name.startswith(part)})
        assert own <= bound * 1.001  # 3-4-5: the joint bound is not reached any more
    assert joint_norm(after_own) <= 0.005 * 1.001


@pytest.mark.parametrize("overflow", [math.nan, math.inf])
def test_where_one_learner_overflows_the_joint_clip_lets_none_step(tmp_path, overflow: float) -> None:
    """Else the norm would carry it into the others, whose steps the scaler does not skip."""
    trainer = trainer_of(config_of(tmp_path, WITH_DEC, FEW, {"train": {"clip": 1.0}}))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    first = next(iter(trainer.model.canonicalizer.parameters()))
    first.register_hook(lambda grad: torch.full_like(grad, overflow))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.fit(lambda: None, lambda metrics: None, max_steps=1)
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, before[name]) and value.grad is None, name
    assert trainer.scaler.get_scale() == 2.0


def test_in_the_canonicalizers_phase_the_joint_clip_is_its_own(tmp_path, monkeypatch) -> None:
    clip = {"train": {"clip": 1e-4, "backbone_clip": None, "canonicalizer_clip": None}}
    alone = phases({**ALONE, "epochs": 1})
    found = gradients_of_a_step(monkeypatch, config_of(tmp_path, WITH_DEC, FEW, clip, alone))
    assert {name.partition(".")[0] for name in found} == {"canonicalizer"}
    assert joint_norm(found) == pytest.approx(1e-4, rel=1e-2)


def test_a_whole_batch_is_mixed_before_it_is_cut_into_parts(tmp_path) -> None:
    config = config_of(tmp_path, {"data": {"train_items": 11}, "train": {"batch_size": 11, "epochs": 2}})
    called: list[tuple[int, ...]] = []

    def mix(image: Tensor, label: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        called.append((len(image), epoch, step))
        shares = nn.functional.one_hot(label, 100).float()
        return (image + image.flip(0)) / 2, (shares + shares.flip(0)) / 2

    losses = []
    for count in (1, 3):
        trainer = trainer_of(config)
        trainer.mix, trainer.accumulate = mix, count
        metrics: list[dict[str, float]] = []
        trainer.fit(lambda: None, metrics.append)
        losses.append([one["train_loss"] for one in metrics])
    assert called == [(11, 0, 0), (11, 1, 0)] * 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert fitted(config)[1][0]["train_loss"] != pytest.approx(losses[0][0], rel=1e-4)


def test_training_in_parts_ends_where_training_as_a_whole_ends(tmp_path) -> None:
    settings = {"data": {"train_items": 20}, "train": {"batch_size": 8, "schedule": {"name": "constant"}}}
    (whole, metrics), (parts, in_parts) = (
        fitted(config_of(tmp_path, WITH_DEC, settings, {"train": {"accumulate": count}})) for count in (1, 3)
    )
    for one, other in zip(metrics, in_parts, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["train_residual"] == pytest.approx(other["train_residual"], rel=1e-2)
    assert_close_weights(whole.model.canonicalizer, parts.model.canonicalizer, 2e-3)


@pytest.mark.parametrize(("size", "count"), [(11, 3), (5, 4), (4, 4), (1, 1)])
def test_parts_are_nearly_equal_and_as_many_as_asked_for(size: int, count: int) -> None:
    batch = Batch(torch.arange(size), torch.arange(size) + 100, list(range(size)))
    parts = list(batch.parts(count))
    assert len(parts) == count
    assert torch.equal(torch.cat([part.image for part in parts]), batch.image)
    assert torch.equal(torch.cat([part.label for part in parts]), batch.label)
    assert [item for part in parts for item in part.items] == batch.items
    sizes = [len(part.items) for part in parts]
    assert min(sizes) > 0 and max(sizes) - min(sizes) <= 1


def test_a_seed_gives_its_numbers_and_another_seed_others(tmp_path) -> None:
    drop = {"model": {"options": {"drop_rate": 0.3}}, "data": {"fresh_scales": True}, "warp": {"probability": 0.5}}
    file = recipe(tmp_path, WITH_DEC, drop, {"data": {"train_items": 32}, "train": {"batch_size": 16}})
    train(file, tmp_path / "first")
    torch.rand(5)  # the global generator is somewhere else
    train(file, tmp_path / "second")
    assert_same_run(tmp_path / "first", tmp_path / "second")
    other = train(file, tmp_path / "third", "--random_seed", "7")
    assert other["seed"] == 7
    assert (tmp_path / "third" / "metrics.jsonl").read_text() != (tmp_path / "first" / "metrics.jsonl").read_text()


def test_workers_change_no_number(tmp_path) -> None:
    settings = {"data": {"train_items": 32, "fresh_scales": True}, "train": {"batch_size": 16}}
    results = [fitted(config_of(tmp_path, settings, {"data": {"workers": workers}})) for workers in (0, 2)]
    assert results[0][1] == results[1][1]
    assert_close_weights(results[0][0].model, results[1][0].model, 0)


def test_the_average_of_the_weights_is_kept_and_is_what_counts(tmp_path) -> None:
    config = config_of(tmp_path, WITH_DEC, FEW, {"train": {"ema": 0.75}})
    trainer = trainer_of(config)
    names = [name for name, _ in trainer.model.named_parameters()]
    expected = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    original = Trainer._step

    def step(self: Trainer, *args: Any) -> None:
        original(self, *args)
        for name in names:
            expected[name] = 0.75 * expected[name] + 0.25 * self.model.state_dict()[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        trainer.fit(lambda: None, lambda metrics: None)
    averaged = trainer.evaluated.state_dict()
    assert trainer.evaluated is not trainer.model
    for name in names:
        torch.testing.assert_close(averaged[name], expected[name])
    assert any(not torch.equal(averaged[name], trainer.model.state_dict()[name]) for name in names)


def test_the_saved_weights_are_the_averaged_ones(tmp_path) -> None:
    from models.build import read_weights

    train(recipe(tmp_path, WITH_DEC, FEW, {"train": {"ema": 0.75}}), tmp_path / "run")
    state = load_state(tmp_path / "run")
    assert state is not None
    saved = read_weights(tmp_path / "run" / "model.safetensors")
    assert saved.keys() == state["trainer"]["ema"].keys()
    assert all(torch.equal(saved[name], value) for name, value in state["trainer"]["ema"].items())
    assert any(not torch.equal(saved[name], value) for name, value in state["trainer"]["model"].items())


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_runs_and_stays_near(tmp_path, amp: str) -> None:
    loss = {"loss": {"two_views": True, "phi": {"difference": 1.0, "prior": 1.0}, "equivariance": {"weight": 0.1}}}
    (_, exact), (_, mixed) = (
        fitted(config_of(tmp_path, WITH_DEC, FEW, loss, {"train": {"amp": kind}})) for kind in ("off", amp)
    )
    assert mixed[0]["train_loss"] != exact[0]["train_loss"]
    assert mixed[0]["train_loss"] == pytest.approx(exact[0]["train_loss"], rel=0.02)


@pytest.mark.slow
def test_a_compiled_step_is_the_eager_one(tmp_path) -> None:
    small = {"model": {"options": {"depth": 1}}}
    configs = [config_of(tmp_path, WITH_DEC, FEW, small, {"train": {"compile": value}}) for value in (False, True)]
    (eager, _), (compiled, _) = (fitted(config, steps=1) for config in configs)
    assert eager.model.state_dict().keys() == compiled.model.state_dict().keys()
    assert compiled.tally.means()["loss"] == pytest.approx(eager.tally.means()["loss"], rel=1e-5)
    assert_close_weights(compiled.model.canonicalizer, eager.model.canonicalizer, 1e-3)


def test_phases_switch_at_their_epoch(tmp_path) -> None:
    settings = {
        "model": {"backbone": "test_resnet"},
        "data": {"train_items": 8},
        "train": {
            "batch_size": 8,
            "epochs": 4,
            "phases": [{**ALONE, "epochs": 2}, {}],
            "schedule": {"name": "step", "step_size": 1},
        },
    }
    trainer = trainer_of(config_of(tmp_path, WITH_DEC, settings))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    seen, rates = [], []

    def look(metrics: dict[str, float]) -> None:
        state = trainer.model.state_dict()
        differing = {name for name, value in state.items() if not torch.equal(value, before[name])}
        before.update({name: value.clone() for name, value in state.items()})
        seen.append({name.partition(".")[0] for name in differing})
        rates.append((metrics["backbone_lr"], metrics["canonicalizer_lr"]))

    trainer.fit(lambda: None, look)
    assert seen == [{"canonicalizer"}] * 2 + [{"canonicalizer", "backbone"}] * 2
    backbone_rates, own_rates = zip(*rates, strict=True)
    assert backbone_rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])  # its schedule waits with it
    assert own_rates == pytest.approx([5e-3, 2.5e-3, 1.25e-3, 6.25e-4])


def spoil_from(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int, where: str) -> None:
    """Make the loss, or its gradient alone, NaN from a place on."""
    original = Objective.__call__

    def spoilt(self: Any, model: Any, batch: Any, at_epoch: int, at_step: int, *phase: int) -> Any:
        outcome = original(self, model, batch, at_epoch, at_step, *phase)
        if (at_epoch, at_step) < (epoch, step):
            return outcome
        if where == "loss":
            told = outcome.told | {"loss": outcome.told["loss"] * float("nan")}
            return outcome._replace(loss=outcome.loss * float("nan"), told=told)
        zero = (outcome.loss - outcome.loss.detach()).sqrt()  # 0, with an infinite derivative
        return outcome._replace(loss=outcome.loss + 0 * zero)

    monkeypatch.setattr(Objective, "__call__", spoilt)


CHECKED = {"data": {"train_items": 24}, "train": {"batch_size": 8, "checkpoint_steps": 1}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    train(recipe(folder, CHECKED), folder / "whole")
    return folder / "whole"


@pytest.mark.parametrize(
    ("where", "place", "saved"),
    [
        ("loss", (1, 0), (1, 0)),
        ("loss", (1, 1), (1, 1)),  # a checkpoint within the epoch is due in the step of the NaN
        ("gradient", (1, 0), (1, 0)),  # no loss shows it yet
        ("gradient", (0, 2), (0, 2)),  # nor in the last step of an epoch
    ],
)
def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_state(
    tmp_path, monkeypatch, capsys, whole, where: str, place: tuple[int, int], saved: tuple[int, int]
) -> None:
    file = recipe(tmp_path, CHECKED)
    words = ["--config_file", str(file), "--run_dir", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        spoil_from(patch, *place, where)
        message = refusal(capsys, *words)
    assert f"in epoch {place[0] + 1}" in message and "train.backbone_lr" in message
    state = load_state(tmp_path / "run")
    assert state is not None and (state["trainer"]["place"]["epoch"], state["trainer"]["place"]["step"]) == saved
    assert all(value.isfinite().all() for value in state["trainer"]["model"].values())
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", whole)


def test_the_rhythm_of_evaluations(tmp_path) -> None:
    settings = {"train": {"epochs": 4}, "data": {"train_items": 32}}
    rhythm = {"evaluation": {"every": 1, "full_every": 2, "before_training": True}}
    train(recipe(tmp_path, settings, rhythm), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    kinds = [(line["epoch"], "train_loss" in line, "accuracy" in line, "local_scale_error" in line) for line in lines]
    assert kinds == [
        (0, False, True, True),
        (1, True, True, False),
        (2, True, True, True),
        (3, True, True, False),
        (4, True, False, False),
        (4, False, True, True),
    ]


def test_a_plateau_is_looked_for_in_the_loss_of_the_task(tmp_path, monkeypatch) -> None:
    """As published; the other terms fall or rise with their weights."""
    seen: list[float] = []
    original = Learner.end_epoch
    monkeypatch.setattr(Learner, "end_epoch", lambda self, task: (seen.append(task), original(self, task))[1])
    tasks: list[float] = []
    call = Objective.__call__

    def noted(self: Any, *args: Any, **options: Any) -> Any:
        outcome = call(self, *args, **options)
        tasks.append(float(outcome.told["task"]))
        return outcome

    monkeypatch.setattr(Objective, "__call__", noted)
    # 24 items in batches of 8, so that the mean over batches is the mean over items
    settings = {"loss": {"equivariance": {"weight": 100.0}}, "warp": {"strength": 1.0}, "data": {"train_items": 24}}
    trainer = trainer_of(config_of(tmp_path, settings, {"train": {"batch_size": 8, "epochs": 1}}))
    shown: list[dict[str, float]] = []
    trainer.fit(end_epoch=shown.append)
    assert seen == [pytest.approx(sum(tasks) / 3)]
    assert shown[0]["train_loss"] > seen[0] + 1e-3 and shown[0]["train_task"] == seen[0]
    assert shown[0]["train_loss"] == pytest.approx(seen[0] + 100 * shown[0]["train_equivariance"])


def test_the_task_counts_for_a_plateau_as_it_counts_in_the_loss(tmp_path, monkeypatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(Learner, "end_epoch", lambda self, task: seen.append(task))
    quarter = phases({"terms": {"task": 0.25}})
    _, (shown,) = fitted(config_of(tmp_path, FEW, quarter))
    assert seen == [pytest.approx(0.25 * shown["train_task"])] == [pytest.approx(shown["train_loss"])]


@pytest.mark.parametrize("size", [5, 6])
def test_a_state_of_a_version_that_tallied_otherwise_goes_on(tmp_path, size: int) -> None:
    """Those sums were, over items, of the loss, of what was correct and of the residual; and, later, of the task."""
    trainer = trainer_of(config_of(tmp_path, WITH_DEC))
    state = trainer.state_dict()
    state["place"] |= {"epoch": 1, "tally": torch.tensor([12.0, 3.0, 2.0, 8.0, 8.0, 10.0][:size], dtype=torch.float64)}
    trainer.load_state_dict(state)
    assert trainer.place.epoch == 1
    assert trainer.tally.means() == {"loss": 1.5, "accuracy": 0.375, "residual": 0.25}
    trainer.tally.add({name: torch.tensor(0.5) for name in trainer.tally.names}, 8)
    assert trainer.tally.means() == {"loss": 1.0, "accuracy": 0.4375, "residual": 0.375, "task": 0.5}


@pytest.mark.parametrize("size", [5, 6])
def test_a_state_of_before_that_was_saved_behind_an_epoch_ends_as_it_would_have(tmp_path, size: int) -> None:
    """Then all sums were zero."""
    config = config_of(tmp_path, WITH_DEC, FEW, {"train": {"epochs": 2}})
    whole, _ = fitted(config)
    before, resumed = trainer_of(config), trainer_of(config)
    states: list[dict[str, Any]] = []
    before.fit(lambda: states.append(copy.deepcopy(before.state_dict())))
    states[0]["place"]["tally"] = torch.zeros(size, dtype=torch.float64)
    resumed.load_state_dict(states[0])
    resumed.fit()
    assert_close_weights(resumed.model, whole.model, 0)


def test_half_precision_is_scaled_on_every_device(tmp_path) -> None:
    trainer = trainer_of(config_of(tmp_path, FEW, {"train": {"amp": "fp16"}}))
    assert trainer.scaler.is_enabled() and trainer.scaler.get_scale() == 2**16
    trainer.fit(max_steps=1)
    assert trainer.state_dict()["scaler"]["scale"] > 1


@pytest.mark.parametrize("settings", ["train.backbone_lr=1e30", "train.canonicalizer_lr=1e30"])
def test_a_dec_that_diverges_ends_with_the_advice_for_it(tmp_path, capsys, settings: str) -> None:
    file = recipe(tmp_path, WITH_DEC, {"train": {"backbone_clip": None, "canonicalizer_clip": None}})
    consistent = ["loss.consistency.weight=0.1", "data.train_items=24", "train.batch_size=8"]
    words = ["--config_file", str(file), "--run_dir", str(tmp_path / "run"), *consistent, settings]
    message = refusal(capsys, *words)
    assert "became NaN" in message or "became infinite or NaN" in message
    assert "Try smaller rates (train.backbone_lr, train.canonicalizer_lr)" in message


def test_a_single_item_on_a_map_of_one_pixel_is_told_in_a_line(tmp_path) -> None:
    """Batch norm has no statistics of it; a single item that would be left over joins the batch before it."""
    resnet = {"model": {"backbone": "test_resnet", "image_size": 32}}
    trainer = trainer_of(config_of(tmp_path, resnet, {"data": {"train_items": 9}, "train": {"batch_size": 4}}))
    trainer.fit()
    assert trainer.place.epoch == 2
    alone = trainer_of(config_of(tmp_path, resnet, {"data": {"train_items": 4}, "train": {"batch_size": 1}}))
    with pytest.raises(RunError, match=r"step 1 of epoch 1 computes on 1 item by itself, .* batch_size"):
        alone.fit()


def test_a_learned_width_that_ran_away_is_told_in_a_line(tmp_path: Path) -> None:
    network = {"model": {"backbone": "mnist3_learned_scales", "image_size": 28}}
    trainer = trainer_of(config_of(tmp_path, network, {"data": {"channels": 1}}))
    (widths,) = (module for module in trainer.model.modules() if isinstance(module, ScaleWidths))
    widths.change.data.fill_(-10.0)
    with pytest.raises(RunError, match="step 1 of epoch 1: a learned width ran away"):
        trainer.fit()


def test_a_teacher_is_the_model_as_it_began_and_rests(tmp_path: Path) -> None:
    """Batch norm would go on learning, and a shared weight would follow the model."""
    config = config_of(tmp_path, FEW, {"model": {"backbone": "test_resnet"}, "loss": {"teach": {"weight": 1.0}}})
    trainer = trainer_of(config)
    begun = copy.deepcopy(trainer.model.state_dict())
    trainer.fit(lambda: None, lambda metrics: None, max_steps=2)
    teacher = trainer.objective.teacher
    assert teacher is not None and not teacher.training
    assert all(torch.equal(value, begun[name]) for name, value in teacher.state_dict().items())
    assert not all(torch.equal(value, begun[name]) for name, value in trainer.model.state_dict().items())
    assert all(value.grad is None for value in teacher.parameters())
    assert trainer_of(config_of(tmp_path, FEW)).objective.teacher is None
