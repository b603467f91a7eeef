"""The page as one file: all sections, their charts, and the libraries and styles that show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from report.page.about import about, settings
from report.page.explorer import explorer
from report.page.members import walks
from report.page.orbits import failures, forms
from report.page.parts import Section
from report.page.results import curves, results, steps
from report.page.training import training
from report.runs import Run

HERE = Path(__file__).parent


def write_page(runs: Sequence[Run], path: Path, baseline: str | None = None) -> Path:
    """Write the page about these runs.

    Args:
        runs: in the order of the page.
        path: of an .html file, or of a folder that takes index.html.
        baseline: the recipe that the others are compared with; left out, the first one.
    """
    file = path if path.suffix == ".html" else path / "index.html"
    text = page(sections(runs, baseline))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def sections(runs: Sequence[Run], baseline: str | None = None) -> list[Section]:
    """From the numbers to what lies behind them."""
    recipes = list(dict.fromkeys(run.recipe for run in runs))
    if baseline is not None and baseline not in recipes:
        raise ValueError(f"baseline is {baseline!r}; expected one of {', '.join(recipes)}")
    found, notes = walks(runs)
    return [
        about(runs),
        results(runs, baseline or recipes[0]),
        curves(runs, recipes),
        steps(runs, recipes),
        explorer(found, notes, recipes),
        forms(found),
        failures(found),
        training(runs, recipes),
        settings(runs),
    ]


def page(parts: Sequence[Section]) -> str:
    """All in one HTML file, which asks nothing of any network."""
    links = "".join(f'<li><a href="#{part.name}">{escape(part.title)}</a></li>' for part in parts)
    charts = {name: spec for part in parts for name, spec in part.charts.items()}
    data = {name: value for part in parts for name, value in part.data.items()}
    return Template((HERE / "page.html").read_text("utf-8")).substitute(
        style=(HERE / "page.css").read_text("utf-8"),
        links=links,
        body="".join(part.html() for part in parts),
        charts=_within_script(charts),
        data=_within_script(data),
        library=_library().replace("</script", "<\\/script"),
        script=(HERE / "page.js").read_text("utf-8") + (HERE / "explorer.js").read_text("utf-8"),
    )


def _within_script(content: Any) -> str:
    """As JSON that no text in it can end."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, as vl-convert brings them along in one piece.

    A chart is a description in JSON there, with its numbers in it. So Python writes no drawing code, charts are SVG in
    the reader's theme and tell what was clicked, and the library embeds whole in 900 kB, where Plotly's takes five
    times as much.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise ValueError(
            'the page needs vl-convert-python, which brings the charts along; pip install ".[report]" installs it'
        ) from error
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
