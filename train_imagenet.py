"""Fine-tunes and evaluates on multi-scale ImageNet: base, augmentation, equivariance, canonicalization and DEC."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from config.imagenet import ImageNetConfig
from config.load import dump, load_recipes
from dataloader.batches import first_of
from dataloader.build import build_splits, count_classes
from dataloader.pictures.decoding import BrokenPictures
from dataloader.splits import Splits
from evaluation.equilibrium import ITEMS, equilibrium
from evaluation.evaluator import Evaluation
from evaluation.figures import scale_curve, scale_figure
from evaluation.image_evaluator import evaluate_pictures
from evaluation.report import write_report
from models.build import build_model, check_head, input_description, read_weights
from train import script
from train.command import parse
from train.distributed import Process
from train.errors import RunError
from train.run import Rhythm
from train.script import Experiment, Recipe, Runner

EXAMPLES = """examples:
  python train_imagenet.py --config smoke                    five short runs on shapes that it draws, two cores
  python train_imagenet.py --config dem_swin --data_dir DIR  one published recipe
  python train_imagenet.py --config base_deit --data_dir DIR --eval_only      a timm model as it is
  torchrun --nproc_per_node 8 train_imagenet.py --config dem_vit --data_dir DIR --multi_scale_dir DIR --resume
"""
NEEDS = f"""train_imagenet.py needs a recipe and, but for smoke, a folder of pictures:

  --config NAME       of config/adapter_config.yaml: base, and base_M aug_M equiv_M cannon_M dem_M for M in swin vit
                      deit beit resnet dinov2; or smoke, which needs no data and no network
  --data_dir DIR      DIR/train/SYNSET/NAME.JPEG and DIR/val/SYNSET/NAME.JPEG; files NAME_scale_S.JPEG show one object
                      at scale S and are evaluated together
  --multi_scale_dir   such files elsewhere, where DIR is plain ImageNet
  model.weights=FILE model.pretrained=false    weights from a file instead of the model hub

{EXAMPLES}
--help lists all options; every setting of a recipe can be given as key=value."""


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(
        words,
        description=str(__doc__),
        examples=EXAMPLES,
        config_file="adapter_config.yaml",
        config=None,
        folders={"data_dir": "data.root", "multi_scale_dir": "data.multi_scale_root"},
    )
    if arguments.config is None and arguments.config_file == "adapter_config.yaml":
        print(NEEDS, file=sys.stderr)
        sys.exit(2)
    seed = arguments.random_seed

    def load() -> list[Recipe]:
        recipes = load_recipes(arguments.config_file, arguments.config, arguments.settings, ImageNetConfig)
        return [Recipe(name, config, dump(name, config)) for name, config in recipes]

    def carry(recipes: list[Recipe], process: Process) -> None:
        def built(config: Any) -> Experiment:
            return build(config.resolved(), seed, process, trains=not arguments.eval_only)

        names = [recipe.name for recipe in recipes]
        runner = Runner(arguments, process, built, read_weights)
        try:
            runner.run_all(recipes, lambda root, folder: write_report(folder, root, names, seed))
        except BrokenPictures as error:  # of a worker, it holds the worker's traceback, and ends with what we said
            raise RunError(str(error).splitlines()[-1].rpartition("BrokenPictures: ")[2]) from error

    script.main(load, carry)


def build(config: ImageNetConfig, seed: int, process: Process, *, trains: bool = True) -> Experiment:
    """The experiment of a recipe."""
    model = build_model(config, count_classes(config), seed, is_normalized=True)
    splits = build_splits(config, seed, process.share, input_description(config.model, model), trains=trains)
    if process.is_first:  # it takes a minute for millions of files
        process.say("\n".join(f"  {line}" for line in splits.report))
    chosen = config.evaluation
    return Experiment(
        model,
        splits.train,
        lambda model, full: measured(config, splits, model, process, full),
        Rhythm(every=chosen.every, full_every=chosen.full_every, before_training=chosen.before_training),
        lambda: check_head(config.model, splits.num_classes),
        splits.mix,
        draw_scales,
    )


def measured(config: ImageNetConfig, splits: Splits, model: nn.Module, process: Process, full: bool) -> Evaluation:
    """The metrics of the model as it is now."""
    try:
        found = evaluate_pictures(
            model,
            splits.evaluated,  # type: ignore[arg-type]  # pictures have groups
            splits.calibration,  # type: ignore[arg-type]
            grid_size=config.warp.grid_size,
            strength=config.warp.strength,
            warp_items=config.evaluation.warp_items,
            device=process.device,
            share=process.share,
            gather=process.gather,
            full=full,
        )
    finally:
        splits.check()  # says more than that nothing was there to be measured
    if broken := splits.count_broken(process.sum):
        found.metrics["broken"] = broken
    if full and config.dec is not None:
        part = splits.evaluated["val"]
        some = part.loader(first_of(part.batches, ITEMS))
        found.metrics.update(equilibrium(model, some, device=process.device))
    return found


def draw_scales(folder: Path, metrics: Mapping[str, float]) -> None:
    """The accuracy over scales of a finished run."""
    if curve := scale_curve(metrics):
        scale_figure(folder / "scales.png", {"top-1": curve, "top-5": scale_curve(metrics, "top5")})


if __name__ == "__main__":
    main()
