"""The table of a protocol: what every network costs, and what it knows, with its spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from report.markup import Format, markup
from report.scale.protocol import ScaleRun, by_recipe, require_one_protocol

NONE = "-"
Runs = Sequence[ScaleRun]


def _metric(name: str, show: Callable[[list[float]], str]) -> Callable[[Runs], str]:
    """A column of what the runs have of a metric."""

    def cell(runs: Runs) -> str:
        found = [run.metrics[name] for run in runs if name in run.metrics]
        return show(found) if found else NONE

    return cell


def _spread(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _median(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.1f}"


def _range(values: list[float]) -> str:
    return f"{100 * min(values):.1f} to {100 * max(values):.1f}"


def _seconds(runs: Runs) -> str:
    """Per epoch, the median over the runs."""
    found = [run.seconds_per_epoch for run in runs if run.seconds_per_epoch is not None]
    return f"{statistics.median(found):.2f}" if found else NONE


def _collapsed(runs: Runs) -> str:
    known = [run.is_collapsed for run in runs if run.is_collapsed is not None]
    return str(sum(known)) if known else NONE


COLUMNS: dict[str, Callable[[Runs], str]] = {
    "seeds": lambda runs: str(len(runs)),
    "parameters": _metric("parameters", lambda values: f"{values[0]:,.0f}"),
    "multiply-adds (millions)": _metric("multiply_adds", lambda values: f"{values[0] / 1e6:,.0f}"),
    "seconds per epoch": _seconds,
    "epochs": _metric("epochs", lambda values: f"{statistics.median(values):.0f}"),
    "accuracy, median (%)": _metric("accuracy", _median),
    "accuracy, mean (%)": _metric("accuracy", _spread),
    "lowest to highest (%)": _metric("accuracy", _range),
    "all sizes (%)": _metric("size_accuracy", _spread),
    "worst size (%)": _metric("worst_size_accuracy", _spread),
    "drop per octave (points)": _metric("octave_drop", _spread),
    "collapsed": _collapsed,
}


def scale_table(runs: Runs, format: Format = "text", beside: dict[str, dict[str, str]] | None = None) -> str:
    """One row per recipe.

    Args:
        runs: all of one protocol.
        format: of the text.
        beside: further columns by their heading, a text for some of the recipes.
    """
    require_one_protocol(runs)
    extra = beside or {}
    rows = {
        recipe: [*(cell(own) for cell in COLUMNS.values()), *(texts.get(recipe, NONE) for texts in extra.values())]
        for recipe, own in by_recipe(runs).items()
    }
    headings = [*COLUMNS, *extra]
    kept = [number for number in range(len(headings)) if any(row[number] != NONE for row in rows.values())]
    notes = [
        "Accuracy is that of the sizes that are tested. A run has collapsed where, on test objects of the sizes that "
        "it trained on, it knows less than twice what chance does, or, of few classes, less than half way from chance "
        "to everything.",
        "Mean ± sample standard deviation over seeds; epochs and seconds per epoch are medians.",
    ]
    lines = [[recipe, *(row[number] for number in kept)] for recipe, row in rows.items()]
    return markup(["recipe", *(headings[number] for number in kept)], lines, notes, format)
