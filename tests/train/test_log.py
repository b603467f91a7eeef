"""What a run tells: lines of JSON, a summary, and the trackers."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.schema import ConfigError, WandbConfig
from tests.train.runs import Stopped, recipe, refusal, stop_after, train
from train.runs.errors import RunError
from train.runs.log import METRICS, Log, read_summary, write_summary
from train.runs.tracker import build_tracker

ROOT = Path(__file__).parents[2]
FEW: dict[str, Any] = {"data": {"train_items": 16}, "train": {"batch_size": 8}}
STRENGTHS: dict[str, Any] = {"evaluation": {"strengths": [0.1, 0.5]}}  # of which a figure is drawn


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_lines_are_added_and_cut_back(tmp_path) -> None:
    with Log(tmp_path) as log:
        log(1, {"loss": 0.5})
        size = log.size
        log(2, {"loss": 0.25})
    assert lines_of(tmp_path) == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    with Log(tmp_path, size) as log:
        assert lines_of(tmp_path) == [{"epoch": 1, "loss": 0.5}]
        log(2, {"loss": 0.125})
    assert lines_of(tmp_path)[1] == {"epoch": 2, "loss": 0.125}
    with pytest.raises(RunError, match="shorter than when the state was saved"):
        Log(tmp_path, 10_000)
    assert len(lines_of(tmp_path)) == 2
    Log(tmp_path)
    assert lines_of(tmp_path) == []


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Log(None) as log:
        log(1, {"loss": 0.5})
        assert log.size == 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_tells_its_numbers_and_where_they_come_from(tmp_path) -> None:
    summary = train(recipe(tmp_path, FEW), tmp_path / "run", "--random_seed", "3")
    first, second, final = lines_of(tmp_path / "run")
    assert [line["epoch"] for line in (first, second, final)] == [1, 2, 2]
    assert first.keys() == {"epoch", "train_loss", "train_accuracy", "train_task", "backbone_lr"}
    assert {key: value for key, value in final.items() if key != "epoch"} == summary["metrics"]
    assert (summary["recipe"], summary["seed"], summary["epochs"], summary["processes"]) == ("tiny", 3, 2, 1)
    assert summary.keys() >= {"command", "commit", "versions", "hardware", "seconds", "images_per_second"}
    assert summary["seconds"] > 0 and summary["images_per_second"] > 0
    assert read_summary(tmp_path / "run") == summary
    assert read_summary(tmp_path) is None
    (tmp_path / "summary.json").write_text('{"metrics": {"accur')
    with pytest.raises(
        RunError, match=r"summary\.json cannot be read .*; remove it, and --resume ends the run once more"
    ):
        read_summary(tmp_path)


def test_a_summary_tells_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--config", "a b"])
    write_summary(tmp_path, {"recipe": "tiny"})
    summary = read_summary(tmp_path)
    assert summary is not None and summary["command"] == "python train_mnist.py --config 'a b'"
    assert summary["versions"].keys() >= {"python", "torch", "timm"}


@pytest.fixture
def without_network(monkeypatch, tmp_path):
    """W&B without a key, a home, a terminal or a network."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


BLOCK, HEADER = 32768, 7  # of the log format of LevelDB, which W&B writes behind seven bytes of its own


def records_of(file: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, found, piece, at = file.read_bytes(), [], b"", HEADER
    assert data.startswith(b":W&B")
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # padding
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(piece)
            found.append(record)
            piece = b""
    return found


def key_of(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def test_an_offline_run_of_wandb_holds_settings_and_metrics(tmp_path, without_network) -> None:
    file, folder = recipe(tmp_path, FEW, STRENGTHS, {"wandb": {"mode": "offline"}}), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            train(file, folder)
    summary = train(file, folder, "--resume")
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2  # before and behind the stop, and the same run to W&B
    both = [records_of(file) for file in files]
    runs = [record.run for records in both for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {(folder / "wandb_id").read_text()}
    assert {run.display_name for run in runs} == {"tiny-42"}
    config = {key_of(item): json.loads(item.value_json) for item in runs[-1].config.update}
    assert config["tiny"]["train"]["epochs"] == 2 and config["tiny"]["data"]["name"] == "digits"
    rows = [
        {key_of(item): json.loads(item.value_json) for item in record.history.item}
        for record in both[1]
        if record.WhichOneof("record_type") == "history"
    ]
    accuracies = [row["accuracy"] for row in rows if "accuracy" in row]
    assert accuracies == [summary["metrics"]["accuracy"]]
    assert [row["epoch"] for row in rows] == [2, 2, 2]
    kept = next(files[1].parent.glob(f"files/{rows[-1]['final_metrics.path']}"))
    assert dict(json.loads(kept.read_text())["data"]) == pytest.approx(summary["metrics"])
    artifacts = [record.artifact for record in both[1] if record.WhichOneof("record_type") == "artifact"]
    held = {entry.path for one in artifacts for entry in one.manifest.contents}
    assert {"config.yaml", "items.npz", "strengths.png"} <= held
    drawn = next(files[1].parent.glob(f"files/{rows[-1]['strengths.path']}"))
    assert drawn.read_bytes() == (folder / "strengths.png").read_bytes()


def test_online_without_a_key_says_what_to_do_and_asks_nobody(tmp_path, monkeypatch, capsys, without_network) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("the network was asked for"))
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("the user was asked"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    file = recipe(tmp_path, FEW, {"wandb": {"mode": "online"}})
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert "run `wandb login`, or set WANDB_API_KEY; wandb.mode=offline" in message
    assert not (tmp_path / "run" / "wandb").exists()


def test_what_wandb_refuses_is_told_in_one_line(tmp_path, monkeypatch, capsys, without_network) -> None:
    import wandb

    def refuse(**options: Any) -> None:
        raise wandb.errors.CommError("the server is away\nin many words")

    monkeypatch.setattr(wandb, "init", refuse)
    file = recipe(tmp_path, FEW, {"wandb": {"mode": "offline"}})
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert "W&B does not start (the server is away); wandb.mode=offline" in message


@pytest.mark.parametrize("has_key", [False, True])
def test_older_and_newer_versions_of_wandb_are_asked_for_the_key(tmp_path, monkeypatch, has_key: bool) -> None:
    asked = []

    def login(prompt: bool = True, verify: bool = True) -> bool:
        asked.append((prompt, verify))
        return has_key

    run = SimpleNamespace(define_metric=lambda *args, **options: None)
    newer = SimpleNamespace(login=login, init=lambda **options: run, Error=RuntimeError)
    older = SimpleNamespace(
        login=lambda key=None: pytest.fail("this version would prompt"),
        api=SimpleNamespace(api_key="key" if has_key else None),
        init=lambda **options: run,
        Error=RuntimeError,
    )
    for version in (newer, older):
        monkeypatch.setitem(sys.modules, "wandb", version)
        if has_key:
            tracker = build_tracker(WandbConfig(mode="online"), tmp_path, "name", {})
            assert tracker is not None and tracker.run is run
        else:
            with pytest.raises(RunError, match="W&B has no key"):
                build_tracker(WandbConfig(mode="online"), tmp_path, "name", {})
    assert asked == [(False, False)]


def test_disabled_never_imports_wandb(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would fail
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("the network was asked for"))
    assert build_tracker(WandbConfig(), tmp_path, "name", {}) is None


def test_trackio_holds_the_same_values_and_the_table(tmp_path) -> None:
    """By the real script in a process of its own, for trackio reads its folder when it is imported."""
    pytest.importorskip("trackio", reason="the trackio extra is not installed: pip install '.[trackio]'")
    file, folder, kept = recipe(tmp_path, FEW, STRENGTHS), tmp_path / "run", tmp_path / "trackio"
    words = ["--config_file", str(file), "--run_dir", str(folder), "wandb.tracker=trackio", "wandb.mode=offline"]
    environment = {**os.environ, "TRACKIO_DIR": str(kept), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "train_mnist.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (database,) = kept.glob("scale_mnist*.db")
    with sqlite3.connect(database) as opened:
        rows = [json.loads(text) for (text,) in opened.execute("select metrics from metrics order by id")]
    *told, last = rows
    assert told == lines_of(folder)
    summary = read_summary(folder)
    assert summary is not None
    table = {row["metric"]: row["value"] for row in last["final_metrics"]["_value"]}
    assert table == pytest.approx(summary["metrics"])
    assert (kept / "media" / last["strengths"]["file_path"]).stat().st_size > 5000


def test_trackio_is_refused_what_it_has_not() -> None:
    with pytest.raises(ConfigError, match="expected mode offline, and no entity"):
        WandbConfig(tracker="trackio", mode="online")
