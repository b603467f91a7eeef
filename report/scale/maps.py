"""Figures of what the networks' maps do as objects change their size, from the studies of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np

from report.scale.drawing import ROW, Drawing, legend_beside, panels, styles
from report.scale.protocol import ScaleRun, by_recipe

Arrays = dict[str, np.ndarray]
OPERATOR = "bicubic"  # the one that is drawn; the CSV has all of them
LOOKS = {"trained": "-", "random": ":"}  # weights


def studied(runs: Sequence[ScaleRun], name: str) -> list[tuple[ScaleRun, Arrays]]:
    """The runs that a study was made of, with what it found."""
    found = [(run, run.study(name)) for run in runs]
    return [(run, arrays) for run, arrays in found if arrays is not None]


def equivariance(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The equivariance error over the factor of the size, a panel per stage, with trained and with random weights.

    Stages are counted, for networks have other names for them. Of several seeds it is the mean.
    """
    found = studied(runs, "equivariance")
    if not found:
        return None
    rows = [row for run, arrays in found for row in _errors(run, arrays)]
    stages = sorted({row["stage"] for row in rows})
    looks = styles([run.recipe for run, _ in found])
    figure, axes = panels(len(stages))
    for stage, panel in zip(stages, axes, strict=True):
        for recipe in looks:
            for weights, dashes in LOOKS.items():
                own = [row for row in rows if (row["stage"], row["recipe"], row["weights"]) == (stage, recipe, weights)]
                curve = _means([row for row in own if row["operator"] == OPERATOR], "scale", "error")
                label = recipe if weights == "trained" else None
                panel.plot(*curve, dashes, marker="o", markersize=3, color=looks[recipe]["color"], label=label)
        panel.set(title=f"stage {stage}", xlabel=f"size of the content ({OPERATOR})", ylabel="equivariance error")
        panel.set_yscale("log")
    legend_beside(figure, axes)
    return Drawing("equivariance", figure, rows)


def _errors(run: ScaleRun, arrays: Arrays) -> list[ROW]:
    """A row for every stage, operator, size and kind of weights: the mean over the images that were compared."""
    return [
        {
            "recipe": run.recipe,
            "seed": run.seed,
            "stage": stage + 1,
            "layer": str(layer),
            "operator": str(operator),
            "scale": float(scale),
            "weights": weights,
            "error": _mean(arrays[f"{weights}_error"][stage, number, place]),
            "reference": _mean(arrays[f"{weights}_reference"][stage, number, place]),
            "compared": int(arrays["compared"][stage, number, place]),
        }
        for stage, layer in enumerate(arrays["layers"])
        for number, operator in enumerate(arrays["operators"])
        for place, scale in enumerate(arrays["scales"])
        for weights in LOOKS
    ]


def _mean(values: np.ndarray) -> float:
    """Without those that are NaN."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _means(rows: Sequence[ROW], by: str, of: str) -> tuple[np.ndarray, np.ndarray]:
    """The places, and the mean of the rows at each."""
    places = sorted({row[by] for row in rows})
    return np.array(places), np.array([_mean(np.array([row[of] for row in rows if row[by] == at])) for at in places])


def crops(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Accuracy beside the error of one object's crops in the last stage, a dot per run: does equivariance pay?"""
    found = studied(runs, "crops")
    if not found:
        return None
    rows: list[ROW] = [
        {
            "recipe": run.recipe,
            "seed": run.seed,
            "layer": str(arrays["layers"][-1]),
            "error": _mean(arrays["error"][-1][arrays["counted"].astype(bool)]),
            "accuracy": run.metrics["accuracy"],
        }
        for run, arrays in found
    ]
    looks = styles([run.recipe for run, _ in found])
    figure, (panel,) = panels(1, wide=1.5)
    for recipe in looks:
        own = [row for row in rows if row["recipe"] == recipe]
        errors, shares = [row["error"] for row in own], [100 * row["accuracy"] for row in own]
        panel.plot(errors, shares, "o", color=looks[recipe]["color"], label=recipe)
    panel.set(xscale="log", xlabel="error of crops, last stage", ylabel="accuracy (%)")
    legend_beside(figure, [panel])
    return Drawing("crops", figure, rows)


def index(runs: Sequence[ScaleRun]) -> Drawing | None:
    """The scale that a network takes over the size of the object, a panel per recipe, a line per layer.

    It is the geometric mean over objects, channels and seeds, divided by that over all sizes, so that sides of kernels
    and factors of levels share an axis. A channel that says nothing of an object at some size is left out for it. A
    network that follows the object lies along the dotted line, and a canonicalizer that brings all objects to one size
    falls as it rises.
    """
    found = studied(runs, "index")
    if not found:
        return None
    rows = [row for run, arrays in found for row in _scales(run, arrays)]
    recipes = by_recipe([run for run, _ in found])
    figure, axes = panels(len(recipes))
    for recipe, panel in zip(recipes, axes, strict=True):
        own = [row for row in rows if row["recipe"] == recipe]
        for layer in dict.fromkeys(row["layer"] for row in own):
            of_layer = [row for row in own if row["layer"] == layer]
            sides, scales = _means(of_layer, "side", "relative scale")
            label = f"{layer}, r = {_mean(np.array([row['correlation'] for row in of_layer])):.2f}"
            panel.plot(sides, scales, label=label)
        middle = np.sqrt(sides[0] * sides[-1])
        panel.plot(sides, sides / middle, ":", color="0.6")
        panel.set(title=recipe, xlabel="side of the object (pixels)", ylabel="scale taken (relative)")
        panel.set(xscale="log", yscale="log")
        panel.legend(fontsize="x-small")
    return Drawing("index", figure, rows)


def _scales(run: ScaleRun, arrays: Arrays) -> list[ROW]:
    found = []
    for layer in (name.removesuffix("_scale") for name in arrays if name.endswith("_scale")):
        logs = np.log(arrays[f"{layer}_scale"].transpose(1, 0, 2).reshape(len(arrays["sides"]), -1))  # (S, N C)
        whole = logs[:, np.isfinite(logs).all(0)]  # others would move the mean where they fall silent
        per_side = np.exp(whole.mean(1) - whole.mean()) if whole.size else [nan] * len(logs)
        correlation, slope = (_mean(arrays[f"{layer}_{name}"]) for name in ("correlation", "slope"))
        found += [
            {
                "recipe": run.recipe,
                "seed": run.seed,
                "layer": layer,
                "side": int(side),
                "relative scale": float(scale),
                "correlation": correlation,
                "slope": slope,
            }
            for side, scale in zip(arrays["sides"], per_side, strict=True)
        ]
    return found


def channels(runs: Sequence[ScaleRun]) -> Drawing | None:
    """For one object, the scale that each channel of the last layer takes at every size: a panel per recipe, a line of
    colours per channel, in the order of their correlation with the object's side."""
    found = studied(runs, "index")
    firsts = {run.recipe: (run, arrays) for run, arrays in reversed(found)}
    if not firsts:
        return None
    rows: list[ROW] = []
    figure, axes = panels(len(firsts))
    for (recipe, (run, arrays)), panel in zip(firsts.items(), axes, strict=True):
        layer = [name.removesuffix("_scale") for name in arrays if name.endswith("_scale")][-1]
        scale, correlation = arrays[f"{layer}_scale"][0], arrays[f"{layer}_correlation"][0]  # (S, C), (C,)
        order = np.argsort(correlation)
        image = panel.imshow(scale.T[order], aspect="auto", extent=(*_ends(arrays["sides"]), len(order) - 0.5, -0.5))
        figure.colorbar(image, ax=panel, label="scale taken")
        panel.set(title=f"{recipe}, {layer}", xlabel="side of the object (pixels)", ylabel="channel, by correlation")
        rows += [
            {"recipe": recipe, "seed": run.seed, "layer": layer, "channel": int(channel), "side": int(side)}
            | {"scale": float(scale[place, channel]), "correlation": float(correlation[channel])}
            for channel in order
            for place, side in enumerate(arrays["sides"])
        ]
    return Drawing("channels", figure, rows)


def places(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Where each place takes its own scale: the maps of one object at four sizes, a line of panels per recipe. Channels
    of the last such layer stand side by side in every panel. The CSV has what they take in the object's box."""
    firsts = {run.recipe: (run, arrays) for run, arrays in reversed(studied(runs, "index")) if "mapped" in arrays}
    if not firsts:
        return None
    rows: list[ROW] = []
    columns = len(next(iter(firsts.values()))[1]["mapped"])  # all studies keep maps of the same sizes
    figure, axes = panels(columns * len(firsts), columns)
    for line, (recipe, (run, arrays)) in enumerate(firsts.items()):
        layer = [name.removesuffix("_places") for name in arrays if name.endswith("_places")][-1]
        maps, own = arrays[f"{layer}_places"], axes[line * columns : (line + 1) * columns]
        low, high = np.nanmin(maps), np.nanmax(maps)
        for panel, side, values in zip(own, arrays["mapped"], maps, strict=True):
            image = panel.imshow(_tiled(values), vmin=low, vmax=high)
            panel.set(title=f"object of {side} pixels", xticks=[], yticks=[])
            scale = arrays[f"{layer}_scale"][0, list(arrays["sides"]).index(side)]
            rows += [
                {"recipe": recipe, "seed": run.seed, "layer": layer, "side": int(side), "channel": channel}
                | {"scale in the box": float(value)}
                for channel, value in enumerate(scale)
            ]
        own[0].set_ylabel(f"{recipe}\n{layer}", fontsize="small")
        figure.colorbar(image, ax=own, label="scale taken")
    return Drawing("places", figure, rows)


def _tiled(maps: np.ndarray) -> np.ndarray:
    """(C, H, W) side by side, with a gap between them."""
    columns = int(np.ceil(np.sqrt(len(maps))))
    rows = -(-len(maps) // columns)
    padded = np.pad(maps, ((0, rows * columns - len(maps)), (1, 1), (1, 1)), constant_values=nan)
    return np.block([list(padded[row * columns : (row + 1) * columns]) for row in range(rows)])


def _ends(sides: np.ndarray) -> tuple[float, float]:
    return float(sides[0]), float(sides[-1])
