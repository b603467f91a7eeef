"""Runs the MNIST script in children that are killed: ``python -m tests.train.kill FILE FOLDER placed|random COUNT``.

The last line of its output is {"kills": [how each ended], "runs": [the folders that were finished in the end]}; the
folder ``whole`` beside them was not disturbed.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

import dataloader.digits.build
import train.runs.run
import train_mnist
from dataloader.digits.single import embedded_digits

SLOW = 0.05  # seconds that a slowed child takes for the syncing of a file


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_fsync(count: int) -> None:
    """Die when the count-th state lies beside its place."""
    original, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        original(descriptor)
        seen += os.readlink(f"/proc/self/fd/{descriptor}").endswith(".state.pt.part")
        if seen == count:
            die()

    os.fsync = fsync  # type: ignore[assignment]


def half_written(count: int) -> None:
    """Die when half of the count-th state is on the disk."""
    original, seen = torch.save, 0

    def save(value: Any, file: BinaryIO) -> None:
        nonlocal seen
        seen += 1
        original(value, file)
        if seen == count:
            file.flush()
            os.ftruncate(file.fileno(), file.tell() // 2)
            die()

    torch.save = save  # type: ignore[assignment]


def before_summary(count: int) -> None:
    """Die behind the last weights."""
    train.runs.run.write_summary = lambda *arguments: die()  # type: ignore[assignment]


def slowed(count: int) -> None:
    """Take long to save, so that a kill at a random moment falls into it."""
    original = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(SLOW)
        original(descriptor)
        time.sleep(SLOW)

    os.fsync = fsync  # type: ignore[assignment]


def start(file: str, folder: Path, prepare: Callable[[], None] | None = None, *words: str) -> int:
    """A child that runs, or goes on with, the recipe."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if prepare is not None:
            prepare()
        train_mnist.main(["--config_file", file, "--run_dir", str(folder), "--resume", *words])
        status = 0
    except SystemExit as end:
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int) -> bool:
    """Wait for a child; True if it was killed, False if it finished; its failure is ours."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status):
        sys.exit("a run failed")
    return False


def killed_after(child: int, seconds: float) -> bool:
    """Whether the child was still running then; it is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
    return ended(child)


def main(file: str, folder: Path, kind: str, count: int) -> None:
    torch.set_num_threads(1)
    dataloader.digits.build.embedded_digits = functools.cache(embedded_digits)
    dataloader.digits.build.embedded_digits(True), dataloader.digits.build.embedded_digits(False)
    kills: list[str] = []
    runs: list[Path] = []
    began = time.monotonic()
    assert not ended(start(file, folder / "whole"))
    length = time.monotonic() - began
    if kind == "placed":
        runs.append(folder / "run")
        places = (("fsync", in_fsync, 1), ("half", half_written, 3), ("summary", before_summary, 1))
        for name, place, number in places[:count]:
            # a worker outlives the kill for some seconds, and must not keep the folder's lock
            child = start(file, runs[-1], functools.partial(place, number), "data.workers=1")
            assert ended(child), f"{name} was never reached"
            kills.append(name)
        assert not ended(start(file, runs[-1]))
    else:
        draw = random.Random(0)
        is_open = False
        while len(kills) < count or is_open:
            if not is_open:
                runs.append(folder / f"run{len(runs)}")
            prepare = functools.partial(slowed, 0) if draw.random() < 0.5 else None
            child = start(file, runs[-1], prepare)
            is_open = killed_after(child, draw.uniform(0, length)) if len(kills) < count else ended(child)
            if is_open:
                kills.append("slowed" if prepare else "random")
    print(json.dumps({"kills": kills, "runs": [str(run) for run in runs]}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
