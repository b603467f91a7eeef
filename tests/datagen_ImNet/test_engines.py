"""The same set from one process, from several, and from a cluster; after kills too."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from example import write_annotated
from tests.datagen_ImNet.script_runs import SCRIPT, contents, generate, on_annotations, records

COUNT = 48
BATCH = ("--batch_size", 2)
pytestmark = pytest.mark.dist


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotated(tmp_path_factory.mktemp("scenes") / "scenes", COUNT)


@pytest.fixture(scope="module")
def straight(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run in one process that nothing disturbed."""
    output = tmp_path_factory.mktemp("straight")
    done = generate(*on_annotations(annotations, output, *BATCH))
    assert done.returncode == 0, done.stderr
    found = contents(output)
    assert len(found) == 1 + 7 * COUNT
    return found


def started(annotations: Path, output: Path, *more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), *map(str, on_annotations(annotations, output, *BATCH, *more))]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def lines(output: Path) -> int:
    path = output / "val" / "manifest.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_four_workers_make_the_same_set(annotations: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    done = generate(*on_annotations(annotations, tmp_path, *BATCH, "--workers", 4))
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == straight


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_again_and_again_it_ends_with_the_same_set(
    annotations: Path, straight: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    kept: dict[str, os.stat_result] = {}
    for least in (1, 17, 33):  # lines of the manifest at which it is killed
        process = started(annotations, tmp_path, "--workers", workers)
        wait_for(lambda: lines(tmp_path) > least)  # noqa: B023  (called at once)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(family, timeout=20)
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        for name, content in contents(tmp_path).items():
            if name.endswith(".JPEG"):
                assert content == straight[name], f"{name} is half written"
        for name, before in kept.items():
            after = (tmp_path / "val" / name).stat()
            assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), f"{name} was done twice"
        text = (tmp_path / "val" / "manifest.jsonl").read_text("utf-8")
        whole = text[: text.rindex("\n")].splitlines()[1:]
        done = len(whole) - len(whole) % 2
        kept = {name: (tmp_path / "val" / name).stat() for name in files_of(straight, done)}
    done_at_last = generate(*on_annotations(annotations, tmp_path, *BATCH, "--workers", workers))
    assert done_at_last.returncode == 0, done_at_last.stderr
    assert contents(tmp_path) == straight


def files_of(straight: dict[str, bytes], count: int) -> list[str]:
    """Files of the first pictures of a set."""
    found = [json.loads(text) for text in straight["val/manifest.jsonl"].decode().splitlines()[1 : 1 + count]]
    return [entry["file"] for record in found for entry in record["files"].values()]


def test_a_lost_worker_stops_the_run_with_a_message(annotations: Path, straight: dict, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *map(str, on_annotations(annotations, tmp_path, *BATCH, "--workers", 2))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: lines(tmp_path) > 4)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker was killed, perhaps for want of memory" in told and "Traceback" not in told
    assert generate(*on_annotations(annotations, tmp_path, *BATCH)).returncode == 0
    assert contents(tmp_path) == straight


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of two machines of one processor each, which are processes here."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    found = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    try:
        found.add_node(**small)
        yield found.address
    finally:
        found.shutdown()


def actors() -> list[psutil.Process]:
    """Ray's processes that keep weights."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] * ("MapWorker" in str(process.cmdline()))
    return found


def test_a_cluster_makes_the_same_set_though_a_worker_is_killed(
    cluster: str, annotations: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    on_ray = ("--engine", "ray", "--workers", 2, "--ray_address", cluster)
    process = started(annotations, tmp_path, *on_ray)
    wait_for(lambda: len(actors()) == 6)  # two of each stage with weights
    for actor in actors()[::2]:
        actor.kill()
    assert lines(tmp_path) < 1 + COUNT
    assert process.wait(timeout=120) == 0
    assert contents(tmp_path) == straight
    assert records(tmp_path / "val")[-1]["finished"]["groups"] == COUNT
    # what a cluster began, this machine ends, and a stage's complaint comes through
    manifest = tmp_path / "val" / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:7]))
    shutil.rmtree(tmp_path / "val" / "disc")
    (tmp_path / "val" / "disc").write_text("a file where a folder should be")
    refused = generate(*on_annotations(annotations, tmp_path, *BATCH, *on_ray))
    assert refused.returncode == 1
    assert "cannot be written: " in refused.stderr and "Traceback" not in refused.stderr
    too_many = generate(*on_annotations(annotations, tmp_path, *BATCH, *on_ray[:3], 3, *on_ray[4:]))
    assert too_many.returncode == 1 and "3 workers need 3 CPUs; the cluster has 2" in too_many.stderr
