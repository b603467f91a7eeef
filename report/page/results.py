"""Numbers of finished runs: the table, intervals against one recipe, and curves over scales, strengths and steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import isfinite

from evaluation.measures import unit_of
from report.compare import compare, render_differences
from report.markup import heading, markup, number
from report.page.parts import Curve, Section, Spec, chart, folded, lines, paragraph, scrolling
from report.runs import Run
from report.suite import CURVES
from report.table import Cell, headline, render, table

STEPS = {  # measured after so many evaluations of a DEC's maps
    "accuracy_after": "accuracy",
    "warp_accuracy_after": "accuracy under random warps",
    "warp_error_tempered_after": "tempered error under random warps",
    "residual_after": "residual",
}


def results(runs: Sequence[Run], baseline: str) -> Section:
    """The most important metrics, the differences that they make, and all metrics."""
    if all(run.metrics is None for run in runs):
        return Section("results", "Results", paragraph("No run is finished, so there are no numbers yet."))
    known = list(dict.fromkeys(name for run in runs for name in run.metrics or {}))
    body = scrolling("Results", render(table(runs, headline(runs)), "html"))
    others = [name for name in dict.fromkeys(run.recipe for run in runs) if name != baseline]
    body += "".join(_differences(runs, name, baseline) for name in others)
    everything = [
        [heading(name), *(_cell(name, row.cells[name]) for row in rows)]
        for name, rows in ((name, table(runs, [name])) for name in known)
    ]
    recipes = [row.recipe for row in table(runs, [])]
    return Section(
        "results",
        "Results",
        body + folded("All metrics", scrolling("All metrics", markup(["metric", *recipes], everything, [], "html"))),
    )


def curves(runs: Sequence[Run], recipes: Sequence[str]) -> Section:
    """Accuracy over what it was measured at."""
    wanted = [(f"{metric}_at", axis, f"{_words(metric)} over the {axis}") for _, metric, axis in CURVES]
    missing = (
        "No run was measured at several scales or strengths; evaluation.scales=[0.5, 1, 2] and "
        "evaluation.strengths=[0.1, 0.25, 0.5] ask for it."
    )
    return _charts("curves", "Over scales and strengths of warps", runs, recipes, wanted, missing)


def steps(runs: Sequence[Run], recipes: Sequence[str]) -> Section:
    """What a DEC says after so many evaluations of its maps, without its solver."""
    wanted = [(name, "evaluations of the map", f"{words} after so many evaluations") for name, words in STEPS.items()]
    missing = "No run tells how it does after so many evaluations; evaluation.evaluations=[1, 2, 3, 5, 8] asks for it."
    return _charts("steps", "Over evaluations of the canonicalizer", runs, recipes, wanted, missing)


def _charts(
    name: str,
    title: str,
    runs: Sequence[Run],
    recipes: Sequence[str],
    wanted: Sequence[tuple[str, str, str]],
    missing: str,
) -> Section:
    """A section with a chart for every wanted (metric, axis, label) that some run has, and words where none has any."""
    body, charts = "", {}
    for metric, axis, label in wanted:
        if found := over(runs, recipes, metric):
            charts[f"{name}-{metric}"] = _drawn(found, recipes, axis, metric)
            body += chart(f"{name}-{metric}", label, numbers(found, axis, metric))
    return Section(name, title, body or paragraph(missing), charts)


def over(runs: Sequence[Run], recipes: Sequence[str], metric: str) -> list[Curve]:
    """The metrics ``<metric>_<number>``, by recipe; those without any are left out."""
    ending = len(metric) + 1
    names = {name for run in runs for name in run.metrics or {} if name.startswith(f"{metric}_")}
    at = sorted((float(name[ending:]), name) for name in names if _is_number(name[ending:]))
    if not at:
        return []
    rows = {row.recipe: row.cells for row in table(runs, [name for _, name in at])}
    found = [Curve(recipe, _points(at, rows[recipe].get)) for recipe in recipes]
    return [curve for curve in found if curve.points]


def numbers(found: Sequence[Curve], axis: str, metric: str) -> str:
    """The table behind a chart."""
    at = sorted({x for curve in found for x, *_ in curve.points})
    cells = [{x: (mean, std) for x, mean, std in curve.points} for curve in found]
    rows = [[f"{x:g}", *(_pair(metric, *own[x]) if x in own else "-" for own in cells)] for x in at]
    headings = [axis, *(curve.recipe for curve in found)]
    return folded("Numbers of this chart", scrolling(f"{metric}, numbers", markup(headings, rows, [], "html")))


def _points(
    at: Sequence[tuple[float, str]], cell_of: Callable[[str], Cell | None]
) -> list[tuple[float, float, float | None]]:
    found = [(x, cell_of(name)) for x, name in at]
    return [(x, cell.mean, cell.std) for x, cell in found if cell is not None and isfinite(cell.mean)]


def _drawn(found: Sequence[Curve], recipes: Sequence[str], axis: str, metric: str) -> Spec:
    times = unit_of(metric).times  # the numbers of a chart are those of its table
    told = [Curve(name, [(x, times * mean, std and times * std) for x, mean, std in points]) for name, points in found]
    return lines(told, recipes, axis, _words(heading(metric)))


def _differences(runs: Sequence[Run], name: str, baseline: str) -> str:
    title = f"{name} against {baseline}"
    try:
        found, seeds = compare(runs, name, baseline)
        body = scrolling(title, render_differences(found, name, baseline, seeds, "html"))
    except ValueError as error:
        body = paragraph(f"{error}.")
    return f"<h3>{escape(title)}</h3>{body}"


def _cell(metric: str, cell: Cell | None) -> str:
    return "-" if cell is None else _pair(metric, cell.mean, cell.std)


def _pair(metric: str, mean: float, std: float | None) -> str:
    return number(metric, mean) + ("" if std is None else f" ± {number(metric, std)}")


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
