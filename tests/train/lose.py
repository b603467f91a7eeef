"""Two processes that train on pictures, one of which is killed: ``python -m tests.train.lose FILE FOLDER``.

The last line of its output is a list of {"folder", "code", "seconds", "told"}: of each run, how the other process
ended, how long after the kill, and what it wrote. Under torchrun, with a third word, each process is one of a run in
FOLDER.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

import train.measuring
import train_imagenet
from train.loop import Trainer

SLOW = 0.1  # seconds that a step takes more
PATIENCE = 60.0  # seconds that may pass before the other process has ended


def run(file: str, folder: Path) -> None:
    """Train slowly as one process of two, whose id lies in the folder."""
    original = Trainer._step

    def step(self: Trainer, *given: Any, **options: Any) -> None:
        time.sleep(SLOW)
        original(self, *given, **options)

    Trainer._step = step  # type: ignore[method-assign]
    torch.set_num_threads(1)
    folder.with_name(f"{folder.name}-{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    train_imagenet.main(["--config_file", file, "--run_dir", str(folder), "--resume"])


def die(*given: Any, **options: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start(file: str, folder: Path, rank: int, port: int, *, dies: bool) -> int:
    """A child with the variables that a user sets who starts processes by hand; perhaps it dies in evaluation."""
    child = os.fork()
    if child:
        return child
    place = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    written = os.open(told_by(folder, rank), os.O_CREAT | os.O_WRONLY)
    os.dup2(written, 1)
    os.dup2(written, 2)
    status = 0
    if dies:
        train.measuring.evaluate = die  # type: ignore[assignment]
    try:
        run(file, folder)
    except SystemExit as end:  # as python ends
        print(end.code, file=sys.stderr)
        status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def told_by(folder: Path, rank: int) -> Path:
    return folder.with_name(f"{folder.name}-{rank}.txt")


def await_state(folder: Path) -> None:
    """Until a state was saved in the middle of an epoch."""
    end = time.monotonic() + 2 * PATIENCE
    while not (folder / "state.pt").exists():
        if time.monotonic() > end:
            sys.exit(f"there is no state in {folder}")
        time.sleep(0.01)


def lose(file: str, folder: Path, victim: int, place: str) -> dict[str, Any]:
    """Kill one of two processes, in training or in evaluation, and look at the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dying = victim if place == "evaluation" else None
    children = [start(file, folder, rank, port, dies=rank == dying) for rank in range(2)]
    try:
        await_state(folder)
        if place == "evaluation":
            os.waitid(os.P_PID, children[victim], os.WEXITED | os.WNOWAIT)
    finally:
        os.kill(children[victim], signal.SIGKILL)
        began, other = time.monotonic(), children[1 - victim]
        while os.waitid(os.P_PID, other, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > began + PATIENCE:
                os.kill(other, signal.SIGKILL)
            time.sleep(0.01)
        seconds = time.monotonic() - began
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    told = told_by(folder, 1 - victim).read_text()
    return {"folder": str(folder), "code": codes[1 - victim], "seconds": seconds, "told": told}


def main(file: str, folder: Path) -> None:
    cases = [(0, "training"), (1, "evaluation")]
    print(json.dumps([lose(file, folder / f"{place}-{victim}", victim, place) for victim, place in cases]))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        run(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1], Path(sys.argv[2]))
