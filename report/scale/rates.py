"""Which learning rate a recipe is given, by the published rule: ``python -m report.scale.rates FOLDER FOLDER ...``.

Each folder holds runs of one rate and several seeds. The rate wins whose runs have the larger median of the best
accuracy on validation objects, which have the sizes of training. Of equal ones the smaller rate wins. Test objects have
no part in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence

from report.markup import markup
from report.runs import METRICS, collect, tell_unreadable
from report.scale.protocol import ScaleRun, by_recipe, require_one_protocol, scale_runs


def watched(run: ScaleRun) -> float:
    """The best accuracy of its epochs on validation objects."""
    path = run.folder / METRICS
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); expected a line of JSON per epoch") from error
    values = [line["watched_accuracy"] for line in lines if "watched_accuracy" in line]
    if not values:
        raise ValueError(f"{path} has no watched_accuracy; expected a run with train.patience")
    return max(values)


def chosen(runs: Sequence[ScaleRun]) -> tuple[float, dict[float, float]]:
    """The rate that wins, and the median of every rate, of runs of one recipe: of one protocol, with equal seeds."""
    require_one_protocol(runs, "give the folders of one")
    by_rate: dict[float, dict[int, float]] = {}
    for run in runs:
        by_rate.setdefault(run.config["train"]["backbone_lr"], {})[run.seed] = watched(run)
    seeds = {rate: sorted(by_seed) for rate, by_seed in sorted(by_rate.items())}
    if len({*map(tuple, seeds.values())}) > 1:
        told = "; ".join(f"{own} at {rate:g}" for rate, own in seeds.items())
        raise ValueError(f"{runs[0].recipe} has the seeds {told}; expected the same ones at every rate")
    medians = {rate: statistics.median(by_rate[rate].values()) for rate in seeds}
    return max(medians, key=lambda rate: (medians[rate], -rate)), medians


def compared(roots: Sequence[str]) -> dict[str, tuple[float, dict[float, float]]]:
    """Of every recipe in these folders, what ``chosen`` tells."""
    tell_unreadable([run for root in roots for run in collect(root)])
    runs = [run for root in roots for run in scale_runs(root)]
    found = {recipe: chosen(own) for recipe, own in by_recipe(runs).items()}
    if len({rate for _, medians in found.values() for rate in medians}) < 2:
        has = f"finished runs of {runs[0].config['train']['backbone_lr']:g} alone" if runs else "no finished runs"
        raise ValueError(f"there is nothing to compare: {', '.join(roots)} has {has}; expected runs at several rates")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per recipe, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m report.scale.rates", description=__doc__)
    parser.add_argument("roots", nargs="+", help="folders that hold <recipe>/<seed>/summary.json")
    try:
        found = compared(parser.parse_args(arguments).roots)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rates = sorted({rate for _, medians in found.values() for rate in medians})
    lines = [
        [recipe, *(f"{100 * medians[rate]:.2f}" if rate in medians else "-" for rate in rates), f"{best:g}"]
        for recipe, (best, medians) in found.items()
    ]
    headings = ["recipe", *(f"median at {rate:g} (%)" for rate in rates), "chosen"]
    print(markup(headings, lines, [], "text"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
