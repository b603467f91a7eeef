"""The local-scale error of finished runs over more items than a run measures: differences that 64 items cannot show."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ablation import recipe, spread
from benchmarks.inputs import checked
from benchmarks.report import typed, write
from dataloader.build import build_splits
from evaluation.scales import local_scale_pairs
from models.build import build_model, read_weights
from report.bootstrap import paired_bootstrap
from report.runs import Run, collect
from train.runs.checkpoint import start_from

NOTES = (
    "Relative local-scale error of finished runs at the temperature that calibrates each, mean ± sample standard "
    "deviation over seeds; then the first recipe minus each other one on the same items, mean of the seeds, with the "
    "95 % interval of a paired bootstrap over items."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="python -m benchmarks.local_scale weights --recipes light_dem light_control"
    )
    parser.add_argument("root", type=Path, help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--draws", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with checked():
        runs = finished(arguments.root, arguments.recipes)
    found = {
        name: np.stack([errors(run, arguments.items, arguments.draws) for run in own]) for name, own in runs.items()
    }
    rows = []
    for name, values in found.items():
        row: dict[str, Any] = {"recipe": name, "seeds": len(values), "error": spread(values.mean(1).tolist())}
        if name != arguments.recipes[0]:
            difference = paired_bootstrap(found[arguments.recipes[0]], values)
            row[f"{arguments.recipes[0]} minus it"] = "{difference:+.4f} ({low:+.4f} to {high:+.4f})".format(
                **difference
            )
        rows.append(row)
    write("local_scale", typed("local_scale"), rows, f"{arguments.items} test items, {arguments.draws} draws. {NOTES}")


def finished(root: Path, recipes: Sequence[str]) -> dict[str, list[Run]]:
    """The finished runs of every recipe, of which each has some."""
    runs = [run for run in collect(root) if run.metrics is not None]
    found = {name: [run for run in runs if run.recipe == name] for name in recipes}
    if absent := [name for name, own in found.items() if not own]:
        known = ", ".join(dict.fromkeys(run.recipe for run in runs))
        raise ValueError(f"{root} has no finished run of {', '.join(absent)}; it has {known or 'none'}")
    return found


def errors(run: Run, items: int, draws: int) -> np.ndarray:
    """Of every item, (N,)."""
    config = recipe(run.recipe, file=str(run.folder / "config.yaml"))
    splits = build_splits(config, run.seed, trains=False)
    model = build_model(config, splits.num_classes, run.seed)
    start_from(model, read_weights(run.folder / "model.safetensors"), run.recipe)
    assert run.metrics is not None
    (part,) = splits.evaluated.values()
    chosen = [item for batch in part.batches for item in batch][:items]
    found = local_scale_pairs(model, part.composed, chosen, draws=draws)
    print(run.recipe, run.seed, flush=True)
    return found.changed.errors(run.metrics["temperature"], relative=True).numpy()


if __name__ == "__main__":
    main()
