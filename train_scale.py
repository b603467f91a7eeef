"""Trains scale-equivariant networks on objects of many sizes, and judges them by each size."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from config.load import comparable, load_recipes
from config.scenarios import SCENARIOS
from config.schema import Config, ScaledData, StirData
from dataloader.build import build_splits, count_classes
from models.build import build_model, check_fit, check_head, read_weights
from report.scale.protocol import Protocol, names_of
from report.suite import write_report
from train.build import build_trainer
from train.distributed import Process, start
from train.measuring import build_measure, build_watch
from train.runs.command import parse
from train.runs.places import close_suite, root_of, suite_of
from train.runs.run import one_line_errors, open_run
from train.studying import build_studies

KINDS = ("stir", "scaled", "digits")  # of data, objects of many sizes all of them
EXAMPLES = """examples:
  python train_scale.py                       the suite quick: five networks, a quarter of an hour on a core
  python train_scale.py --config emoji_hermite --random_seed 70
  python train_scale.py --config mnist_disco data.root=FOLDER train.backbone_lr=0.01
  python train_scale.py --config_file scale/mnist_scale.yaml --config mnist_scale_quick
  python train_scale.py --config_file scale/local.yaml --config local_quick
"""


def main(words: Sequence[str] | None = None) -> None:
    """Carry out a recipe, or all recipes of a suite."""
    arguments = parse(words, description=str(__doc__), examples=EXAMPLES, config_file="scale/stir.yaml", config="quick")
    with one_line_errors():
        recipes = dict(load_recipes(arguments.config_file, arguments.config, arguments.settings, KINDS))
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
            check_fit(model, data.first_image)
            fresh = partial(build_model, config.untrained(), classes, run.seed)
            study = build_studies(config, data, model, fresh, run.seed, process)
        process.say("\n".join(f"  {line}" for line in data.report))
        if run.source is not None:
            run.take_over(model, read_weights(run.source))
        measure, watch = build_measure(config, data, process), build_watch(data, process)
        if not run.trains:
            return run.close(run.evaluate(model, measure, study))
        trainer = build_trainer(config, model, data.train, run.seed, process, data.mix)
        if run.is_dry:
            return run.rehearse(trainer)
        run.close(run.fit(trainer, measure, watch, study))


def write_suite(recipes: Mapping[str, Config], root: Path, folder: Path, seed: int) -> list[Path]:
    """The table over a suite's runs, and their accuracy over the sizes of objects; a folder for each protocol, where
    there are several: runs of different ones stand in no common table."""
    protocols: dict[Protocol, list[str]] = {}
    for name, config in recipes.items():
        protocols.setdefault(Protocol.of(comparable(config)), []).append(name)
    written = []
    for protocol, title in names_of(protocols).items():
        own = protocols[protocol]
        place = folder / title if len(protocols) > 1 else folder
        written += write_report(place, root, own, seed, trained=_trained(recipes[own[0]]))
    return written


def _trained(config: Config) -> tuple[float, float] | None:
    """The smallest and the largest size that a recipe trains on, in the unit of its curves."""
    data = config.data
    if isinstance(data, StirData):
        sides = SCENARIOS[data.scenario].trained
        return float(sides[0]), float(sides[-1])
    if isinstance(data, ScaledData):
        return data.span
    return None


if __name__ == "__main__":
    main()
