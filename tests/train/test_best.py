"""Training that ends by what is watched, with the best weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import train_scale
from config.schema import Config, ConfigError, ModelConfig, Phase, TrainConfig
from tests.train.runs import Stopped, assert_same_run, stop_after
from tests.train.stir_runs import recipe, train, watching
from train.best import Best
from train.distributed import Process
from train.measuring import build_watch


def shown(best: Best, values: Sequence[float]) -> tuple[int, int]:
    """The epoch after which training ends, and the one whose weights are kept."""
    model = nn.Linear(1, 1, bias=False)
    for epoch, value in enumerate(values, start=1):
        model.weight.data.fill_(epoch)
        best.see(value, epoch, model)
        if best.is_over(epoch):
            break
    best.restore(model)
    return epoch, int(model.weight.item())


@pytest.mark.parametrize(
    ("patience", "values", "expected"),
    [
        (2, [0.1, 0.3, 0.2, 0.3, 0.9], (4, 2)),  # an equal value is no better one, and what comes too late is not seen
        (2, [0.1, 0.3, 0.2, 0.4, 0.4, 0.4], (6, 4)),  # a better one begins to wait anew
        (1, [0.0, 0.0], (2, 1)),
        (3, [0.1, 0.2, 0.3], (3, 3)),
        (None, [0.5, 0.1, 0.1, 0.1], (4, 4)),  # the last weights
    ],
)
def test_only_what_is_strictly_better_counts(patience: int | None, values: list[float], expected: tuple) -> None:
    assert shown(Best(patience=patience), values) == expected


def test_a_run_that_has_seen_nothing_is_not_over() -> None:
    best = Best(patience=1)
    assert not best.is_over(0) and best.is_over(1)


def test_what_is_kept_does_not_follow_the_model() -> None:
    model, best = nn.Linear(2, 1), Best(patience=5)
    before = model.weight.detach().clone()
    best.see(0.5, 1, model)
    with torch.no_grad():
        model.weight.add_(1)
    assert torch.equal(best.weights["weight"], before)
    other = Best(patience=5)
    other.load_state_dict(best.state_dict())
    other.restore(model)
    assert torch.equal(model.weight, before) and (other.value, other.epoch) == (0.5, 1)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_run_ends_as_one_of_its_best_epoch(tmp_path, monkeypatch, capsys, ema: float | None) -> None:
    """What is measured and written is what training for so many epochs comes to."""
    file = recipe(tmp_path, {"train": {"ema": ema}})
    with monkeypatch.context() as patch:
        watching(patch, [0.2, 0.6, 0.5, 0.6, 0.9])
        stopped = train(file, tmp_path / "stopped")
    assert "tiny: of 4 epochs, number 2 gives the weights" in capsys.readouterr().out
    whole = train(file, tmp_path / "whole", "train.epochs=2", "train.patience=null")
    assert (stopped["epochs"], stopped["best_epoch"], whole["epochs"]) == (4, 2, 2) and "best_epoch" not in whole
    assert stopped["metrics"] == whole["metrics"]
    weights, others = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("stopped", "whole"))
    assert weights == others
    epochs = lines_of(tmp_path / "stopped")
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4, 4]
    assert [line.get("watched_accuracy") for line in epochs] == [0.2, 0.6, 0.5, 0.6, None]
    assert not any("watched_accuracy" in line for line in lines_of(tmp_path / "whole"))


def test_the_watched_are_the_validation_at_the_sizes_of_training(tmp_path) -> None:
    """An evaluation of that split finds the same accuracy for the weights that were kept."""
    file = recipe(tmp_path, {"train": {"epochs": 6}})
    summary = train(file, tmp_path / "run")
    words = ["evaluation.split=validation", "evaluation.items=null", "--eval_only"]
    train_scale.main(["--config_file", str(file), "--config", "tiny", "--run_dir", str(tmp_path / "run"), *words])
    found = json.loads((tmp_path / "run_eval" / "summary.json").read_text())["metrics"]
    values = [line["watched_accuracy"] for line in lines_of(tmp_path / "run")[:-1]]
    assert found["accuracy"] == max(values) == values[summary["best_epoch"] - 1] > min(values)
    assert "temperature" in summary["metrics"] and "temperature" not in found  # it was fitted on what is judged here


def test_a_run_that_is_broken_off_ends_early_with_the_same_numbers(tmp_path) -> None:
    file = recipe(tmp_path, {"train": {"ema": 0.5, "checkpoint_steps": 1}})
    whole = train(file, tmp_path / "whole")
    assert 1 < whole["best_epoch"] == whole["epochs"] - 2 < 10  # else there would be nothing to lose
    steps = 3 * whole["epochs"]  # an epoch has 96 images, in batches of 32
    for stop in (1, 6, steps - 9):  # the last one two steps before the end, and so behind the best epoch
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, stop)
            with pytest.raises(Stopped):
                train(file, tmp_path / "run", "--resume")
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_run_that_is_killed_when_it_is_over_trains_no_more(tmp_path, monkeypatch) -> None:
    file = recipe(tmp_path)
    train(file, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("train.runs.run.save_items", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            train(file, tmp_path / "run")
    with monkeypatch.context() as patch:
        stop_after(patch, 0)
        train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_nothing_is_watched_where_the_data_have_nothing_for_it() -> None:
    class Data:
        watched = None

    assert build_watch(Data(), Process(0, 1, torch.device("cpu"))) is None


def test_what_patience_does_not_go_with() -> None:
    for settings, words in (
        ({"patience": 0}, "patience is 0; expected null or at least 1"),
        ({"patience": 2, "statistics_steps": 3}, "statistics_steps is set with patience"),
        ({"patience": 2, "phases": (Phase(epochs=1), Phase())}, "patience is 2; it needs a single phase"),
    ):
        with pytest.raises(ValueError, match=words):
            TrainConfig(**settings)
    TrainConfig(patience=2, phases=(Phase(epochs=0), Phase()))
    with pytest.raises(ConfigError, match=r"train.patience is 2; it needs data that are watched"):
        Config(model=ModelConfig(backbone="x"), train=TrainConfig(patience=2))
