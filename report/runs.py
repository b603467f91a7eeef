"""The runs below a folder: ``<root>/<recipe>/<seed>/summary.json``, and ``items.npz`` beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUMMARY, ITEMS = "summary.json", "items.npz"
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
    """All runs below a folder, by recipe and seed; folders that are not named like a seed are none."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; expected one that holds <recipe>/<seed>/{SUMMARY}")
    seeds = [folder for folder in root.glob("*/*") if folder.is_dir() and folder.name.isdecimal()]
    runs = [Run(folder.parent.name, int(folder.name), folder, _metrics(folder / SUMMARY)) for folder in seeds]
    if not runs:
        raise ValueError(f"{root} holds no runs; expected <recipe>/<seed>/{SUMMARY} below it")
    return sorted(runs, key=lambda run: (run.recipe, run.seed, run.folder.name))


def _metrics(path: Path) -> dict[str, float] | None:
    try:
        summary = json.loads(path.read_text("utf-8"))
        found = {**{name: summary.get(name) for name in OF_RUN}, **summary["metrics"]}
    except (OSError, ValueError, KeyError, TypeError):  # absent, cut off while it was written, or something else
        return None
    return {name: float(value) for name, value in found.items() if type(value) in (int, float)}
