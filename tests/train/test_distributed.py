"""Two processes find the numbers of one, up to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from config.schema import ConfigError
from models.build import read_weights
from tests.train.runs import (
    ALONE,
    DEC,
    ENERGY,
    OWN_RATE,
    RESIDUAL,
    Stopped,
    config_of,
    recipe,
    refusal,
    stop_after,
    train,
    trainer_of,
)
from train.distributed import Process

pytestmark = pytest.mark.dist
ROOT = Path(__file__).parents[2]
PUBLISHED = [{"trains": ["canonicalizer"], "epochs": 1, "terms": {"equivariance": 0.0}}, {}]
CALM = {"schedule": {"name": "constant"}, "backbone_lr": 1e-4}
RECIPES: dict[str, dict[str, Any]] = {
    # the last batch has one item: the second process has none
    "base": {"data": {"train_items": 33}, "warp": {"probability": 0.5}, "train": {**CALM, "batch_size": 16}},
    # two and one: the processes cannot cut their shares into as many parts as are asked for
    "dec": {
        "data": {"train_items": 19},
        "method": DEC,
        "loss": {"two_views": True, "phi": {"difference": 0.1, "prior": 0.1}, "equivariance": {"weight": 0.1}},
        "train": {**CALM, **OWN_RATE, "batch_size": 8, "phases": PUBLISHED, "accumulate": 3, "ema": 0.5},
        "evaluation": {"every": 1, "before_training": True},
    },
    "energy": {
        "data": {"train_items": 10},
        "method": ENERGY,
        "loss": {"two_views": True},
        "train": {**CALM, **OWN_RATE, "batch_size": 4, "phases": PUBLISHED},
    },
    "unlabelled": {  # the backbone trains, but does not run
        "data": {"train_items": 16},
        "method": DEC,
        "train": {**CALM, **OWN_RATE, "batch_size": 8, "phases": [{"terms": {"task": 0.0, "consistency": 1.0}}]},
    },
    "undo": {  # neither the backbone nor the solver runs, and the images of a part share their draws
        "data": {"train_items": 16},
        "method": RESIDUAL,
        "loss": {
            "undo": {"weight": 0.1},
            "sibling": {"weight": 1.0, "side": 16},
            "agree": {"weight": 1.0, "side": 16},
            "rest": {"weight": 0.1},
            "orbit": {"evaluations": 2},
        },
        "train": {**CALM, **OWN_RATE, "batch_size": 8, "phases": [{**ALONE, "epochs": 1, "terms": {"task": 0.0}}, {}]},
    },
    "resumed": {"data": {"train_items": 24}, "train": {**CALM, "batch_size": 8, "checkpoint_steps": 1}},
}


def torchrun(folder: Path, jobs: list[dict[str, Any]]) -> None:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", str(port)]
    command = [sys.executable, "-m", "torch.distributed.run", *words, "-m", "tests.train.distribute"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "errors").open("w+") as errors:
        started = subprocess.Popen(
            [*command, str(folder / "jobs.json")], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            code = started.wait(timeout=240)
        except subprocess.TimeoutExpired:
            started.terminate()  # which ends its processes too
            started.wait(timeout=60)
            code = None
        errors.seek(0)
        assert code == 0, "the processes wait for each other" if code is None else errors.read()[-4000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Every recipe in one process, and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    jobs: list[dict[str, Any]] = []

    def job(file: Path, run: str, *words: str, stop: int | None = None) -> None:
        given = ["--config_file", str(file), "--run_dir", str(folder / run), *words]
        jobs.append({"words": given, "stop": stop})

    for name, settings in RECIPES.items():
        file = recipe(folder, settings, name=name)
        train(file, folder / f"{name}-1")
        if name != "resumed":
            job(file, f"{name}-2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder / "from-1-to-2")
    job(file, "from-1-to-2", "--resume")
    job(file, "from-2-to-1", stop=4)
    torchrun(folder, jobs)
    train(file, folder / "from-2-to-1", "--resume")
    return folder


def assert_alike(folder: Path, other: Path) -> None:
    """The same lines and metrics within rounding, and no other items."""
    lines, others = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (folder, other)
    )
    assert [line["epoch"] for line in lines] == [line["epoch"] for line in others]
    for line, expected in zip(lines, others, strict=True):
        # the solver's residual is a small difference of large numbers, and what is undone a ratio of two such
        loose = {name for name in line if "residual" in name or "error" in name or "floor" in name or name == "undone"}
        assert line.keys() == expected.keys()
        for name, value in line.items():
            # and so is a floor, the distance of two predictions that are nearly equal
            close = 0.05 if "floor" in name else 0.02 if name in loose else 1e-3
            # what is undone is 1 less a ratio near 1
            around = 1e-4 if name == "undone" else 1e-6
            assert value == pytest.approx(expected[name], rel=close, abs=around), name
    with np.load(folder / "items.npz") as items, np.load(other / "items.npz") as other_items:
        assert np.array_equal(items["index"], other_items["index"])
    weights, expected_weights = (read_weights(run / "model.safetensors") for run in (folder, other))
    for name, value in weights.items():
        if name.endswith("weight") and name.startswith("backbone."):
            torch.testing.assert_close(value, expected_weights[name], rtol=0, atol=1e-3, msg=name)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "resumed"])
def test_two_processes_find_the_numbers_of_one(runs, name: str) -> None:
    assert_alike(runs / f"{name}-2", runs / f"{name}-1")
    summary = json.loads((runs / f"{name}-2" / "summary.json").read_text())
    assert summary["processes"] == 2


@pytest.mark.parametrize("name", ["from-1-to-2", "from-2-to-1"])
def test_a_run_goes_on_with_another_number_of_processes(runs, name: str) -> None:
    assert_alike(runs / name, runs / "resumed-1")


def test_evaluation_before_training_is_the_same(runs) -> None:
    first, expected = (
        json.loads((runs / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("dec-2", "dec-1")
    )
    assert first.keys() == expected.keys() and first["epoch"] == 0
    for name, value in first.items():
        assert value == pytest.approx(expected[name], rel=1e-3, abs=1e-7), name


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_batch_norms_over_processes_keep_their_activations(name: str, monkeypatch) -> None:
    """timm has norms with an activation inside."""
    model = timm.create_model(name, num_classes=3).eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = model(image)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)  # there may be no CUDA device
    found = Process(0, 2, torch.device("cuda")).place(model)
    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in found.modules())
    torch.testing.assert_close(found(image), expected)


def test_processes_that_see_other_folders_do_not_begin(tmp_path, monkeypatch, capsys) -> None:
    """As on machines where each has an output_dir of its own."""
    monkeypatch.setattr(Process, "all_have", lambda self, value: False)
    message = refusal(capsys, "--config_file", str(recipe(tmp_path)), "--run_dir", str(tmp_path / "run"))
    assert "does not hold the same for all processes; expected one that all machines see" in message


def test_more_processes_than_items_of_a_batch_are_refused(tmp_path) -> None:
    config = config_of(tmp_path, {"train": {"batch_size": 2}})
    with pytest.raises((ConfigError, ValueError), match=r"batch_size is 2 for 3 processes"):
        trainer_of(config, process=Process(0, 3, torch.device("cpu")))
