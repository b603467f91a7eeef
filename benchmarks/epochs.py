"""Seconds of an epoch of several recipes, on this machine and taken in turn: a slow minute hits all of them alike.

``python -m benchmarks.epochs --config mnist_cpu data.root=FOLDER``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.inputs import checked
from benchmarks.measure import medians
from benchmarks.report import typed, write
from config.load import load_recipes
from config.schema import Config
from dataloader.build import build_splits, count_classes
from models.build import build_model
from train.build import build_trainer
from train.distributed import start
from train.loop import Trainer
from train.phases import Place
from train_scale import KINDS

NOTES = (
    "One line for each phase of a recipe, and the parts that train in it. Seconds of an epoch are those of {steps} "
    "training steps, from the first ones on, times the steps of an epoch; medians of {repeats} interleaved calls. A "
    "DEC that has learned may need more evaluations. What is measured after an epoch is not in them."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=__doc__.split("\n")[2].strip("`"))
    parser.add_argument("--config_file", default="scale/stir.yaml")
    parser.add_argument("--config", default="mnist_cpu", help="a suite, or a recipe (mnist_cpu)")
    parser.add_argument("--steps", type=int, default=32, help="of each phase in each call (32)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)
    with checked():
        recipes = dict(load_recipes(options.config_file, options.config, options.settings, KINDS))
        phases = [(name, *phase) for name, config in recipes.items() for phase in phases_of(config)]
    counts = [min(options.steps, len(trainer.order)) for *_, trainer in phases]
    # by their numbers: a recipe can have two phases of the same parts
    calls = {str(number): partial(go_on, phases[number][-1], steps) for number, steps in enumerate(counts)}
    seconds = medians(calls, options.repeats).values()
    rows: list[dict[str, Any]] = [
        {
            "recipe": name,
            "trains": parts,
            "steps": len(trainer.order),
            "seconds per epoch": len(trainer.order) * once / steps,
        }
        for (name, parts, trainer), once, steps in zip(phases, seconds, counts, strict=True)
    ]
    for row in rows:
        row["times the first"] = row["seconds per epoch"] / rows[0]["seconds per epoch"]
    write("epochs", typed("epochs"), rows, NOTES.format(steps=options.steps, repeats=options.repeats))


def phases_of(config: Config) -> Iterator[tuple[str, Trainer]]:
    """What trains in each phase, and a trainer that is about to begin it."""
    process = start(config.train.device)
    model = build_model(config, count_classes(config), 0)
    data = build_splits(config, 0, process.share, trains=True)
    trainer = build_trainer(config, model, data.train, 0, process, data.mix)
    for phase in trainer.phases:
        parts = [part for part in phase.trains if part in trainer.learners]
        yield " and ".join(parts), replace(trainer, place=Place(epoch=phase.start))


def go_on(trainer: Trainer, steps: int) -> None:
    """Train so many steps more; after the last of an epoch, from its first one on."""
    if trainer.place.step + steps > len(trainer.order):
        trainer.place.step = 0
    trainer.fit(max_steps=trainer.place.step + steps)


if __name__ == "__main__":
    main()
