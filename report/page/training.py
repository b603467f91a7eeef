"""How training went: every value that runs logged, over epochs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from statistics import mean

from report.markup import markup
from report.page.parts import Section, by_recipe, chart, filled, folded, paragraph, scrolling
from report.runs import METRICS, Run

EPOCHS = 150  # of a curve that are drawn: a page with some thousand epochs would be large, and no finer to the eye
DIGITS = 4
FIRST = "train_loss"  # what is shown first, where it was logged

Values = dict[str, dict[int, float]]  # by name and epoch


def training(runs: Sequence[Run], recipes: Sequence[str]) -> Section:
    """One chart, in which the reader chooses the value; lines are means over the seeds that have it."""
    of_recipes = {name: _mean([_logged(run) for run in runs if run.recipe == name]) for name in recipes}
    names = sorted({name for values in of_recipes.values() for name in values}, key=lambda name: (name != FIRST, name))
    if not names:
        return Section("training", "Training", paragraph(f"No run has a {METRICS} with values."))
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in names)
    choice = f'<label>Value <select data-of="training">{options}</select></label>'
    last = [[name, *(_last(of_recipes[recipe].get(name)) for recipe in recipes)] for name in names]
    table = scrolling("Last values", markup(["value", *recipes], last, [], "html"))
    tables = filled("training", "Numbers of this chart") + folded("Last values", table)
    body = choice + chart("training", "The chosen value over epochs, the mean over seeds", tables)
    data = {"terms": names, "recipes": list(recipes), "lines": _lines_of(of_recipes, names, recipes)}
    return Section("training", "Training", body, {"training": _spec(names, recipes)}, {"training": data})


def _logged(run: Run) -> Values:
    """Of a run's lines; one that was cut off ends them."""
    values: Values = {}
    for line in _lines(run):
        epoch = line.pop("epoch", None)
        if isinstance(epoch, int):
            for name, value in line.items():
                if type(value) in (int, float):
                    values.setdefault(name, {})[epoch] = float(value)
    return values


def _lines(run: Run) -> Iterator[dict]:
    path = run.folder / METRICS
    for text in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            return
        if isinstance(line, dict):
            yield line


def _mean(of_seeds: Sequence[Values]) -> Values:
    names = dict.fromkeys(name for values in of_seeds for name in values)
    found: Values = {}
    for name in names:
        having = [values[name] for values in of_seeds if name in values]
        epochs = sorted(set.union(*(set(values) for values in having)))
        found[name] = {epoch: mean(values[epoch] for values in having if epoch in values) for epoch in epochs}
    return found


def _last(values: dict[int, float] | None) -> str:
    return f"{values[max(values)]:.4g}" if values else "-"


def _lines_of(of_recipes: dict[str, Values], names: Sequence[str], recipes: Sequence[str]) -> str:
    """As CSV, which the page's script gives to the chart and to the table below it."""
    rows = [
        f"{names.index(name)},{recipes.index(recipe)},{epoch},{values[epoch]:.{DIGITS}g}"
        for recipe, found in of_recipes.items()
        for name, values in found.items()
        for epoch in _thinned(sorted(values))
    ]
    return "\n".join(["term,of,epoch,value", *rows])


def _spec(names: Sequence[str], recipes: Sequence[str]) -> dict:
    return {
        "data": {"values": "", "format": {"type": "csv"}},
        "params": [{"name": "term", "value": names[0]}, {"name": "terms", "value": list(names)}],
        "transform": [
            {"filter": "terms[datum.term] == term"},
            {"calculate": f"{json.dumps(list(recipes))}[datum.of]", "as": "recipe"},
        ],
        "width": "container",
        "height": 280,
        "mark": {"type": "line", "point": {"size": 12}},
        "encoding": {
            "x": {"field": "epoch", "type": "quantitative"},
            "y": {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}},
            "color": by_recipe(recipes),
            "strokeDash": by_recipe(recipes),
            "tooltip": [{"field": name} for name in ("recipe", "epoch", "value")],
        },
    }


def _thinned(epochs: Sequence[int]) -> list[int]:
    """So many of them at most, the last one among them."""
    step = -(-len(epochs) // EPOCHS)
    return [*epochs[-1::-step]][::-1]
