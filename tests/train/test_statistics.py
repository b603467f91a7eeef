"""Batch norm's statistics, estimated anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dataloader.order import BatchOrder
from tests.train.runs import ALONE, DEC, SEED, SINGLE, WITH_DEC, config_of, phases, trainer_of
from train.loop import Trainer
from train.statistics import estimated_afresh, train_what_trains


def test_they_are_the_plain_average_over_all_batches_seen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9))
    model[0].running_mean.fill_(100)
    batches = [5 * torch.randn(16, 3) + 2 for _ in range(4)]
    with estimated_afresh(model, SINGLE), torch.no_grad():
        assert model[0].training and not model[1].training
        for batch in batches:
            model(batch)
    torch.testing.assert_close(model[0].running_mean, torch.stack([batch.mean(0) for batch in batches]).mean(0))
    torch.testing.assert_close(model[0].running_var, torch.stack([batch.var(0) for batch in batches]).mean(0))
    assert model[0].momentum == 0.1 and not model[0].training


def test_a_run_ends_with_statistics_of_its_last_weights(tmp_path) -> None:
    resnet = {"model": {"backbone": "test_resnet"}}
    kept = trainer_of(config_of(tmp_path, resnet))
    anew = trainer_of(config_of(tmp_path, resnet, {"train": {"statistics_steps": 3}}))
    kept.fit()
    anew.fit()
    own, other = kept.model.state_dict(), anew.model.state_dict()
    changed = {name for name, value in own.items() if not torch.equal(value, other[name])}
    assert changed and all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    before = {name: value.clone() for name, value in other.items()}
    anew.fit()  # as after a kill behind the last epoch: nothing is left to train, and the same is estimated again
    assert all(torch.equal(value, before[name]) for name, value in anew.model.state_dict().items())


def fitted(trainer: Trainer) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The batches that statistics were estimated from, when the model did not learn, and the state at the end."""
    seen: list[Tensor] = []
    hook = trainer.model.register_forward_pre_hook(
        lambda model, given: None if model.training else seen.append(given[0].clone())
    )
    trainer.fit()
    hook.remove()
    return seen, trainer.model.state_dict()


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (7, 1)])
def test_they_are_of_the_last_views_in_the_next_order_wherever_a_loader_stands(
    tmp_path, place: tuple[int, int]
) -> None:
    """So a run that was stopped behind its last epoch, and goes on there, ends as it would have."""
    fresh = {"data": {"train_items": 40, "fresh_scales": True}, "train": {"batch_size": 16, "statistics_steps": 2}}
    config = config_of(tmp_path, {"model": {"backbone": "test_resnet"}}, fresh)
    whole = trainer_of(config)
    seen, state = fitted(whole)

    order = BatchOrder(whole.order.items, 16, SEED)
    order.seek(2)  # of the epochs 0 and 1, which the weights come from
    data = whole.loader.dataset
    data.set_epoch(1)
    expected = [torch.stack([data[item][0] for item in batch]) for batch in order][:2]
    assert len(seen) == 2 and all(map(torch.equal, seen, expected))

    resumed = trainer_of(config)
    resumed.load_state_dict(whole.state_dict())
    resumed.order.seek(*place)
    resumed.loader.dataset.set_epoch(place[0])
    again, other = fitted(resumed)
    assert len(again) == 2 and all(map(torch.equal, again, expected))
    assert all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("mode", ["head", "partial"])
def test_what_is_frozen_keeps_its_statistics(tmp_path, mode: str, steps: int) -> None:
    """Also where statistics are estimated anew at the end: they belong to weights that did not move."""
    train = {"finetune": mode, "statistics_steps": steps, "canonicalizer_lr": 0.01}
    dec = {**DEC, "sites": [{"stage": 1, "grid_size": 4}]}
    trainer = trainer_of(config_of(tmp_path, {"model": {"backbone": "test_resnet"}, "method": dec, "train": train}))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.fit()
    after = trainer.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    trained = "backbone.fc." if mode == "head" else "backbone.layer2."
    of_backbone = {name for name in changed if name.startswith("backbone.")}
    assert of_backbone and all(name.startswith(trained) for name in of_backbone)
    if mode == "partial":
        assert any(name.endswith("running_mean") for name in of_backbone)  # of the part that trains


def test_a_part_rests_with_all_below_it_where_nothing_of_it_trains() -> None:
    frozen = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2, affine=False)))
    model = nn.Sequential(frozen, nn.Dropout(), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)))
    frozen.requires_grad_(False)
    assert train_what_trains(model) == ["0"]
    assert not any(part.training for part in frozen.modules())
    assert all(part.training for part in [model, model[1], *model[2].modules()])
    frozen.requires_grad_(True)
    assert train_what_trains(model) == [] and all(part.training for part in model.modules())


UNLABELLED = {"trains": ["canonicalizer"], "terms": {"task": 0.0, "consistency": 1.0}}


@pytest.mark.parametrize("several", [[ALONE], [UNLABELLED], [{"epochs": 1}, UNLABELLED]], ids=["task", "none", "last"])
def test_a_backbone_that_rests_or_does_not_run_keeps_its_statistics(tmp_path, several: list[dict[str, Any]]) -> None:
    settings = [{"model": {"backbone": "test_resnet"}, "data": {"train_items": 16}}, WITH_DEC, phases(*several)]
    kept = trainer_of(config_of(tmp_path, *settings))
    anew = trainer_of(config_of(tmp_path, *settings, {"train": {"statistics_steps": 2}}))
    for trainer in (kept, anew):
        for name, value in trainer.model.named_buffers():
            if name.endswith("running_mean"):
                value.fill_(0.1)
        trainer.fit()
    other = anew.model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in kept.model.state_dict().items())


def test_statistics_are_of_the_last_phase_that_has_epochs(tmp_path) -> None:
    empty = phases({"epochs": 2}, {"epochs": 0, "terms": {"task": 0.0}})
    settings = [{"model": {"backbone": "test_resnet"}, "data": {"train_items": 16}}, {"train": {"statistics_steps": 2}}]
    ends = [trainer_of(config_of(tmp_path, *settings, *more)) for more in ([], [empty])]
    for trainer in ends:
        trainer.fit()
    one, other = (trainer.model.state_dict() for trainer in ends)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
