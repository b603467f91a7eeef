"""Figures of accuracy: over the objects' sizes, of all seeds, and beside what a network costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from report.scale.drawing import Drawing, legend_beside, mean_curve, panels, styles
from report.scale.protocol import ScaleRun, by_protocol, by_recipe


def curves(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Accuracy at every size, a panel per protocol, a line per recipe: the mean over its seeds. The sizes of training
    are shaded."""
    runs = [run for run in runs if run.curve]
    if not runs:
        return None
    looks, rows = styles([run.recipe for run in runs]), []
    protocols = by_protocol(runs)
    figure, axes = panels(len(protocols))
    for (protocol, own), panel in zip(protocols.items(), axes, strict=True):
        if protocol.scenario is not None:
            panel.axvspan(protocol.scenario.trained[0], protocol.scenario.trained[-1], color="0.85", label="trained")
        for recipe, seeds in by_recipe(own).items():
            sides, shares = mean_curve([run.curve for run in seeds])
            panel.plot(sides, 100 * shares, label=recipe, **looks[recipe])
            rows += [
                {"protocol": protocol.title, "recipe": recipe, "side": side, "accuracy": share, "seeds": len(seeds)}
                for side, share in zip(sides, shares, strict=True)
            ]
        panel.set(title=protocol.title, xlabel="side of the object (pixels)", ylabel="accuracy (%)", ylim=(0, 101))
    legend_beside(figure, axes)
    return Drawing("sizes", figure, rows)


def scores(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Accuracy at the tested sizes, a panel per protocol: a box per recipe, and a dot for each of its seeds."""
    protocols, rows = by_protocol(runs), []
    most = max(len(by_recipe(own)) for own in protocols.values())
    figure, axes = panels(len(protocols), high=max(0.85, 0.07 * most))  # so that names do not overlap
    for (protocol, own), panel in zip(protocols.items(), axes, strict=True):
        recipes = by_recipe(own)
        for place, (recipe, seeds) in enumerate(recipes.items()):
            values = [100 * run.metrics["accuracy"] for run in seeds]
            panel.boxplot(values, positions=[place], orientation="horizontal", widths=0.6, showfliers=False)
            panel.plot(values, np.full(len(values), place), "o", color="tab:blue", markersize=3)
            rows += [
                {"protocol": protocol.title, "recipe": recipe, "seed": run.seed, "accuracy": run.metrics["accuracy"]}
                for run in seeds
            ]
        panel.set(title=protocol.title, xlabel="accuracy (%)", yticks=range(len(recipes)), yticklabels=list(recipes))
        panel.invert_yaxis()
    return Drawing("scores", figure, rows)


def costs(runs: Sequence[ScaleRun]) -> Drawing | None:
    """Accuracy beside the seconds of an epoch, a panel per protocol, a dot per recipe: the medians over its seeds."""
    runs = [run for run in runs if run.seconds_per_epoch is not None]
    if not runs:
        return None
    looks, protocols, rows = styles([run.recipe for run in runs]), by_protocol(runs), []
    figure, axes = panels(len(protocols))
    for (protocol, own), panel in zip(protocols.items(), axes, strict=True):
        for recipe, seeds in by_recipe(own).items():
            seconds = median(run.seconds_per_epoch for run in seeds if run.seconds_per_epoch is not None)
            accuracy = median(run.metrics["accuracy"] for run in seeds)
            panel.plot(seconds, 100 * accuracy, "o", color=looks[recipe]["color"])
            panel.annotate(recipe, (seconds, 100 * accuracy), fontsize="x-small")
            known = {name: seeds[0].metrics.get(name) for name in ("parameters", "multiply_adds")}
            row = {"protocol": protocol.title, "recipe": recipe, "seconds per epoch": seconds, "accuracy": accuracy}
            rows.append(row | known)
        panel.set(title=protocol.title, xlabel="seconds per epoch", ylabel="accuracy (%)", xscale="log")
    return Drawing("costs", figure, rows)
