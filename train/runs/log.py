"""What a run tells: JSON lines in its folder, a progress bar, and W&B where it is asked for."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from config.schema import WandbConfig
from report.runs import METRICS, SUMMARY
from train.runs.checkpoint import write_whole
from train.runs.errors import RunError
from train.runs.origin import origin

WANDB_ID = "wandb_id"


class Log:
    """The metrics of a run, one JSON line per call, and the same in W&B.

    Args:
        folder: of the run; None keeps nothing (processes but the first, and dry runs).
        size: bytes of ``metrics.jsonl`` that belong to the state which the run goes on from; the rest is cut off.
        wandb_run: W&B's run, where it is used; it ends with the ``with`` block.
    """

    def __init__(self, folder: Path | None, size: int = 0, wandb_run: Any = None):
        self.wandb_run = wandb_run
        self.summary: Mapping[str, Any] = {}  # of W&B's run
        self.path = None if folder is None else folder / METRICS
        if self.path is not None:
            with self._opened() as file:
                if file.tell() < size:
                    raise RunError(
                        f"{self.path} is shorter than when the state was saved; remove the run to start again"
                    )
                file.truncate(size)

    def __call__(self, epoch: int, values: Mapping[str, float | int]) -> None:
        """Log values of an epoch."""
        line = {"epoch": epoch, **values}
        if self.path is not None:
            with self._opened() as file:
                file.write((json.dumps(line) + "\n").encode())
        if self.wandb_run is not None:
            self.wandb_run.log(line)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return 0 if self.path is None else self.path.stat().st_size

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.wandb_run is not None:
            self.wandb_run.summary.update(dict(self.summary))
            self.wandb_run.finish(exit_code=0 if kind is None else 1)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        assert self.path is not None
        try:
            with self.path.open("ab") as file:
                yield file
        except OSError as error:  # a full disk shows when the file is closed
            raise RunError(
                f"{self.path} cannot be written to ({error.strerror}); what was saved before is still there"
            ) from error


def build_wandb(config: WandbConfig, folder: Path, name: str, settings: Mapping[str, Any]) -> Any:
    """W&B's run, or None; a run that goes on after a kill keeps its identity."""
    if config.mode == "disabled":
        return None
    import wandb  # takes a second, which runs without it need not pay

    if config.mode == "online" and not _has_key(wandb):
        raise RunError(
            "wandb.mode is online, but W&B has no key: run `wandb login`, or set WANDB_API_KEY; wandb.mode=offline and "
            "wandb.mode=disabled need none"
        )
    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            mode=config.mode,
            name=name,
            dir=folder,
            config=dict(settings),
            resume="allow",
            id=_wandb_id(folder),
        )
    except wandb.Error as error:  # a wrong key, or no connection
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"W&B does not start ({reason}); wandb.mode=offline needs neither key nor network") from error
    run.define_metric("*", step_metric="epoch")
    return run


def _has_key(wandb: Any) -> bool:
    """Whether W&B has a key, without asking anybody for one."""
    if "prompt" in inspect.signature(wandb.login).parameters:  # in newer versions, which give up wandb.api
        return wandb.login(prompt=False, verify=False)
    return wandb.api.api_key is not None


def _wandb_id(folder: Path) -> str:
    path = folder / WANDB_ID
    if not path.exists():
        write_whole(path, lambda file: file.write(os.urandom(4).hex().encode()))
    return path.read_text()


def write_summary(folder: Path, values: Mapping[str, Any]) -> None:
    """Close a run: its last metrics, and all that tells where they come from."""
    summary = {**values, **origin()}
    text = json.dumps(summary, indent=1) + "\n"
    write_whole(folder / SUMMARY, lambda file: file.write(text.encode()))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run, or None."""
    path = folder / SUMMARY
    return json.loads(path.read_text()) if path.exists() else None
