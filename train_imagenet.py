"""Fine-tunes and evaluates on multi-scale ImageNet: base, augmentation, equivariance, canonicalization and DEC."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial

from config.load import load_recipes
from config.schema import Config
from dataloader.build import build_splits, count_classes
from dataloader.pictures.build import check_folders
from dataloader.pictures.decoding import BrokenPictures
from models.build import build_model, check_head, input_description, read_weights
from report.suite import write_report
from train.build import build_trainer
from train.distributed import Process, start
from train.measuring import build_measure
from train.runs.command import parse
from train.runs.errors import RunError
from train.runs.places import close_suite, root_of, suite_of
from train.runs.run import one_line_errors, open_run
from train.studying import build_studies

EXAMPLES = """examples:
  python train_imagenet.py --config smoke                    five short runs on shapes that it draws, two cores
  python train_imagenet.py --config dem_swin --data_dir DIR  one published recipe
  python train_imagenet.py --config base_deit --data_dir DIR --eval_only      a timm model as it is
  torchrun --nproc_per_node 8 train_imagenet.py --config dem_vit --data_dir DIR --multi_scale_dir DIR --resume
"""
NEEDS = f"""train_imagenet.py needs a recipe and, except for smoke, a folder of pictures:

  --config NAME       of config/adapter_config.yaml: base, and base_M aug_M equiv_M cannon_M dem_M for M in swin vit
                      deit beit resnet dinov2; or smoke, which needs no data and no network
  --data_dir DIR      DIR/train/SYNSET/NAME.JPEG and DIR/val/SYNSET/NAME.JPEG; files NAME_scale_S.JPEG show one object
                      at scale S and are evaluated together
  --multi_scale_dir   such files elsewhere, where DIR is plain ImageNet
  model.weights=FILE model.pretrained=false    weights from a file instead of the model hub

{EXAMPLES}
--help lists all options; every setting of a recipe can be given as key=value."""


def main(words: Sequence[str] | None = None) -> None:
    """Carry out a recipe, or all recipes of a suite."""
    folders = {"data_dir": "data.root", "multi_scale_dir": "data.multi_scale_root"}
    file = "adapter_config.yaml"
    arguments = parse(
        words, description=str(__doc__), examples=EXAMPLES, config_file=file, config=None, folders=folders
    )
    if arguments.config is None and arguments.config_file == file:
        print(NEEDS, file=sys.stderr)
        sys.exit(2)
    with one_line_errors():
        recipes = dict(load_recipes(arguments.config_file, arguments.config, arguments.settings, "pictures"))
        suite, (first, *_) = suite_of(arguments, recipes), recipes.values()
        process = start(first.train.device)
        try:
            for name, config in recipes.items():
                run_recipe(name, config, arguments, process, suite)
        except BrokenPictures as error:
            raise RunError(str(error)) from error
        if suite and process.is_first and not (arguments.dry_run or arguments.eval_only):
            root, seed = root_of(first, arguments, suite), arguments.random_seed
            close_suite(suite, root, seed, lambda folder: write_report(folder, root, list(recipes), seed))


def run_recipe(name: str, config: Config, arguments: Namespace, process: Process, suite: str | None) -> None:
    """Build, train, measure and write."""
    with open_run(name, config, arguments, process, suite) as run:
        if run is None:
            return
        config = run.config
        with run.building():
            check_folders(config, trains=run.trains)
            classes = count_classes(config)
            model = build_model(config, classes, run.seed)
            description = input_description(config.model, model)
            data = build_splits(config, run.seed, process.share, description, trains=run.trains)
            if run.starts_published:
                check_head(config.model, classes)
            fresh = partial(build_model, config.untrained(), classes, run.seed)
            study = build_studies(config, data, model, fresh, run.seed, process)
        process.say("\n".join(f"  {line}" for line in data.report))
        if run.source is not None:
            run.take_over(model, read_weights(run.source))
        measure = build_measure(config, data, process)
        if run.trains:
            trainer = build_trainer(config, model, data.train, run.seed, process, data.mix)
            if run.is_dry:
                return run.rehearse(trainer)
            return run.close(run.fit(trainer, measure, study=study))
        run.close(run.evaluate(model, measure, study))


if __name__ == "__main__":
    main()
