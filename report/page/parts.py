"""What a page is made of: sections of text, tables, pictures, and charts with the numbers behind them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

SHOWN = 112  # pixels that a picture has at least, about

Spec = dict[str, Any]  # of Vega-Lite


class Section(NamedTuple):
    """A part of the page under a heading of its own.

    Args:
        name: of its anchor.
        title: above it.
        body: in HTML.
        charts: that the body has places for, by name.
        data: that the page's script wants, by name.
    """

    name: str
    title: str
    body: str
    charts: Mapping[str, Spec] = {}
    data: Mapping[str, Any] = {}

    def html(self) -> str:
        """With its heading."""
        return f'<section id="{self.name}"><h2>{escape(self.title)}</h2>{self.body}</section>'


class Curve(NamedTuple):
    """Numbers over something, of one recipe: (x, mean, deviation over seeds or None)."""

    recipe: str
    points: Sequence[tuple[float, float, float | None]]


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def scrolling(name: str, table: str) -> str:
    """A table that is moved sideways where it is wider than the screen, by the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">{table}</div>'


def folded(title: str, body: str) -> str:
    """What is shown to those who ask for it."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def filled(name: str, title: str) -> str:
    """The place of a table that the page's script fills with the numbers of what is shown, or of what was chosen."""
    table = f'<table data-numbers="{name}"><thead></thead><tbody></tbody></table>'
    return folded(title, scrolling(f"{title}: {name}", table))


def chart(name: str, label: str, numbers: str) -> str:
    """The place of a chart, which is one picture to a screen reader: its numbers stand below as a table."""
    place = f'<div class="chart" data-chart="{name}" role="img" aria-label="{escape(label)}"></div>'
    return f"<figure>{place}<figcaption>{escape(label)}</figcaption></figure>{numbers}"


def picture(pixels: np.ndarray, label: str) -> str:
    """An image (H, W) or (H, W, 3) of bytes, a small one larger, with words for those who do not see it."""
    height, width = pixels.shape[:2]
    times = max(1, round(SHOWN / height))
    size = f'width="{times * width}" height="{times * height}"'
    return f'<img src="{image_uri(pixels)}" {size} alt="{escape(label)}">'


def image_uri(pixels: np.ndarray) -> str:
    """An image (H, W) or (H, W, 3) of bytes in the page itself."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def lines(curves: Sequence[Curve], recipes: Sequence[str], x: str, y: str) -> Spec:
    """One line per recipe, with a band of one deviation over seeds where there are several.

    A recipe has one colour and one dash on the whole page, for its place among ``recipes`` says which.
    """
    rows = [
        {"recipe": curve.recipe, "x": at, "y": mean, "low": mean - (std or 0), "high": mean + (std or 0)}
        for curve in curves
        for at, mean, std in curve.points
    ]
    shown = [curve.recipe for curve in curves]
    across = {"field": "x", "type": "quantitative", "title": x, "scale": {"zero": False}}
    up = {"type": "quantitative", "scale": {"zero": False}}
    told = [
        {"field": "recipe", "type": "nominal"},
        {"field": "x", "type": "quantitative", "title": x},
        {"field": "y", "type": "quantitative", "title": y, "format": ".4~g"},
    ]
    band = {"y": {"field": "low", **up, "title": y}, "y2": {"field": "high"}}
    return {
        "data": {"values": rows},
        "width": "container",
        "height": 260,
        "encoding": {"x": across, "color": by_recipe(recipes, shown)},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.18}, "encoding": band},
            {
                "mark": {"type": "line", "point": True},
                "encoding": {
                    "y": {"field": "y", **up, "title": y},
                    "strokeDash": by_recipe(recipes, shown),
                    "tooltip": told,
                },
            },
        ],
    }


def by_recipe(recipes: Sequence[str], shown: Sequence[str] | None = None) -> Spec:
    """The channel of a colour or a dash; its legend names those that are shown, all if left out."""
    return {
        "field": "recipe",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(recipes)},
        "legend": {
            "orient": "bottom",
            "columns": 1,
            "labelLimit": 280,
            "values": list(shown or recipes),
            **{"symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2, "symbolOpacity": 1},
        },
    }
