"""Which runs a page is about, what is missing of them, and in which settings they differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any
from zipfile import is_zipfile

import yaml

from config.schema import is_technical
from report.markup import markup
from report.page.members import MEMBERS
from report.page.parts import Section, paragraph, scrolling
from report.runs import ITEMS, METRICS, SETTINGS, SUMMARY, Run, summary_of

NONE = "-"
WANTED = {  # of a run's folder, and what the page lacks without it
    SUMMARY: "its numbers: the run goes on, or broke off",
    SETTINGS: "its settings",
    METRICS: "its training",
    ITEMS: "its intervals",
    MEMBERS: 'its orbits, which --eval_only "evaluation.studies=[members]" writes beside it',
}


def about(runs: Sequence[Run]) -> Section:
    """A line per run, with where its numbers come from."""
    headings = ["run", "seed", "epochs", "seconds of training", "commit", "hardware", "torch", "missing or unreadable"]
    lines = [_line(run) for run in runs]
    notes = [f"Without {name} a run lacks {what}." for name, what in WANTED.items() if _lacks(runs, name)]
    return Section("runs", "Runs", scrolling("Runs", markup(headings, lines, notes, "html")))


def settings(runs: Sequence[Run]) -> Section:
    """Keys whose values are not the same in all recipes."""
    of_recipes = {run.recipe: found for run in reversed(runs) if (found := _settings(run)) is not None}
    named = dict.fromkeys(run.recipe for run in runs)
    recipes = [name for name in named if name in of_recipes]
    if len(recipes) < 2:
        body = paragraph(f"There are no two recipes with a readable {SETTINGS}, whose settings could differ.")
        return Section("settings", "Settings that differ", body)
    keys = sorted(key for key in {*chain.from_iterable(of_recipes.values())} if not is_technical(key))
    rows = [[key, *(of_recipes[name].get(key, NONE) for name in recipes)] for key in keys]
    lines = [row for row in rows if len(set(row[1:])) > 1]
    notes = [f"{len(rows) - len(lines)} others are the same."]
    notes += [f"{name} is left out: its {SETTINGS} cannot be read." for name in named if name not in of_recipes]
    table = markup(["setting", *recipes], lines, notes, "html")
    return Section("settings", "Settings that differ", scrolling("Settings that differ", table))


def _line(run: Run) -> list[str]:
    summary = summary_of(run.folder) or {}
    versions = summary.get("versions")
    told = [
        summary.get("commit"),
        summary.get("hardware"),
        versions.get("torch") if isinstance(versions, dict) else None,
    ]
    numbers = [(run.metrics or {}).get(name) for name in ("epochs", "seconds")]
    missing = [name for name in WANTED if not _has(run, name)]
    return [
        run.recipe,
        str(run.seed),
        *(NONE if value is None else f"{value:.0f}" for value in numbers),
        *(NONE if value is None else str(value) for value in told),
        ", ".join(missing) or "nothing",
    ]


def _has(run: Run, name: str) -> bool:
    path = run.folder / name
    if name == SUMMARY:
        return run.metrics is not None
    if name == SETTINGS:
        return _settings(run) is not None
    return is_zipfile(path) if path.suffix == ".npz" else path.is_file() and path.stat().st_size > 0


def _lacks(runs: Sequence[Run], name: str) -> bool:
    return not all(_has(run, name) for run in runs)


def _settings(run: Run) -> dict[str, str] | None:
    """By dotted key, as YAML on one line; None where they cannot be read."""
    try:
        (recipe,) = yaml.safe_load((run.folder / SETTINGS).read_text("utf-8")).values()
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    return dict(_flat("", recipe)) if isinstance(recipe, dict) else None


def _flat(prefix: str, content: dict[Any, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            found += _flat(f"{prefix}{key}.", value)
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
            found.append((f"{prefix}{key}", text))
    return found
