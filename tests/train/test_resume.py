"""A run that was stopped goes on to the numbers of one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.train.runs import WITH_DEC, Stopped, assert_same_run, recipe, refusal, stop_after, train

ROOT = Path(__file__).parents[2]
SCHEDULES: dict[str, dict[str, Any]] = {
    "plateau": {"name": "plateau", "patience": 0},
    "step": {"name": "step", "step_size": 1},
    "cyclic": {"name": "cyclic", "step_size": 2},
    "cosine": {"name": "cosine", "warmup_epochs": 2, "warmup_lr": 1e-5},
    "constant": {"name": "constant"},
}
FULL: dict[str, Any] = {  # all that has a state
    "model": {"backbone": "test_resnet", "options": {"drop_rate": 0.2}},
    "data": {"train_items": 40, "fresh_scales": True},
    "warp": {"probability": 0.5},
    "loss": {
        "two_views": True,
        "teach": {"weight": 0.5},
        "phi": {"difference": 0.1, "difference_increment": 0.5, "prior": 0.1},
    },
    "train": {
        "epochs": 3,
        "phases": [{"trains": ["canonicalizer"], "epochs": 1}, {}],
        "batch_size": 16,
        "ema": 0.9,
        "schedule": {"name": "plateau", "patience": 0},
        "checkpoint_steps": 2,
    },
    "evaluation": {"every": 1, "full_every": 2, "before_training": True, "items": 4},
}


def stopped(file: Path, folder: Path, steps: int, *words: str) -> None:
    """Run until some steps were taken."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(Stopped):
            train(file, folder, *words)
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_goes_on_as_it_would_have(tmp_path, schedule: str) -> None:
    settings = {
        "data": {"train_items": 24},
        "train": {"epochs": 4, "batch_size": 8, "checkpoint_steps": 2, "schedule": SCHEDULES[schedule]},
    }
    file = recipe(tmp_path, settings)
    train(file, tmp_path / "whole")
    stopped(file, tmp_path / "run", 5)  # two steps into the second epoch, which were saved
    stopped(file, tmp_path / "run", 3, "--resume")  # behind the first step of the third
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["backbone_lr"] for line in lines if "backbone_lr" in line]
    assert len(set(rates)) == 1 if schedule == "constant" else len(rates) == 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A file with the fullest recipe, and an undisturbed run of it."""
    folder = tmp_path_factory.mktemp("whole")
    file = recipe(folder, WITH_DEC, FULL)
    train(file, folder / "whole")
    return file, folder / "whole"


@pytest.mark.parametrize("steps", [0, 4, 7])  # an epoch has three
def test_dec_goes_on_from_any_place(tmp_path, whole, steps: int) -> None:
    file, undisturbed = whole
    stopped(file, tmp_path / "run", steps)
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", undisturbed)


def test_dec_goes_on_from_many_stops(tmp_path, whole) -> None:
    file, undisturbed = whole
    for steps in (3, 2, 1):
        stopped(file, tmp_path / "run", steps, "--resume")  # which starts a run where there is none
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", undisturbed)


def test_the_metrics_are_cut_back_to_the_state(tmp_path, whole) -> None:
    file, undisturbed = whole
    stopped(file, tmp_path / "run", 7)
    metrics = tmp_path / "run" / "metrics.jsonl"
    with metrics.open("a") as written:
        written.write('{"epoch": 3, "train_loss": 9}\n{"epoch": 3, "tra')
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", undisturbed)


def test_metrics_that_were_lost_are_missed(tmp_path, whole, capsys) -> None:
    file, _ = whole
    stopped(file, tmp_path / "run", 4)
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"), "--resume")
    assert "metrics.jsonl is shorter than when the state was saved" in message


def test_a_run_that_goes_on_does_not_need_its_parent_any_more(tmp_path) -> None:
    train(recipe(tmp_path, name="parent"), tmp_path / "parent")
    weights = tmp_path / "parent" / "model.safetensors"
    file = recipe(tmp_path, {"warm_start": str(weights)}, name="child")
    train(file, tmp_path / "whole")
    stopped(file, tmp_path / "run", 4)
    weights.unlink()
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def killed(tmp_path: Path, kind: str, count: int) -> dict[str, Any]:
    """Runs in processes of their own, killed so many times in all; see kill.py."""
    file = recipe(tmp_path, WITH_DEC, FULL)
    command = [sys.executable, "-m", "tests.train.kill", str(file), str(tmp_path), kind, str(count)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:] + ended.stdout[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(found["kills"]) == count
    for run in found["runs"]:
        assert_same_run(Path(run), tmp_path / "whole")
    return found


def test_three_kills_change_no_number(tmp_path) -> None:
    found = killed(tmp_path, "placed", 3)
    # when a state is written but not in its place yet, in the middle of writing one, and between weights and summary
    assert found["kills"] == ["fsync", "half", "summary"]


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_number(tmp_path) -> None:
    found = killed(tmp_path, "random", 20)
    assert len(found["runs"]) >= 2
