"""The runs below a folder: ``<root>/<recipe>/<seed>/summary.json``, and ``items.npz`` beside it."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

SUMMARY, ITEMS, SETTINGS, METRICS = "summary.json", "items.npz", "config.yaml", "metrics.jsonl"
OF_RUN = ("seconds", "epochs", "parameters")  # what a summary tells beside its metrics


@dataclass(frozen=True)
class Run:
    """One run, named by its folders.

    Args:
        metrics: of the summary, with its ``seconds``, ``epochs`` and ``parameters``; None if there is no readable
            summary, so the run is unfinished.
    """

    recipe: str
    seed: int
    folder: Path
    metrics: dict[str, float] | None


def collect(root: str | Path) -> list[Run]:
    """All runs below a folder, by recipe and seed.

    Folders that are not named like a seed are none, nor are those that a suite's table and figure stand in.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; expected one that holds <recipe>/<seed>/{SUMMARY}")
    runs = [_single(folder) for folder in root.glob("*/*") if folder.name.isdecimal() and _is_run(folder)]
    if not runs:
        raise ValueError(f"{root} holds no runs; expected <recipe>/<seed>/{SUMMARY} below it")
    return sorted(runs, key=lambda run: (run.recipe, run.seed, run.folder.name))


def collect_all(paths: Sequence[str | Path]) -> list[Run]:
    """All runs of several places: folders as ``collect`` takes them, folders of one recipe, and folders of one run."""
    runs = [run for path in map(Path, paths) for run in _below(path)]
    seen: dict[tuple[str, int], Path] = {}
    for run in runs:
        other = seen.setdefault((run.recipe, run.seed), run.folder)
        if other.resolve() != run.folder.resolve():
            raise ValueError(
                f"{other} and {run.folder} are both {run.recipe} with seed {run.seed}; expected one of them"
            )
    return list({run.folder.resolve(): run for run in runs}.values())  # one that is given twice stands there once


def summary_of(folder: Path) -> dict[str, Any] | None:
    """All that a run's summary says, or None where it is absent, was cut off, or is something else."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and isinstance(summary.get("metrics"), dict) else None


def tell_unreadable(runs: Sequence[Run]) -> None:
    """Name every summary that is there and cannot be read; a run that goes on, or broke off, has none."""
    for path in (run.folder / SUMMARY for run in runs if run.metrics is None):
        if path.exists():
            print(f"{path} cannot be read; its run counts as unfinished", file=sys.stderr)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What an .npz file holds; one that was cut off is a ValueError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _below(path: Path) -> list[Run]:
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; expected one of a run, of a recipe's runs, or of many recipes' runs")
    if _is_run(path):
        return [_single(path.resolve())]
    seeds = [folder for folder in path.iterdir() if folder.name.isdecimal() and _is_run(folder)]
    return sorted(map(_single, seeds), key=lambda run: run.seed) if seeds else collect(path)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (SUMMARY, SETTINGS, METRICS))


def _single(folder: Path) -> Run:
    """The run of a folder; one that ``--run_dir`` named otherwise than by recipe and seed is named by its summary."""
    if folder.name.isdecimal():
        return Run(folder.parent.name, int(folder.name), folder, _metrics(folder))
    summary = summary_of(folder) or {}
    if not isinstance(summary.get("seed"), int):
        raise ValueError(f"{folder} has no readable {SUMMARY} that tells its seed, nor is it named <recipe>/<seed>")
    return Run(str(summary.get("recipe", folder.name)), summary["seed"], folder, _metrics(folder))


def _metrics(folder: Path) -> dict[str, float] | None:
    summary = summary_of(folder)
    if summary is None:
        return None
    found = {**{name: summary.get(name) for name in OF_RUN}, **summary["metrics"]}
    return {name: float(value) for name, value in found.items() if type(value) in (int, float)}
