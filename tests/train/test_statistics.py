"""Batch norm's statistics, estimated anew."""

from __future__ import annotations

import torch
from torch import nn

from tests.train.runs import SINGLE, config_of, trainer_of
from train.statistics import estimated_anew


def test_they_are_the_plain_average_over_all_batches_seen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9))
    model[0].running_mean.fill_(100)
    batches = [5 * torch.randn(16, 3) + 2 for _ in range(4)]
    with estimated_anew(model, SINGLE), torch.no_grad():
        assert model[0].training and not model[1].training
        for batch in batches:
            model(batch)
    torch.testing.assert_close(model[0].running_mean, torch.stack([batch.mean(0) for batch in batches]).mean(0))
    torch.testing.assert_close(model[0].running_var, torch.stack([batch.var(0) for batch in batches]).mean(0))
    assert model[0].momentum == 0.1 and not model[0].training


def test_a_run_ends_with_statistics_of_its_last_weights(tmp_path) -> None:
    resnet = {"model": {"backbone": "test_resnet"}}
    kept, _ = trainer_of(config_of(tmp_path, resnet))
    anew, _ = trainer_of(config_of(tmp_path, resnet, {"train": {"statistics_steps": 3}}))
    kept.fit()
    anew.fit()
    own, other = kept.model.state_dict(), anew.model.state_dict()
    changed = {name for name, value in own.items() if not torch.equal(value, other[name])}
    assert changed and all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    before = {name: value.clone() for name, value in other.items()}
    anew.fit()  # as after a kill behind the last epoch: nothing is left to train, and the same is estimated again
    assert all(torch.equal(value, before[name]) for name, value in anew.model.state_dict().items())
