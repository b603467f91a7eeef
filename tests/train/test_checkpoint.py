"""State and weights on disk: whole or not at all, and nothing in them is run."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.build import read_weights
from models.wrapped import WrappedBackbone
from tests.train.runs import WITH_DEC, Stopped, assert_same_run, recipe, refusal, stop_after, train
from train.runs import checkpoint
from train.runs.checkpoint import load_state, save_items, save_state, save_weights, start_from, write_whole
from train.runs.errors import RunError

STATE = {"trainer": {"step": 3}, "log_size": 10}


class Code:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def full(*args: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_saved_is_loaded(tmp_path) -> None:
    assert load_state(tmp_path) is None
    save_state(tmp_path, STATE)
    assert load_state(tmp_path) == {"version": checkpoint.VERSION, **STATE}
    model = nn.Linear(2, 3)
    save_weights(tmp_path, model)
    saved = read_weights(tmp_path / checkpoint.WEIGHTS)
    assert saved.keys() == model.state_dict().keys() and torch.equal(saved["weight"], model.weight)
    save_items(tmp_path, {"index": np.arange(3)})
    with np.load(tmp_path / checkpoint.ITEMS) as items:
        assert items["index"].tolist() == [0, 1, 2]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {checkpoint.STATE, checkpoint.WEIGHTS, checkpoint.ITEMS}


def test_a_full_disk_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(file: Any) -> None:
        file.write(b"ne")
        full()

    with pytest.raises(RunError, match=r"file could not be written \(No space left on device\); what was saved before"):
        write_whole(path, write)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_torch_on_a_really_full_disk(tmp_path, monkeypatch) -> None:
    save_state(tmp_path, STATE)
    part = tmp_path / f".{checkpoint.STATE}.part"
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": original(Path("/dev/full") if self == part else self, mode)
    )
    with pytest.raises(RunError, match=r"state.pt could not be written"):
        save_state(tmp_path, {"trainer": torch.zeros(100_000), "log_size": 0})
    assert load_state(tmp_path) == {"version": checkpoint.VERSION, **STATE}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["cut", "empty", "text", "tensor", "version", "keys", "code", "code in an archive"])
def test_a_foreign_state_is_refused_and_not_run(tmp_path, kind: str) -> None:
    path, mark = tmp_path / checkpoint.STATE, tmp_path / "mark"
    save_state(tmp_path, STATE)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("epoch: 3\n")
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "version":
        torch.save({"version": 0, **STATE}, path)
    elif kind == "keys":
        torch.save({"version": checkpoint.VERSION}, path)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"version": checkpoint.VERSION, "trainer": Code(mark), "log_size": 0}))
    else:
        torch.save({"version": checkpoint.VERSION, "trainer": Code(mark), "log_size": 0}, path)
    with pytest.raises(RunError, match=r"state.pt (is broken or no state of a run|was not written by this version)"):
        load_state(tmp_path)
    assert not mark.exists()


class Adapted(WrappedBackbone):
    def __init__(self, own: int | None = None, features: int = 2) -> None:
        super().__init__(nn.Linear(features, 2))
        if own:
            self.canonicalizer = nn.Linear(own, 1)


@pytest.mark.parametrize(
    ("parent", "child", "taken"), [(3, 3, True), (3, 4, False), (None, 3, False), (3, None, False), (None, None, False)]
)
def test_another_runs_weights_start_the_backbone_and_an_equal_canonicalizer(parent, child, taken) -> None:
    source, model = Adapted(parent), Adapted(child)
    before = None if child is None else model.canonicalizer.weight.clone()
    is_all = start_from(model, source.state_dict(), "there")
    assert is_all == (parent is None or parent == child)  # a canonicalizer that is left behind is told
    assert torch.equal(model.backbone.weight, source.backbone.weight)
    if child is not None:
        assert torch.equal(model.canonicalizer.weight, before) != taken
        if taken:
            assert torch.equal(model.canonicalizer.weight, source.canonicalizer.weight)


def test_weights_of_another_backbone_are_refused() -> None:
    with pytest.raises(RunError, match=r"there does not fit the backbone: of 2 tensors 1 are missing.*backbone.weight"):
        start_from(Adapted(), Adapted(features=3).state_dict(), "there")


def interrupted(tmp_path: Path, settings: dict[str, Any]) -> tuple[Path, Path, list[str]]:
    """A run that was stopped in its second epoch, and the words that go on with it."""
    file, folder = recipe(tmp_path, settings), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder)
    return file, folder, ["--config_file", str(file), "--run_dir", str(folder), "--resume"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    train(recipe(folder), folder / "whole")
    return folder / "whole"


@pytest.mark.parametrize("what", ["state.pt", "model.safetensors", "items.npz", "summary.json"])
def test_a_disk_that_fills_up_ends_a_run_that_can_go_on(tmp_path, monkeypatch, capsys, whole, what: str) -> None:
    file, folder, words = interrupted(tmp_path, {})
    original = checkpoint.os.replace

    def replace(part: Path, path: Path) -> None:
        if Path(path).name == what:
            full()
        original(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", replace)
        message = refusal(capsys, *words)
    assert f"{what} could not be written (No space left on device)" in message
    assert load_state(folder) is not None and not list(folder.glob(".*.part"))
    train(file, folder, "--resume")
    assert_same_run(folder, whole)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_metrics_on_a_full_disk(tmp_path, monkeypatch, capsys) -> None:
    _, folder, words = interrupted(tmp_path, {})
    original, metrics = Path.open, folder / "metrics.jsonl"
    opened = 0

    def to_full(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        nonlocal opened
        opened += self == metrics
        return original(Path("/dev/full") if self == metrics and opened > 1 else self, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", to_full)
        message = refusal(capsys, *words)
    assert "metrics.jsonl cannot be written to (No space left on device)" in message
    assert load_state(folder) is not None


def test_a_broken_state_stops_the_run_with_one_line(tmp_path, capsys) -> None:
    _, folder, words = interrupted(tmp_path, {})
    state = folder / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    message = refusal(capsys, *words)
    assert "state.pt is broken or no state of a run; remove it to start this run again" in message


def test_a_state_of_another_recipe_stops_the_run_with_one_line(tmp_path, capsys) -> None:
    (tmp_path / "other").mkdir()
    _, other, _ = interrupted(tmp_path / "other", {})
    _, folder, words = interrupted(tmp_path, WITH_DEC)
    (folder / "state.pt").write_bytes((other / "state.pt").read_bytes())
    assert "the saved state belongs to another model or recipe" in refusal(capsys, *words)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth", "code.pth", "absent.safetensors"])
def test_broken_weights_to_start_from_stop_the_run_with_one_line(tmp_path, capsys, name: str) -> None:
    source, mark = tmp_path / name, tmp_path / "mark"
    if name == "broken.safetensors":
        save_weights(tmp_path, nn.Linear(2, 2))
        source.write_bytes((tmp_path / checkpoint.WEIGHTS).read_bytes()[:-7])
    elif name == "broken.pth":
        torch.save(nn.Linear(2, 2).state_dict(), source)
        source.write_bytes(source.read_bytes()[:-100])
    elif name == "code.pth":
        source.write_bytes(pickle.dumps(Code(mark)))
    file = recipe(tmp_path, {"warm_start": str(source)})
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert name in message
    assert not mark.exists()


def test_a_warm_start_says_which_canonicalizer_it_leaves_behind(tmp_path, capsys) -> None:
    few = {"data": {"train_items": 16}, "train": {"epochs": 1}}
    train(recipe(tmp_path, WITH_DEC, few), tmp_path / "parent")
    weights = tmp_path / "parent" / "model.safetensors"
    told = f"{weights} has a canonicalizer that this recipe has not: only its backbone is taken over"
    changes = (
        ([], False),
        (["method.channels=[1, 6]"], True),
        (["method.name=none", "train.canonicalizer_lr=null"], True),
    )
    for words, is_left in changes:
        capsys.readouterr()
        train(
            recipe(tmp_path, WITH_DEC, few), tmp_path / f"child{len(words)}{is_left}", f"warm_start={weights}", *words
        )
        assert (told in capsys.readouterr().out) == is_left
