"""Trains and evaluates on locally scaled digits: base, augmentation, equivariance, canonicalization and DEC runs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from config.load import load_recipes
from config.schema import Config, DigitsData
from dataloader.build import build_splits, count_classes
from models.build import build_model, check_head, read_weights
from report.suite import write_report
from train.build import build_trainer
from train.distributed import Process, start
from train.measuring import build_measure
from train.runs.checkpoint import WEIGHTS, start_from
from train.runs.command import parse
from train.runs.places import close_suite, root_of, suite_of
from train.runs.run import one_line_errors, open_run
from train.studying import build_studies

EXAMPLES = """examples:
  python train_mnist.py                       the quickstart: five short runs on two cores, without network
  python train_mnist.py --config vit_data_augmentation data.root=FOLDER train.epochs=3
  torchrun --nproc_per_node 2 train_mnist.py --config swin_transformer --random_seed 70 --resume
"""


def main(words: Sequence[str] | None = None) -> None:
    """Carry out a recipe, or all recipes of a suite."""
    arguments = parse(
        words, description=str(__doc__), examples=EXAMPLES, config_file="config_1.yaml", config="quickstart"
    )
    with one_line_errors():
        recipes = dict(load_recipes(arguments.config_file, arguments.config, arguments.settings, "digits"))
        suite, (first, *_) = suite_of(arguments, recipes), recipes.values()
        process = start(first.train.device)
        for name, config in recipes.items():
            run_recipe(name, config, arguments, process, suite)
        if suite and process.is_first and not (arguments.dry_run or arguments.eval_only):
            root, seed = root_of(first, arguments, suite), arguments.random_seed
            close_suite(suite, root, seed, lambda folder: write_suite(recipes, root, folder, seed))


def run_recipe(name: str, config: Config, arguments: Namespace, process: Process, suite: str | None) -> None:
    """Build, train, measure and write."""
    with open_run(name, config, arguments, process, suite) as run:
        if run is None:
            return
        config = run.config
        with run.building():
            classes = count_classes(config)
            model = build_model(config, classes, run.seed)
            data = build_splits(config, run.seed, process.share, trains=run.trains)
            if run.starts_published:
                check_head(config.model, classes)
            fresh = partial(build_model, config.untrained(), classes, run.seed)
            study = build_studies(config, data, model, fresh, run.seed, process)
        if run.source is not None:
            run.take_over(model, read_weights(run.source))
        measure = build_measure(config, data, process)
        if not run.trains:
            return run.close(run.evaluate(model, measure, study))
        trainer = build_trainer(config, model, data.train, run.seed, process, data.mix)
        if run.is_dry:
            return run.rehearse(trainer)
        run.close(run.fit(trainer, measure, study=study))


def write_suite(recipes: Mapping[str, Config], root: Path, folder: Path, seed: int) -> list[Path]:
    """The table over a suite's runs, and a figure of its last DEC."""
    shown = None
    for name, config in recipes.items():
        if "equilibrium" in config.method.gives:
            part = next(iter(build_splits(config, seed).evaluated.values()))
            model = build_model(config, count_classes(config), seed).eval()
            start_from(model, read_weights(root / name / str(seed) / WEIGHTS), name)
            images, *_ = next(iter(part.loader([part.batches[0][:4]])))
            with torch.no_grad():
                shown = images, model(images, return_output=True).phis
    first = next(iter(recipes.values())).data
    trained = first.scales[0] if isinstance(first, DigitsData) else None
    return write_report(folder, root, list(recipes), seed, shown, trained)


if __name__ == "__main__":
    main()
