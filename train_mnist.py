"""Trains and evaluates on locally scaled digits: base, augmentation, equivariance, canonicalization and DEC runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from config.load import dump, load_recipes
from config.schema import Config, ConfigError
from dataloader.build import Data, build_data, build_train_loader
from dataloader.mnist import ScaledDigits
from dataloader.order import Indexed
from evaluation.evaluator import Evaluation, evaluate
from models.build import build_model, read_weights
from report.suite import write_report
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
        runner = Runner(arguments, process, lambda config: build(config, seed, process), read_weights)
        runner.run_all(recipes, lambda root, folder: write_suite(recipes, root, folder, seed))

    script.main(load, carry)


def build(config: Config, seed: int, process: Process) -> Experiment:
    """The experiment of a recipe."""
    data = build_data(config.data, config.evaluation, seed)
    loader = build_train_loader(data, config.data, config.train.batch_size, seed, process.share)
    model = build_model(config, data.train.num_classes, seed)
    chosen = config.evaluation
    rhythm = Rhythm(every=chosen.every, full_every=chosen.local_scale_every, before_training=chosen.before_training)

    def measure(model: nn.Module, full: bool) -> Evaluation:
        return measured(config, data, model, process, full)

    return Experiment(model, loader, measure, rhythm, refuse_head)


def refuse_head() -> None:
    raise ConfigError("no published classifier knows rows of digits")


class DigitsPart(NamedTuple):
    """Items that a model is judged by."""

    composed: ScaledDigits
    batches: list[list[int]]
    workers: int
    kind: str = "digits"
    groups: None = None

    def loader(self, batches: list[list[int]]) -> DataLoader:
        """(image, label, number) of these batches."""
        return DataLoader(Indexed(self.composed), batch_sampler=batches, num_workers=self.workers)

    def count_broken(self) -> int:
        """None: digits are drawn, not read."""
        return 0

    def check(self) -> None:
        """Digits are drawn, not read."""


def part_of(digits: ScaledDigits, items: list[int], size: int, workers: int = 0) -> DigitsPart:
    """These items in batches of this size."""
    return DigitsPart(digits, [items[start : start + size] for start in range(0, len(items), size)], workers)


def measured(config: Config, data: Data, model: nn.Module, process: Process, full: bool) -> Evaluation:
    """The metrics of the model as it is now."""
    chosen = config.evaluation
    size, workers = chosen.batch_size, config.data.workers
    return evaluate(
        model,
        {chosen.split: part_of(data.evaluated, data.evaluated_items, size, workers)},
        part_of(data.held_out, data.calibration_items, size, workers),
        grid_size=config.warp.grid_size,
        strength=config.warp.strength,
        local_scale_items=chosen.local_scale_items,
        local_scale_draws=chosen.local_scale_draws,
        batch_size=size,
        tells_warps=config.dec is not None,
        device=process.device,
        share=process.share,
        gather=process.gather,
        full=full,
    )


def write_suite(recipes: list[Recipe], root: Path, folder: Path, seed: int) -> list[Path]:
    """The table over a suite's runs, and a figure of its last DEC."""
    shown: Any = None
    for name, config, _ in recipes:
        if config.dec is not None:
            data = build_data(config.data, config.evaluation, seed)
            model = build_model(config, data.train.num_classes, seed).eval()
            start_from(model, read_weights(root / name / str(seed) / WEIGHTS), name)
            images = torch.stack([data.evaluated[item][0] for item in data.evaluated_items[:4]])
            with torch.no_grad():
                shown = images, model(images, return_output=True).phis
    return write_report(folder, root, [recipe.name for recipe in recipes], seed, shown)


if __name__ == "__main__":
    main()
