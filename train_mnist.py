"""Trains and evaluates on locally scaled digits: base, augmentation, equivariance, canonicalization and DEC runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml

from config.load import dump, load_recipes
from config.schema import Config, ConfigError
from dataloader.build import Data, build_data, build_train_loader, loader_of
from evaluation.equilibrium import equilibrium
from evaluation.evaluator import Evaluation, evaluate
from evaluation.report import write_report
from models.build import build_model, read_weights
from models.wrapped import WrappedBackbone
from train import distributed
from train.build import build_trainer
from train.checkpoint import load_state, start_from
from train.command import parse
from train.distributed import Process
from train.errors import RunError
from train.folder import claim, locked
from train.log import Log, build_wandb, read_summary, write_summary
from train.run import Rhythm, carry_out

EXAMPLES = """examples:
  python train_mnist.py                       the quickstart: three short runs on two cores, without network
  python train_mnist.py --config vit_data_augmentation data.root=FOLDER train.epochs=3
  torchrun --nproc_per_node 2 train_mnist.py --config swin_transformer --random_seed 70 --resume
"""


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(
        words, description=str(__doc__), examples=EXAMPLES, config_file="config_1.yaml", config="quickstart"
    )
    seed, is_dry = arguments.random_seed, arguments.dry_run
    try:
        recipes = load_recipes(arguments.config_file, arguments.config, arguments.settings)
        process = distributed.start(recipes[0][1].train.device)
        is_suite = arguments.config is not None and arguments.config not in dict(recipes)
        for name, config in recipes:
            root = Path(arguments.run_dir if arguments.run_dir and is_suite else config.output_dir)
            own = Path(arguments.run_dir) if arguments.run_dir and not is_suite else root / name / str(seed)
            with locked(own) if process.is_first and not is_dry else nullcontext():
                run(name, config, own, root, arguments, process)
        if is_suite and process.is_first and not is_dry:
            write_suite(recipes, root, root / arguments.config / str(seed), seed)
    except (ConfigError, RunError) as error:
        sys.exit(f"error: {error}")
    finally:
        distributed.stop()


def run(name: str, config: Config, folder: Path, root: Path, arguments: Namespace, process: Process) -> None:
    """One recipe: build, train, evaluate, write."""
    seed, settings = arguments.random_seed, dump(name, config)
    if process.is_first and not arguments.dry_run:
        claim(folder, settings, resume=arguments.resume)
    process.wait()
    if arguments.resume and not arguments.dry_run and read_summary(folder) is not None:
        return process.say(f"{name}: finished already, see {folder}")
    process.say(f"{name}: {'dry run' if arguments.dry_run else folder}")
    try:
        data = build_data(config.data, config.evaluation, seed)
        loader = build_train_loader(data, config.data, config.train.batch_size, seed, process.share)
        model = build_model(config, data.train.num_classes, seed)
    except (ValueError, FileNotFoundError) as error:  # what a user can have got wrong shows here, before training
        raise RunError(f"{name}: {error}") from error
    state = load_state(folder) if arguments.resume and not arguments.dry_run else None
    if config.warm_start is not None and state is None:
        warm_start(model, parent_of(config, root, seed), arguments.dry_run, process)
    trainer = build_trainer(config, model, loader, seed, process)
    if arguments.dry_run:
        trainer.fit(max_steps=2)
        return process.say(f"{name}: two steps ran, nothing was written")

    if state is not None:
        trainer.load_state_dict(state["trainer"])
    tracker = (
        build_wandb(config.wandb, folder, f"{name}-{seed}", yaml.safe_load(settings)) if process.is_first else None
    )
    chosen = config.evaluation
    rhythm = Rhythm(every=chosen.every, full_every=chosen.local_scale_every, before_training=chosen.before_training)
    with Log(folder if process.is_first else None, state["log_size"] if state else 0, tracker) as log:

        def measure(full: bool) -> Evaluation:
            return measured(config, data, trainer.evaluated, seed, process, full)

        summary = carry_out(trainer, measure, rhythm, log, folder, is_new=state is None)
        log.summary = summary["metrics"]
    if process.is_first:
        write_summary(folder, {"recipe": name, "seed": seed, **summary})
        process.say(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in summary["metrics"].items()))
    process.wait()


def parent_of(config: Config, root: Path, seed: int) -> Path:
    """The weights that a recipe starts from."""
    given = Path(str(config.warm_start))
    return given if given.suffix in (".safetensors", ".pth") else root / given / str(seed) / "model.safetensors"


def warm_start(model: WrappedBackbone, source: Path, is_dry: bool, process: Process) -> None:
    """Take over the weights of another run, which a dry run can do without."""
    if source.exists():
        start_from(model, read_weights(source), str(source))
    elif is_dry:
        process.say(f"would start from {source}, which is not there yet")
    else:
        raise RunError(
            f"this recipe starts from {source}, which is not there. Train its parent with this seed first, or name a "
            "file with warm_start=FILE.safetensors (warm_start=null: the backbone's own first weights)"
        )


def measured(config: Config, data: Data, model: torch.nn.Module, seed: int, process: Process, full: bool) -> Evaluation:
    """The metrics of the model as it is now."""
    chosen = config.evaluation
    size, workers = chosen.batch_size, config.data.workers
    found = evaluate(
        model,
        lambda items: loader_of(data.evaluated, items, size, workers),
        data.evaluated,
        data.evaluated_items,
        calibration=loader_of(data.held_out, data.calibration_items, size, workers),
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
        some = loader_of(data.evaluated, data.evaluated_items[:256], size)
        found.metrics.update(equilibrium(model, some, device=process.device))
    return found


def write_suite(recipes: list[tuple[str, Config]], root: Path, folder: Path, seed: int) -> None:
    """The table over a suite's runs, and a figure of its last DEC; their paths are printed."""
    shown: Any = None
    for name, config in recipes:
        if config.dec is not None:
            data = build_data(config.data, config.evaluation, seed)
            model = build_model(config, data.train.num_classes, seed).eval()
            start_from(model, read_weights(root / name / str(seed) / "model.safetensors"), name)
            images = torch.stack([data.evaluated[item][0] for item in data.evaluated_items[:4]])
            with torch.no_grad():
                shown = images, model(images, return_output=True).phis
    try:
        written = write_report(folder, root, [name for name, _ in recipes], seed, shown)
    except OSError as error:
        raise RunError(f"the table and the figure could not be written to {folder} ({error.strerror})") from error
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
