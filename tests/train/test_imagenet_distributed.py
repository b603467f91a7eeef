"""Two processes on pictures: the same evaluation to the last bit, the same training up to rounding."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.picture_runs import BROKEN, DEM, METHODS, recipe, train, trained_on, write_pictures
from tests.train.runs import Stopped, note_items, noted_items, stop_after
from tests.train.test_distributed import assert_alike, torchrun

pytestmark = pytest.mark.dist
ROOT = Path(__file__).parents[2]
CALM: dict[str, Any] = {  # dropout draws for a process's part of a batch
    "model": {"options": {"drop_rate": 0.0}},
    "train": {"schedule": {"name": "constant"}, "backbone_lr": 1e-4, "checkpoint_steps": 1},
}
RECIPES: dict[str, dict[str, Any]] = {
    # the last batch has three items, one of which stands in its middle
    "base": {"data": {"train_samples": 19}, "evaluation": {"before_training": True}},
    "dem": {**DEM, "evaluation": {"before_training": True}},
    "broken": {"data": {"train_samples": None}, "train": {"epochs": 1}},
}
RESUMED: dict[str, Any] = {"augmentation": {"auto_augment": "original"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Every recipe in one process, NAME-1, and in two, NAME-2, which evaluate the former too, NAME-eval."""
    folder = tmp_path_factory.mktemp("pictures")
    data, spoiled = write_pictures(folder / "data"), write_pictures(folder / "spoiled")
    for path in (trained_on(spoiled), spoiled / "val" / "disc" / "00_scale_1.4.png"):
        path.write_bytes(BROKEN)
    jobs: list[dict[str, Any]] = []

    def job(file: Path, run: str, *words: str, stop: int | None = None) -> None:
        given = ["--config_file", str(file), "--run_dir", str(folder / run), *words]
        jobs.append({"script": "train_imagenet", "words": given, "stop": stop, "notes": str(folder / f"{run}-items")})

    for name, settings in {**RECIPES, "resumed": RESUMED}.items():
        file = recipe(folder, spoiled if name == "broken" else data, METHODS["aug"], CALM, settings, name=name)
        with pytest.MonkeyPatch.context() as patch:
            note_items(patch, folder / f"{name}-1-items")
            train(file, folder / f"{name}-1")
        if name in RECIPES:
            job(file, f"{name}-2")
            job(file, f"{name}-eval", "--eval_only", f"warm_start={folder / f'{name}-1' / 'model.safetensors'}")
    file = folder / "resumed.yaml"
    with pytest.MonkeyPatch.context() as patch:
        note_items(patch, folder / "from-1-to-2-items")
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder / "from-1-to-2")
    job(file, "from-1-to-2", "--resume")
    job(file, "from-2-to-1", stop=4)
    torchrun(folder, jobs)
    with pytest.MonkeyPatch.context() as patch:
        note_items(patch, folder / "from-2-to-1-items")
        train(file, folder / "from-2-to-1", "--resume")
    return folder


def metrics_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "summary.json").read_text())["metrics"]


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_measure_what_one_measures(runs, name: str) -> None:
    """To the last bit, though the second process has no batch for the temperature nor for the warps."""
    found, expected = metrics_of(runs / f"{name}-eval"), metrics_of(runs / f"{name}-1")
    if name == "broken":
        assert (found.pop("broken"), expected.pop("broken")) == (1, 2)  # one of them is in the training split
    assert found == expected
    with np.load(runs / f"{name}-eval" / "items.npz") as items, np.load(runs / f"{name}-1" / "items.npz") as others:
        assert items.files == others.files
        for key in items.files:
            np.testing.assert_array_equal(items[key], others[key], err_msg=key)


@pytest.mark.parametrize("name", ["base", "dem"])
def test_evaluation_before_training_is_the_same(runs, name: str) -> None:
    first, expected = ((runs / f"{name}-{world}" / "metrics.jsonl").read_text().splitlines()[0] for world in (2, 1))
    assert json.loads(first)["epoch"] == 0 and first == expected


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_to_the_numbers_of_one(runs, name: str) -> None:
    assert_alike(runs / f"{name}-2", runs / f"{name}-1")
    assert json.loads((runs / f"{name}-2" / "summary.json").read_text())["processes"] == 2
    assert noted_items(runs / f"{name}-2-items") == noted_items(runs / f"{name}-1-items")
    assert metrics_of(runs / f"{name}-2").get("broken") == (2 if name == "broken" else None)


@pytest.mark.parametrize("name", ["from-1-to-2", "from-2-to-1"])
def test_a_run_goes_on_with_another_number_of_processes(runs, name: str) -> None:
    assert_alike(runs / name, runs / "resumed-1")
    assert noted_items(runs / f"{name}-items") == noted_items(runs / "resumed-1-items")


# A process that is lost.


def assert_goes_on(file: Path, folder: Path, whole: Path) -> None:
    """The run was broken off with a state, and one process brings it to its end."""
    assert (folder / "state.pt").exists() and not (folder / "summary.json").exists()
    train(file, folder, "--resume")
    assert_alike(folder, whole)


def test_a_process_does_not_wait_for_one_that_was_killed(runs, tmp_path) -> None:
    """Started by hand; whichever is killed, in training or evaluation."""
    file = runs / "resumed.yaml"
    command = [sys.executable, "-m", "tests.train.lose", str(file), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:] + ended.stdout[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(found) == 2
    for run in found:
        assert run["code"] == 1 and run["seconds"] < 60, run
        last = run["told"].splitlines()[-1]
        assert last.startswith("error: another process of this run has ended, so this one cannot go on"), run["told"]
        assert "Traceback" not in run["told"]
        assert_goes_on(file, Path(run["folder"]), runs / "resumed-1")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_ends_when_one_of_its_processes_was_killed(runs, tmp_path, victim: int) -> None:
    file, folder = runs / "resumed.yaml", tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", str(port)]
    command = [sys.executable, "-m", "torch.distributed.run", *words, "-m", "tests.train.lose", str(file)]
    launcher = subprocess.Popen(
        [*command, str(folder), "run"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 120
        while not (folder / "state.pt").exists():
            assert time.monotonic() < end and launcher.poll() is None, "no state"
            time.sleep(0.01)
        os.kill(int((tmp_path / f"run-{victim}.pid").read_text()), signal.SIGKILL)
        launcher.wait(timeout=60)
    finally:
        launcher.terminate()  # which ends its processes too
        errors = launcher.communicate()[1]
    assert launcher.returncode != 0, errors
    assert_goes_on(file, folder, runs / "resumed-1")
