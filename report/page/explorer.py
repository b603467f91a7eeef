"""The orbit explorer: the reader chooses an image and a local warp, and sees what every model makes of it.

Here are its controls, its charts without their rows, and all numbers and pictures; ``explorer.js`` moves them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from report.markup import markup
from report.page.members import Walk
from report.page.parts import Section, Spec, by_recipe, chart, filled, folded, image_uri, paragraph, scrolling

TOLD = 3  # classes per answer
BELOW = "Numbers of this chart"
FINEST = 2**16 - 1  # positions of a warp are stored by two bytes
TEMPLATE = Path(__file__).with_name("explorer.html")


def explorer(found: Sequence[Walk], notes: Sequence[str], recipes: Sequence[str]) -> Section:
    """Choose an image, walk through its orbit, and see what every model makes of it."""
    name, title = "explorer", "Orbit explorer"
    words = "".join(map(paragraph, notes))
    if not found:
        body = words + paragraph('No run kept members of orbits; --eval_only "evaluation.studies=[members]" adds some.')
        return Section(name, title, body)
    first = found[0].arrays
    shown = [walk.recipe for walk in found]
    charts = {
        "overview": _overview(found),
        "walk": _curve(recipes, shown, first["strengths"]),
        "orbit": _map(shown, first["strengths"]),
    }
    body = TEMPLATE.read_text("utf-8").format(
        notes=words,
        samples="".join(
            f'<option value="{place}">image {place + 1}, class {label}</option>'
            for place, label in enumerate(first["labels"])
        ),
        across=len(set(first["centres"][:, 0])) - 1,
        down=len(set(first["centres"][:, 1])) - 1,
        strengths=len(first["strengths"]) - 1,
        overview=chart("overview", "All images: those whose curves are alike lie near each other", _scores(found)),
        walk=chart("walk", "Probability of the true class over strengths, at the chosen centre", filled("walk", BELOW)),
        orbit=scrolling(
            "Members", chart("orbit", "Probability of the true class for all members of the chosen image", "")
        )
        + filled("orbit", BELOW),
        models="".join(_panel(place, walk) for place, walk in enumerate(found)),
    )
    return Section(name, title, body, charts, {"explorer": _data(found)})


def _data(found: Sequence[Walk]) -> dict[str, Any]:
    """What the explorer's script draws from; pictures of one image lie side by side in a sheet."""
    first = found[0].arrays
    height, width = first["pictures"].shape[-2:]
    samples = range(len(first["labels"]))
    return {
        "size": [width, height],
        "labels": first["labels"].tolist(),
        "centres": first["centres"].tolist(),
        "strengths": first["strengths"].round(4).tolist(),
        "pictures": [image_uri(found[0].sheet("pictures", sample)) for sample in samples],
        "models": [
            {
                "recipe": walk.recipe,
                "scores": walk.scores.round(4).tolist(),
                "aggregate": walk.scores.mean(0).round(4).tolist(),
                "answers": _answers(walk.arrays["probabilities"]),
                "residuals": walk.arrays["residuals"].round(5).tolist(),
                "sites": [
                    {
                        "name": site,
                        "forms": [image_uri(walk.sheet(f"form_{place}", sample)) for sample in samples],
                        "grids": [_packed(grid) for grid in walk.arrays[f"grid_{place}"]],
                        "lines": int(walk.arrays[f"grid_{place}"].shape[-1]),
                    }
                    for place, site in enumerate(walk.sites)
                ],
            }
            for walk in found
        ],
    }


def _answers(probabilities: np.ndarray) -> list:
    """The likeliest classes of every member and their probabilities, (N, P, S, TOLD, 2)."""
    order = np.argsort(-probabilities, axis=-1, kind="stable")[..., :TOLD]
    values = np.take_along_axis(probabilities, order, -1).round(4)
    return np.stack([order, values], -1).tolist()


def _packed(grid: np.ndarray) -> str:
    """Positions in [0, 1] as whole numbers of two bytes."""
    return base64.b64encode((grid.clip(0, 1) * FINEST).round().astype("<u2").tobytes()).decode()


def _panel(place: int, walk: Walk) -> str:
    canvases = "".join(
        f'<figure><canvas data-model="{place}" data-site="{site}" data-shows="{shows}" role="img"></canvas>'
        f"<figcaption>{escape(words)}</figcaption></figure>"
        for site, name in enumerate(walk.sites)
        for shows, words in (("grid", f"{name}: where it reads"), ("form", "canonical"))
    ) or paragraph("It finds no warps.")
    return (
        f'<article><h3>{escape(walk.recipe)}</h3><p class="note">seed {walk.seed}</p>'
        f'<div class="views">{canvases}</div>'
        f'<table data-answers="{place}"><caption>What it says</caption><thead><tr><th scope="col">class</th>'
        '<th scope="col">probability</th></tr></thead><tbody></tbody></table></article>'
    )


def _scores(found: Sequence[Walk]) -> str:
    """The table of what the overview shows, by image."""
    labels = found[0].arrays["labels"]
    means = np.stack([walk.scores.mean((1, 2)) for walk in found], 1)
    rows = [
        [f"image {place + 1}, class {label}", *(f"{100 * value:.1f} %" for value in own)]
        for place, (label, own) in enumerate(zip(labels, means, strict=True))
    ]
    headings = ["mean probability of the true class", *(walk.recipe for walk in found)]
    return folded(BELOW, scrolling("Images", markup(headings, rows, [], "html")))


def _overview(found: Sequence[Walk]) -> Spec:
    """A scatter of images by their scores over the orbit, in all models."""
    scores = np.concatenate([walk.scores.reshape(len(walk.scores), -1) for walk in found], 1)
    places = _principal(scores)
    rows = [
        {"sample": sample, "number": sample + 1, "x": x, "y": y, "score": scores[sample].mean().item()}
        for sample, (x, y) in enumerate(places.round(5).tolist())
    ]
    axes = {
        way: {"field": way, "type": "quantitative", "title": title}
        for way, title in (("x", "first principal component"), ("y", "second"))
    }
    return {
        "data": {"values": rows},
        "params": [{"name": "sample", "value": 0}],
        "width": "container",
        "height": 240,
        "mark": {"type": "point", "filled": True, "size": 160, "cursor": "pointer", "opacity": 1},
        "encoding": {
            **axes,
            "color": {"field": "score", "type": "quantitative", "title": "mean score", "scale": {"scheme": "viridis"}},
            "stroke": {"condition": {"test": "datum.sample == sample", "value": "#d55e00"}, "value": None},
            "strokeWidth": {"value": 4},
            "tooltip": [{"field": "number"}, {"field": "score", "format": ".3f"}],
        },
    }


def _principal(scores: np.ndarray) -> np.ndarray:
    """(N, 2) of N vectors, along the two directions in which they differ most; 0 where there are fewer."""
    centred = scores - scores.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found = centred @ directions[:2].T
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


def _curve(recipes: Sequence[str], shown: Sequence[str], strengths: np.ndarray) -> Spec:
    """One line per model and chosen image, a thin one for the mean over images; the script fills in the rows."""
    across = {
        "field": "strength",
        "type": "quantitative",
        "title": "strength of the warp",
        "scale": {"type": "log", "base": 2, "domain": [float(strengths[0]), float(strengths[-1])], "nice": False},
        "axis": {"values": strengths.round(2).tolist(), "format": ".2~f"},
    }
    up = {"field": "score", "type": "quantitative", "title": "probability of the true class"}
    return {
        "data": {"name": "scores"},
        "params": [{"name": "strength", "value": 1}],
        "width": "container",
        "height": 240,
        "layer": [
            {
                "mark": {"type": "line", "point": {"size": 60}, "cursor": "pointer"},
                "transform": [{"filter": "datum.of == 'this image'"}],
                "encoding": {
                    "x": across,
                    "y": {**up, "scale": {"domain": [0, 1]}},
                    "color": by_recipe(recipes, shown),
                    "strokeDash": by_recipe(recipes, shown),
                    "tooltip": [{"field": name} for name in ("recipe", "strength", "score")],
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.7},
                "transform": [{"filter": "datum.of == 'all images'"}],
                "encoding": {"x": across, "y": up, "color": by_recipe(recipes, shown)},
            },
            {
                "data": {"values": [{}]},
                "mark": {"type": "rule", "strokeWidth": 2, "strokeDash": [2, 2]},
                "encoding": {"x": {"datum": {"expr": "strength"}, "type": "quantitative"}},
            },
        ],
    }


def _map(recipes: Sequence[str], strengths: np.ndarray) -> Spec:
    """A cell per member, a panel per model; the script fills in the rows."""
    return {
        "data": {"name": "members"},
        "facet": {"field": "recipe", "type": "nominal", "title": None, "sort": list(recipes)},
        "columns": 3,
        "spec": {
            "width": 150,
            "height": 170,
            "mark": {"type": "rect", "cursor": "pointer"},
            "encoding": {
                "x": {"field": "strength", "type": "ordinal", "title": "strength", "axis": {"format": ".2~f"}},
                "y": {"field": "centre", "type": "nominal", "title": "centre", "sort": None},
                "color": {
                    "field": "score",
                    "type": "quantitative",
                    "title": "probability",
                    "scale": {"scheme": "viridis", "domain": [0, 1]},
                },
                "tooltip": [{"field": name} for name in ("centre", "strength", "score")],
            },
        },
    }
