"""Trains and evaluates on locally scaled digits: base, augmentation, equivariance, canonicalization and DEC runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from config.load import dump, load_recipes
from config.schema import Config, ConfigError
from dataloader.batches import batches_of, first_of
from dataloader.build import build_splits
from dataloader.splits import Splits
from evaluation.equilibrium import ITEMS, equilibrium
from evaluation.evaluator import Evaluation, evaluate
from evaluation.report import write_report
from models.build import build_model, read_weights
from train import script
from train.checkpoint import WEIGHTS, start_from
from train.command import parse
from train.distributed import Process
from train.run import Rhythm
from train.script import Experiment, Recipe, Runner

EXAMPLES = """examples:
  python train_mnist.py                       the quickstart: three short runs on two cores, without network
  python train_mnist.py --config vit_data_augmentation data.root=FOLDER train.epochs=3
  torchrun --nproc_per_node 2 train_mnist.py --config swin_transformer --random_seed 70 --resume
"""


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(
        words, description=str(__doc__), examples=EXAMPLES, config_file="config_1.yaml", config="quickstart"
    )
    seed = arguments.random_seed

    def load() -> list[Recipe]:
        recipes = load_recipes(arguments.config_file, arguments.config, arguments.settings, Config)
        return [Recipe(name, config, dump(name, config)) for name, config in recipes]

    def carry(recipes: list[Recipe], process: Process) -> None:
        def built(config: Config) -> Experiment:
            return build(config, seed, process, trains=not arguments.eval_only)

        runner = Runner(arguments, process, built, read_weights)
        runner.run_all(recipes, lambda root, folder: write_suite(recipes, root, folder, seed))

    script.main(load, carry)


def build(config: Config, seed: int, process: Process, *, trains: bool = True) -> Experiment:
    """The experiment of a recipe."""
    splits = build_splits(config, seed, process.share, trains=trains)
    model = build_model(config, splits.num_classes, seed)
    chosen = config.evaluation
    rhythm = Rhythm(every=chosen.every, full_every=chosen.local_scale_every, before_training=chosen.before_training)

    def measure(model: nn.Module, full: bool) -> Evaluation:
        return measured(config, splits, model, process, full)

    return Experiment(model, splits.train, measure, rhythm, refuse_head)


def refuse_head() -> None:
    raise ConfigError("no published classifier knows rows of digits")


def measured(config: Config, splits: Splits, model: nn.Module, process: Process, full: bool) -> Evaluation:
    """The metrics of the model as it is now."""
    chosen = config.evaluation
    (part,), calibration, size = splits.evaluated.values(), splits.calibration, chosen.batch_size
    assert calibration is not None
    found = evaluate(
        model,
        lambda items: part.loader(batches_of([[item] for item in items], size)),
        part.composed,
        [item for batch in part.batches for item in batch],
        calibration=calibration.loader(calibration.batches),
        grid_size=config.warp.grid_size,
        strength=config.warp.strength,
        local_scale_items=chosen.local_scale_items,
        local_scale_draws=chosen.local_scale_draws,
        batch_size=size,
        device=process.device,
        share=process.share,
        gather=process.gather,
        full=full,
    )
    if full and config.dec is not None:
        some = part.loader(first_of(part.batches, ITEMS))
        found.metrics.update(equilibrium(model, some, device=process.device))
    return found


def write_suite(recipes: list[Recipe], root: Path, folder: Path, seed: int) -> list[Path]:
    """The table over a suite's runs, and a figure of its last DEC."""
    shown: Any = None
    for name, config, _ in recipes:
        if config.dec is not None:
            splits = build_splits(config, seed, trains=False)
            model = build_model(config, splits.num_classes, seed).eval()
            start_from(model, read_weights(root / name / str(seed) / WEIGHTS), name)
            (part,) = splits.evaluated.values()
            images = torch.cat([image for image, *_ in part.loader(first_of(part.batches, 4))])
            with torch.no_grad():
                shown = images, model(images, return_output=True).phis
    return write_report(folder, root, [recipe.name for recipe in recipes], seed, shown)


if __name__ == "__main__":
    main()
