"""What a run tells: JSON lines in its folder, and a tracker where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from report.runs import METRICS, SUMMARY
from train.runs.checkpoint import write_whole
from train.runs.errors import RunError
from train.runs.origin import origin
from train.runs.tracker import Tracker


class Log:
    """The metrics of a run, one JSON line per call, and the same in a tracker.

    Args:
        folder: of the run; None keeps nothing (processes but the first, and dry runs).
        size: bytes of ``metrics.jsonl`` that belong to the state which the run goes on from; the rest is cut off.
        tracker: W&B's run or trackio's, where one is used; it ends with the ``with`` block.
    """

    def __init__(self, folder: Path | None, size: int = 0, tracker: Tracker | None = None):
        self.tracker = tracker
        self.summary: Mapping[str, Any] = {}  # that the tracker is told in the end
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
        if self.tracker is not None:
            self.tracker.log(line)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return 0 if self.path is None else self.path.stat().st_size

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self.tracker is not None:
            self.tracker.close(self.summary, is_whole=kind is None)

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


def write_summary(folder: Path, values: Mapping[str, Any]) -> None:
    """Close a run: its last metrics, and all that tells where they come from."""
    summary = {**values, **origin()}
    text = json.dumps(summary, indent=1) + "\n"
    write_whole(folder / SUMMARY, lambda file: file.write(text.encode()))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run, or None."""
    path = folder / SUMMARY
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else None
    except ValueError as error:
        raise RunError(f"{path} cannot be read ({error}); remove it, and --resume ends the run once more") from error
