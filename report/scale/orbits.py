"""Figures of what a classifier says over an image's orbit, of its explanations, and of what restoration brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from report.scale.drawing import Drawing, legend_beside, panels, styles
from report.scale.maps import Arrays, studied
from report.scale.protocol import ScaleRun

SHOWN = 8  # individual curves per panel
Found = list[tuple[ScaleRun, Arrays]]


def _of_recipes(found: Found) -> dict[str, list[Arrays]]:
    """What the seeds of each recipe found."""
    recipes: dict[str, list[Arrays]] = {}
    for run, arrays in found:
        recipes.setdefault(run.recipe, []).append(arrays)
    return recipes


def aggregate(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The probability of the true class over sizes, a line per recipe: the mean over images and seeds, and a band of
    the standard deviation over images. A flat curve is invariance."""
    found = studied(runs, "orbits")
    if not found:
        return None
    looks, rows = styles([run.recipe for run, _ in found]), []
    figure, (panel,) = panels(1, wide=1.6)
    for recipe, several in _of_recipes(found).items():
        factors, scores = several[0]["factors"], np.concatenate([arrays["scale_scores"] for arrays in several])
        mean, deviation = scores.mean(0), scores.std(0)
        panel.plot(factors, mean, label=recipe, **looks[recipe])
        panel.fill_between(factors, mean - deviation, mean + deviation, alpha=0.1, color=looks[recipe]["color"])
        consensus = np.concatenate([arrays["scale_consensus"] for arrays in several]).mean(0)
        rows += [
            {"recipe": recipe, "factor": factor, "mean": one, "deviation": other, "consensus": agreed}
            for factor, one, other, agreed in zip(factors, mean, deviation, consensus, strict=True)
        ]
    panel.set(xscale="log", xlabel="size of the content", ylabel="probability of the true class", ylim=(0, 1))
    legend_beside(figure, [panel])
    return Drawing("orbits", figure, rows)


def individual(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The curves of the first images alone, a panel per recipe, of its first seed."""
    found = studied(runs, "orbits")
    if not found:
        return None
    firsts, rows = _firsts(found), []
    figure, axes = panels(len(firsts))
    for (recipe, arrays), panel in zip(firsts.items(), axes, strict=True):
        for number, curve in enumerate(arrays["scale_scores"][:SHOWN]):
            panel.plot(arrays["factors"], curve, linewidth=1)
            rows += [
                {
                    "recipe": recipe,
                    "image": number,
                    "label": int(arrays["labels"][number]),
                    "factor": at,
                    "score": score,
                }
                for at, score in zip(arrays["factors"], curve, strict=True)
            ]
        panel.set(title=recipe, xscale="log", xlabel="size of the content", ylabel="probability", ylim=(0, 1))
    return Drawing("orbits_individual", figure, rows)


def overview(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Every image as a dot, near others with like curves: along the two directions in which curves differ most. Its
    colour is the mean of its curve. A panel per recipe, of its first seed."""
    found = studied(runs, "orbits")
    if not found:
        return None
    firsts, rows = _firsts(found), []
    figure, axes = panels(len(firsts))
    for (recipe, arrays), panel in zip(firsts.items(), axes, strict=True):
        x, y = arrays["coordinates"].T
        mean, deviation = arrays["scale_scores"].mean(1), arrays["scale_scores"].std(1)
        image = panel.scatter(x, y, c=mean, s=12, vmin=0, vmax=1)
        figure.colorbar(image, ax=panel, label="mean probability")
        panel.set(title=recipe, xlabel="first direction", ylabel="second direction")
        rows += [
            {"recipe": recipe, "image": number, "x": x[number], "y": y[number]}
            | {"mean": mean[number], "deviation": deviation[number]}
            for number in range(len(x))
        ]
    return Drawing("orbits_overview", figure, rows)


def shifted(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The mean probability of the true class over size and place, a panel per recipe."""

    def axes(arrays: Arrays) -> tuple[Axis, Axis]:
        down = Axis("size of the content", ("factor",), [(factor,) for factor in arrays["shift_factors"]], "{:.2f}")
        return down, Axis("shift (pixels)", ("shift",), [(shift,) for shift in arrays["shifts"]], "{:g}")

    return _heat_maps(runs, "orbits_shift", "shift_scores", axes)


def local(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The mean probability of the true class under local warps, over their centre and strength, a panel per recipe."""

    def axes(arrays: Arrays) -> tuple[Axis, Axis]:
        down = Axis("centre (x, y)", ("x", "y"), [tuple(centre) for centre in arrays["centres"]], "{:g}, {:g}")
        return down, Axis("growth at the centre", ("strength",), [(one,) for one in arrays["strengths"]], "{:.2f}")

    return _heat_maps(runs, "orbits_local", "local_scores", axes)


class Axis(NamedTuple):
    """Of a heat map.

    Args:
        title: of the axis.
        names: of its columns in the CSV.
        places: what these hold, place by place.
        tick: how a place is written.
    """

    title: str
    names: tuple[str, ...]
    places: list[tuple[float, ...]]
    tick: str

    @property
    def ticks(self) -> list[str]:
        return [self.tick.format(*place) for place in self.places]


def _heat_maps(
    runs: Sequence[ScaleRun], name: str, scores: str, axes_of: Callable[[Arrays], tuple[Axis, Axis]]
) -> Drawing | None:
    """The mean over images and seeds of scores (N, rows, columns), a panel per recipe."""
    found = studied(runs, "orbits")
    if not found:
        return None
    rows, recipes = [], _of_recipes(found)
    figure, places = panels(len(recipes))
    for (recipe, several), panel in zip(recipes.items(), places, strict=True):
        down, across = axes_of(several[0])
        mean = np.concatenate([arrays[scores] for arrays in several]).mean(0)
        image = panel.imshow(mean, aspect="auto", vmin=0, vmax=1)
        figure.colorbar(image, ax=panel)
        panel.set(xticks=range(len(across.ticks)), xticklabels=across.ticks)
        panel.set(yticks=range(len(down.ticks)), yticklabels=down.ticks)
        panel.set(title=recipe, xlabel=across.title, ylabel=down.title)
        panel.tick_params(labelsize="x-small")
        rows += [
            {"recipe": recipe}
            | dict(zip(down.names, line_at, strict=True))
            | dict(zip(across.names, column_at, strict=True))
            | {"mean": mean[line, column]}
            for line, line_at in enumerate(down.places)
            for column, column_at in enumerate(across.places)
        ]
    return Drawing(name, figure, rows)


def explanations(runs: Sequence[ScaleRun]) -> Drawing | None:
    """How alike explanations are after a change of size, a panel per similarity and kind of explanation."""
    found = studied(runs, "explanations")
    if not found:
        return None
    kinds = [str(name) for name in found[0][1]["explanations"]]
    wanted = [(similarity, kind) for similarity in ("invariance", "equivariance", "adjoint") for kind in kinds]
    looks, rows = styles([run.recipe for run, _ in found]), []
    figure, axes = panels(len(wanted), columns=len(kinds))
    for (similarity, kind), panel in zip(wanted, axes, strict=True):
        for recipe, several in _of_recipes(found).items():
            factors = several[0]["factors"]
            values = np.concatenate([arrays[similarity][kinds.index(kind)] for arrays in several]).mean(0)
            panel.plot(factors, values, marker="o", markersize=3, label=recipe, **looks[recipe])
            rows += [
                {"recipe": recipe, "similarity": similarity, "explanation": kind, "factor": factor, "mean": value}
                for factor, value in zip(factors, values, strict=True)
            ]
        panel.set(title=f"{similarity}, {kind}", xscale="log", xlabel="size of the content", ylabel="cosine")
    legend_beside(figure, axes)
    return Drawing("explanations", figure, rows)


def restoration(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Accuracy at every size without restoration (dotted) and with it, a line per recipe: the mean over its seeds."""
    found = studied(runs, "restoration")
    if not found:
        return None
    looks, rows = styles([run.recipe for run, _ in found]), []
    figure, (panel,) = panels(1, wide=1.6)
    for recipe, several in _of_recipes(found).items():
        sides = several[0]["sides"]
        plain, mended = (
            np.concatenate([arrays[name] for arrays in several]).mean(0) for name in ("correct", "restored_correct")
        )
        style: dict[str, Any] = {"color": looks[recipe]["color"], "marker": "o", "markersize": 3}
        places = range(1) if np.isnan(sides).any() else sides
        panel.plot(places, 100 * plain, ":", **style)
        panel.plot(places, 100 * mended, "-", label=recipe, **style)
        rows += [
            {"recipe": recipe, "side": side, "accuracy": one, "restored": other}
            for side, one, other in zip(sides, plain, mended, strict=True)
        ]
    panel.set(xlabel="side of the object (pixels)", ylabel="accuracy (%)", ylim=(0, 101))
    legend_beside(figure, [panel])
    return Drawing("restoration", figure, rows)


def _firsts(found: Found) -> dict[str, Arrays]:
    """Of each recipe, what its first seed found."""
    return {recipe: several[0] for recipe, several in _of_recipes(found).items()}
