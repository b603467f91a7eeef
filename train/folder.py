"""A run's folder: who may write to it, and whether a run in it is new, broken off or finished."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from train.checkpoint import STATE, write_whole
from train.errors import RunError
from train.log import SUMMARY

SETTINGS = "config.yaml"
# What may differ when a run goes on: none of it changes a number.
FREE = (
    *("data.root", "data.multi_scale_root", "data.download", "data.workers", "data.broken_limit"),
    *("train.device", "wandb.", "output_dir", "evaluation.batch_size"),
)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; a kill gives it free."""
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise RunError(f"the run folder {folder} cannot be written to ({error.strerror})") from error
    with file:
        try:
            # lockf, not flock: workers that outlive a killed run for some seconds do not inherit it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"another run is writing to {folder}; wait for it, or name another --run_dir") from error
        for part in folder.glob(".*.part"):  # of a run that was killed while it wrote
            part.unlink()
        yield


def claim(folder: Path, settings: str, *, resume: bool) -> None:
    """Write a run's settings into its folder, unless the folder holds another run, or this one and may not go on.

    Args:
        folder: of the run, locked.
        settings: the resolved recipe as YAML.
        resume: go on with what is there.
    """
    kept = [name for name in (SUMMARY, STATE) if (folder / name).exists()]
    if kept and not resume:
        kind = "a finished run" if SUMMARY in kept else "a run that was broken off"
        raise RunError(f"{folder} holds {kind}; go on with it by --resume, name another --run_dir, or remove it")
    path = folder / SETTINGS
    if kept and path.exists():
        old, new = (_flat(yaml.safe_load(text)) for text in (path.read_text(), settings))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        changed = [key for key in changed if not key.partition(".")[2].startswith(FREE)]
        if changed:
            raise RunError(
                f"{folder} was begun with other settings: "
                + ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:5])
                + "; a run goes on with its own, or starts in another --run_dir"
            )
    write_whole(path, lambda file: file.write(settings.encode()))


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        return {prefix: settings}
    return {
        key: value
        for name, part in settings.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }
