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
from report.scale.protocol import ScaleRun, by_recipe, scale_runs

LOG = "metrics.jsonl"


def watched(run: ScaleRun) -> float:
    """The best accuracy of its epochs on validation objects."""
    lines = [json.loads(line) for line in (run.folder / LOG).read_text("utf-8").splitlines()]
    values = [line["watched_accuracy"] for line in lines if "watched_accuracy" in line]
    if not values:
        raise ValueError(f"{run.folder / LOG} has no watched_accuracy; expected a run with train.patience")
    return max(values)


def chosen(runs: Sequence[ScaleRun]) -> tuple[float, dict[float, float]]:
    """The rate that wins, and the median of every rate, of runs of one recipe."""
    by_rate: dict[float, list[float]] = {}
    for run in runs:
        by_rate.setdefault(run.config["train"]["backbone_lr"], []).append(watched(run))
    medians = {rate: statistics.median(by_rate[rate]) for rate in sorted(by_rate)}
    return max(medians, key=lambda rate: (medians[rate], -rate)), medians


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per recipe, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m report.scale.rates", description=__doc__)
    parser.add_argument("roots", nargs="+", help="folders that hold <recipe>/<seed>/summary.json")
    try:
        runs = [run for root in parser.parse_args(arguments).roots for run in scale_runs(root)]
        found = {recipe: chosen(own) for recipe, own in by_recipe(runs).items()}
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
