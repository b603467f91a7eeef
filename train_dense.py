"""Trains and evaluates segmentation: what stands at every pixel, wherever local changes of scale move it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.load import load_recipes
from config.schema import Config
from dataloader.build import build_splits, count_classes
from models.build import build_model, read_weights
from report.suite import write_report
from train.build import build_trainer
from train.distributed import Process, start
from train.measuring import build_measure
from train.runs.command import parse
from train.runs.places import close_suite, root_of, suite_of
from train.runs.run import one_line_errors, open_run

EXAMPLES = """examples:
  python train_dense.py                       the suite dense_small: locally scaled digits, without network
  python train_dense.py --config dense_augmentation --random_seed 70
  python train_dense.py --config_file dense/pictures.yaml --config voc_vit_base data.root=FOLDER
"""


def main(words: Sequence[str] | None = None) -> None:
    """Carry out a recipe, or all recipes of a suite."""
    arguments = parse(
        words, description=str(__doc__), examples=EXAMPLES, config_file="dense/small.yaml", config="dense_small"
    )
    with one_line_errors():
        recipes = dict(load_recipes(arguments.config_file, arguments.config, arguments.settings, "dense"))
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
        process.say("\n".join(f"  {line}" for line in data.report))
        if run.source is not None:
            run.take_over(model, read_weights(run.source))
        measure = build_measure(config, data, process)
        if not run.trains:
            return run.close(run.evaluate(model, measure))
        trainer = build_trainer(config, model, data.train, run.seed, process, data.mix)
        if run.is_dry:
            return run.rehearse(trainer)
        run.close(run.fit(trainer, measure))


def write_suite(recipes: Mapping[str, Config], root: Path, folder: Path, seed: int) -> list[Path]:
    """The table over a suite's runs."""
    return write_report(folder, root, list(recipes), seed)


if __name__ == "__main__":
    main()
