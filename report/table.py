"""Runs as a table with one row per recipe: ``python -m report.table weights --format markdown``."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from evaluation.measures import MEASURES, described
from report.compare import compare, render_differences
from report.markup import Format, heading, markup, number
from report.runs import Run, collect, tell_unreadable

__all__ = ["Cell", "Row", "collect", "headline", "main", "render", "table"]

NONE = "-"


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over the seeds that have the metric; one seed alone has no deviation."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """One recipe.

    Args:
        seeds: finished.
        unfinished: seeds with a folder but no readable summary, since they run or failed.
        missing: seeds that other rows have finished and this one has no folder of.
        cells: by metric; None where no seed has it.
    """

    recipe: str
    seeds: tuple[int, ...]
    unfinished: tuple[int, ...]
    missing: tuple[int, ...]
    cells: dict[str, Cell | None]


def table(runs: Sequence[Run], metrics: Sequence[str], recipes: Sequence[str] | None = None) -> list[Row]:
    """One row per recipe, in the order stated or else as the runs come."""
    names = list(dict.fromkeys(run.recipe for run in runs)) if recipes is None else list(recipes)
    _check_known("recipe", names, {run.recipe for run in runs})
    shown = [run for run in runs if run.recipe in names]
    finished = {run.seed for run in shown if run.metrics is not None}
    rows = []
    for name in names:
        own = [run for run in shown if run.recipe == name]
        done = {run.seed: run.metrics for run in own if run.metrics is not None}
        rows.append(
            Row(
                name,
                tuple(done),
                tuple(run.seed for run in own if run.metrics is None),
                tuple(sorted(finished - {run.seed for run in own})),
                {metric: _cell([values[metric] for values in done.values() if metric in values]) for metric in metrics},
            )
        )
    return rows


def headline(runs: Sequence[Run]) -> list[str]:
    """What the runs have of the metrics that matter most, and what they have that no description knows."""
    known = dict.fromkeys(name for run in runs for name in run.metrics or ())
    first = [measure.name for measure in MEASURES if measure.is_headline and measure.name in known]
    return first + [name for name in known if described(name) is None]


def render(rows: Sequence[Row], format: Format = "text") -> str:
    """The rows as text; CSV has plain numbers in columns of their own, the others shares in percent."""
    metrics = list(rows[0].cells) if rows else []
    if format == "csv":
        headings = ["recipe", "seeds", "unfinished"]
        headings += [f"{metric}_{part}" for metric in metrics for part in ("mean", "std", "n")]
        return markup(headings, [_plain(row) for row in rows], [], format)
    lines = [
        [row.recipe, str(len(row.seeds)), *(_shown(row, metric, cell) for metric, cell in row.cells.items())]
        for row in rows
    ]
    notes = ["Mean ± sample standard deviation over seeds."]
    for row in rows:
        parts = {"unfinished": row.unfinished, "missing": row.missing}
        found = [f"{word} {', '.join(map(str, seeds))}" for word, seeds in parts.items() if seeds]
        notes += [f"{row.recipe}: seeds {'; '.join(found)}."] if found else []
    return markup(["recipe", "seeds", *map(heading, metrics)], lines, notes, format)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="python -m report.table weights --compare dem_deit aug_deit --format latex"
    )
    parser.add_argument("root", help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--format", choices=get_args(Format), default="text")
    parser.add_argument("--metrics", type=_names, help="names with commas between; the most important ones if left out")
    parser.add_argument("--recipes", type=_names, help="rows in this order, with commas between; all if left out")
    parser.add_argument("--output", type=Path, help="file to write instead of the standard output")
    parser.add_argument("--compare", nargs=2, metavar="RECIPE", help="difference of two recipes on the same items")
    options = parser.parse_args(arguments)
    try:
        text = _text(options)
        if options.output is None:
            sys.stdout.write(text)
        else:
            options.output.write_text(text, "utf-8")
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _text(options: argparse.Namespace) -> str:
    runs = collect(options.root)
    tell_unreadable(runs)
    known = list(dict.fromkeys(name for run in runs for name in run.metrics or {}))
    if options.compare:
        a, b = options.compare
        _check_known("recipe", [a, b], {run.recipe for run in runs})
        found, seeds = compare(runs, a, b)
        chosen = options.metrics or [difference.metric for difference in found]
        _check_known("metric per item", chosen, {difference.metric for difference in found})
        return render_differences([d for d in found if d.metric in chosen], a, b, seeds, options.format)
    metrics = options.metrics or headline(runs)
    _check_known("metric", metrics, set(known))
    return render(table(runs, metrics, options.recipes), options.format)


def _check_known(kind: str, names: Sequence[str], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no run has the {kind} {unknown[0]!r}; there are {', '.join(sorted(known)) or 'none'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _cell(values: Sequence[float]) -> Cell | None:
    if not values:
        return None
    if not all(map(math.isfinite, values)):  # of a seed that diverged; statistics knows no deviation of these
        return Cell(math.nan, math.nan if len(values) > 1 else None, len(values))
    return Cell(sum(values) / len(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _shown(row: Row, metric: str, cell: Cell | None) -> str:
    if cell is None:
        return NONE
    deviation = "" if cell.std is None else f" ± {number(metric, cell.std)}"
    count = "" if cell.count == len(row.seeds) else f" (n = {cell.count})"
    return f"{number(metric, cell.mean)}{deviation}{count}"


def _plain(row: Row) -> list[str]:
    line = [row.recipe, " ".join(map(str, row.seeds)), " ".join(map(str, row.unfinished))]
    for cell in row.cells.values():
        values = (None, None, 0) if cell is None else (cell.mean, cell.std, cell.count)
        line += ["" if value is None else repr(value) for value in values]
    return line


if __name__ == "__main__":
    sys.exit(main())
