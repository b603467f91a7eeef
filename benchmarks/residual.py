"""What a residual DEC gains over its baselines, of finished runs: ``python -m benchmarks.residual RUNS``.

Every part of the comparison is a table of its rows, and the paired differences of some of them. What has not been run
is left out. Ratios are of the two means.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.report import RESULTS, typed
from report.compare import Difference, compare
from report.markup import heading, markup, number
from report.runs import ITEMS, Run, collect
from report.table import render, table
from train.runs.errors import RunError
from train.runs.origin import origin
from train.runs.run import one_line_errors

WARPS = ("warp_invariance_error_tempered", "warp_invariance_flips")
OF_DIGITS = ("accuracy", "warp_accuracy", *WARPS, "local_scale_error_tempered", "local_scale_flips", "undone")
OF_PICTURES = ("top1_at_1", "warp_accuracy", "warp_accuracy_at_0.5", *WARPS, "warp_accuracy_by_bicubic", "undone")
PER_ITEM = {  # metrics that keep values per item under other names, by those names
    "digits": ("correct", "warp_correct", "warp_error_tempered", "warp_flip", "local_scale_error_tempered"),
    "unseen": ("accuracy_over_scales", "correct", "warp_correct"),
    "pictures": (
        *("top1_at_1", "warp_correct", "warp_accuracy_at_0.5", "warp_invariance_error_tempered"),
        *("warp_invariance_flips", "warp_flips_at_0.5", "warp_error_tempered_at_0.5"),
    ),
}


class Part(NamedTuple):
    """A part of the comparison.

    Args:
        title: of its section.
        recipes: one row each.
        metrics: one column each.
        pairs: recipes whose difference is told.
        items: the metrics that it is told of.
    """

    title: str
    recipes: Sequence[str]
    metrics: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    items: Sequence[str]


PARTS = (
    Part(
        "Digits, in distribution",
        (
            *("small_base", "small_augmentation", "small_averaged", "small_equiv", "small_dem", "small_residual"),
            *("small_long", "small_taught", "small_longest", "small_residual_long"),
        ),
        (*OF_DIGITS, "seconds"),
        (
            ("small_residual", "small_augmentation"),
            ("small_residual", "small_long"),
            ("small_residual", "small_taught"),
            ("small_residual_long", "small_longest"),
        ),
        PER_ITEM["digits"],
    ),
    Part(
        "A backbone that is not touched",
        ("small_base", "frozen_residual"),
        (*OF_DIGITS, "warp_oracle_accuracy", "accuracy_bypassed"),
        (("frozen_residual", "small_base"),),
        PER_ITEM["digits"],
    ),
    Part(
        "Scales that the backbone never saw",
        (
            *("unseen_base", "unseen_augmentation", "unseen_equiv", "unseen_taught"),
            *("unseen_canonicalizer", "unseen_residual", "unseen_warps"),
        ),
        ("accuracy_over_scales", "accuracy_at_0.4", "accuracy_at_1", "accuracy_at_2", "accuracy", "warp_accuracy"),
        (
            ("unseen_residual", "unseen_augmentation"),
            ("unseen_residual", "unseen_taught"),
            ("unseen_canonicalizer", "unseen_base"),
        ),
        PER_ITEM["unseen"],
    ),
    Part(
        "A tenth of the labels",
        ("few_base", "few_augmentation", "few_taught", "few_canonicalizer", "few_residual"),
        OF_DIGITS,
        (("few_residual", "few_augmentation"), ("few_residual", "few_taught")),
        PER_ITEM["digits"],
    ),
    Part(
        "A hundredth of the labels",
        ("fewest_base", "fewest_augmentation", "fewest_canonicalizer", "fewest_residual"),
        OF_DIGITS,
        (("fewest_residual", "fewest_augmentation"),),
        PER_ITEM["digits"],
    ),
    Part(
        "Evaluations of the map in the place of the solver",
        ("small_residual", "small_residual_long", "frozen_residual"),
        [f"{name}_after_{count}" for name in ("accuracy", "warp_accuracy") for count in (1, 2, 3, 5, 8)],
        (),
        (),
    ),
    Part(
        "Photographs, DeiT-tiny",
        ("undo_plain", "undo_averaged", "undo_canonicalizer", "undo_augmentation", "undo_residual"),
        (*OF_PICTURES, "consistency_error_tempered", "seconds"),
        (("undo_canonicalizer", "undo_plain"), ("undo_residual", "undo_augmentation")),
        PER_ITEM["pictures"],
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--name", default="residual", help="of the file in benchmarks/results, without its ending")
    options = parser.parse_args()
    with one_line_errors():
        write_report(options.root, options.name)


def write_report(root: str, name: str) -> None:
    """Print the whole comparison, and store it under this name beside the other results."""
    try:
        runs = [run for run in collect(root) if run.metrics is not None]
    except ValueError as error:
        raise RunError(str(error)) from error
    known = origin()
    facts = f"commit {known['commit']}; {known['hardware']}; torch {known['versions']['torch']}"
    text = "\n".join(
        [f"# {name}", "", *(section(part, runs) for part in PARTS), f"`{typed('residual')}`; {facts}.", ""]
    )
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def section(part: Part, runs: Sequence[Run]) -> str:
    """The table of a part and its differences, of those recipes that were run."""
    recipes = [name for name in part.recipes if any(run.recipe == name for run in runs)]
    if not recipes:
        return f"## {part.title}\n\nNot yet run.\n"
    known = {name for run in runs if run.recipe in recipes for name in run.metrics or {}}
    rows = table(runs, [name for name in part.metrics if name in known], recipes)
    differences = [difference(part, pair, runs) for pair in part.pairs if common_seeds(pair, runs)]
    return "\n".join([f"## {part.title}", "", render(rows, "markdown"), *differences])


def common_seeds(pair: tuple[str, str], runs: Sequence[Run]) -> set[int]:
    """That both recipes have finished, with values per item."""
    first, second = (
        {run.seed for run in runs if run.recipe == name and (run.folder / ITEMS).is_file()} for name in pair
    )
    return first & second


def difference(part: Part, pair: tuple[str, str], runs: Sequence[Run]) -> str:
    """Two recipes on the same items, with the ratio of their means."""
    found, seeds = compare(runs, *pair)
    headings = ["metric", *pair, "difference", "95 % interval", "ratio", "items"]
    lines = [line(one) for one in found if one.metric in part.items]
    notes = [f"Paired bootstrap over items; mean of seeds {', '.join(map(str, seeds))}."]
    return markup(headings, lines, notes, "markdown")


def line(one: Difference) -> list[str]:
    low, high = (number(one.metric, value, signed=True) for value in (one.low, one.high))
    values = [number(one.metric, value) for value in (one.a, one.b)]
    ratio = f"{one.a / one.b:.2f}" if one.b else "-"
    return [
        heading(one.metric),
        *values,
        number(one.metric, one.difference, signed=True),
        f"{low} to {high}",
        ratio,
        str(one.items),
    ]


if __name__ == "__main__":
    main()
