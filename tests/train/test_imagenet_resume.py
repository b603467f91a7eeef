"""A run on pictures that was stopped or killed goes on to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.train.picture_runs import DEM, recipe, train, write_pictures
from tests.train.runs import Stopped, assert_same_run, stop_after
from train.loop import Trainer

ROOT = Path(__file__).parents[2]
FULL: dict[str, Any] = {  # all that has a state or draws
    "model": {"options": {"drop_path_rate": 0.2}},
    "train": {
        "epochs": 3,
        "phases": [{"trains": ["canonicalizer"], "epochs": 1, "terms": {"equivariance": 0.0}}, {}],
        "accumulate": 2,
        "layer_decay": 0.75,
        "ema": 0.9,
        "schedule": {"name": "cosine", "warmup_epochs": 1, "warmup_lr": 1e-5},
        "checkpoint_steps": 1,
    },
    "evaluation": {"before_training": True},
}
RESNET: dict[str, Any] = {
    "model": {"backbone": "test_resnet"},
    "warp": {"probability": 0.5},
    "train": {"statistics_steps": 2, "schedule": {"name": "plateau", "patience": 0}, "checkpoint_steps": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The folder above the splits."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """A recipe file and an undisturbed run of it, for two recipes."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for name, settings in {"dem": [DEM, FULL], "resnet": [RESNET]}.items():
        file = recipe(folder, data, *settings, name=name)
        train(file, folder / name)
        found[name] = file, folder / name
    return found


@pytest.mark.parametrize("name, steps", [("dem", 2), ("dem", 7), ("resnet", 4)])  # an epoch has three
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, whole, name: str, steps: int) -> None:
    file, undisturbed = whole[name]
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(Stopped):
            train(file, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    train(file, tmp_path / "run", "--resume", *(["data.workers=2"] if steps == 7 else []))
    assert_same_run(tmp_path / "run", undisturbed)


def kill_once(file: Path, folder: Path, seconds: float) -> bool:
    """Kill the script, in a process of its own, so long after its start, or its first state; False if it ended."""
    command = [sys.executable, "train_imagenet.py", "--config_file", str(file), "--run_dir", str(folder), "--resume"]
    began = folder.exists()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    try:
        while child.poll() is None and not (began or (folder / "state.pt").exists()):
            assert time.monotonic() < end, "no state within two minutes"
            time.sleep(0.005)
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
    finally:
        if child.poll() is None:
            child.kill()
        errors = child.communicate()[1]
    assert child.returncode in (0, -signal.SIGKILL), errors
    return child.returncode != 0


def test_a_kill_changes_no_number(tmp_path, whole) -> None:
    file, undisturbed = whole["dem"]
    killed = kill_once(file, tmp_path / "run", random.Random(0).uniform(0, 0.3))
    assert killed and not (tmp_path / "run" / "summary.json").exists()
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_many_kills_change_no_number(tmp_path, whole) -> None:
    file, undisturbed = whole["dem"]
    generator, kills = random.Random(1), 0
    for number in range(8):  # the first one of each run waits for a state, the others for the imports too
        run = tmp_path / f"run{number // 4}"
        kills += kill_once(file, run, generator.uniform(0, 0.5) if number % 4 == 0 else generator.uniform(5, 12))
    assert kills >= 2
    for number in range(2):
        train(file, tmp_path / f"run{number}", "--resume")
        assert_same_run(tmp_path / f"run{number}", undisturbed)


def test_a_kill_behind_the_last_epoch_changes_no_statistics(data, tmp_path, monkeypatch) -> None:
    file = recipe(tmp_path, data, RESNET)
    train(file, tmp_path / "whole")

    def stop(self: Trainer) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_estimate_statistics", stop)
        with pytest.raises(Stopped):
            train(file, tmp_path / "run")
    train(file, tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
