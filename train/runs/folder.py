"""A run's folder: who may write to it, and whether a run in it is new, broken off or finished."""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import yaml

from config.load import comparable, dump, load_recipes
from config.schema import Config, StudyName, is_technical
from report.runs import ITEMS, SETTINGS, SUMMARY
from train.runs.checkpoint import STATE, WEIGHTS, part_of, write_whole
from train.runs.errors import RunError
from train.runs.tracker import TRACKER_ID

LOCK = ".lock"
STUDIES = tuple(f"{name}.npz" for name in get_args(StudyName))
WRITTEN_WHOLE = (SETTINGS, STATE, WEIGHTS, ITEMS, SUMMARY, TRACKER_ID, *STUDIES)
# Of the settings of every version.
SECTIONS = {"data", "model", "warp", "loss", "train", "evaluation", "wandb", "warm_start", "output_dir"}


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something, unless a run of ours made it: files of these names would be lost there."""
    try:
        held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise RunError(f"the run folder {folder} cannot be read ({error.strerror})") from error
    own = {LOCK, *(part_of(name) for name in WRITTEN_WHOLE)} if _is_empty(folder / LOCK) else set()
    others = sorted(held - own)
    if others and not _is_ours(folder / SETTINGS):
        raise RunError(
            f"{folder} holds {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}, but no {SETTINGS} of a "
            "run; expected a folder that is new, empty, or a run's: name another --run_dir"
        )


def _is_empty(lock: Path) -> bool:
    return lock.is_file() and lock.stat().st_size == 0


def _is_ours(settings: Path) -> bool:
    """Whether a file holds one recipe with all its settings, as every run writes it before anything else."""
    try:
        content = yaml.safe_load(settings.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False
    recipes = list(content.values()) if isinstance(content, dict) else []
    return len(recipes) == 1 and isinstance(recipes[0], dict) and recipes[0].keys() >= SECTIONS


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; a kill gives it free."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise RunError(f"the run folder {folder} cannot be written to ({error.strerror})") from error
    with file:
        try:
            # lockf, not flock: workers that outlive a killed run for some seconds do not inherit it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"another run is writing to {folder}; wait for it, or name another --run_dir") from error
        for name in WRITTEN_WHOLE:  # of a run that was killed while it wrote
            (folder / part_of(name)).unlink(missing_ok=True)
        yield


def claim(folder: Path, name: str, config: Config, *, resume: bool) -> None:
    """Write a run's settings into its folder, unless the folder holds another run, or this one and may not go on.

    Args:
        folder: of the run, locked.
        name: of the recipe.
        config: its settings.
        resume: go on with what is there.
    """
    kept = [file for file in (SUMMARY, STATE) if (folder / file).exists()]
    if kept and not resume:
        kind = "a finished run" if SUMMARY in kept else "a run that was broken off"
        raise RunError(f"{folder} holds {kind}; go on with it by --resume, name another --run_dir, or remove it")
    path = folder / SETTINGS
    if kept and path.exists():
        old, new = _settings(path, config.data.kind), _flat(comparable(config), name)
        changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        changed.sort(key=lambda key: (not key.endswith(".name"), key))  # another method or kind of data says the most
        changed = [key for key in changed if not is_technical(key.partition(".")[2])]
        if changed:
            raise RunError(
                f"{folder} was begun with other settings: "
                + ", ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:5])
                + "; a run goes on with its own, or starts in another --run_dir"
            )
    write_whole(path, lambda file: file.write(dump(name, config).encode()))


def _settings(path: Path, kind: str) -> dict[str, Any]:
    """The settings that a folder was begun with, also those of before under their keys of today."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user did not write them
        ((name, config),) = load_recipes(path, kind=kind)
    return _flat(comparable(config), name)


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    if settings and isinstance(settings, list) and all(isinstance(part, Mapping) for part in settings):
        return {key: value for i, part in enumerate(settings) for key, value in _flat(part, f"{prefix}[{i}]").items()}
    if not isinstance(settings, Mapping):
        return {prefix: settings}
    return {
        key: value
        for name, part in settings.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }
