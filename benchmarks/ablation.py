"""What each choice in the light DEC costs and gains: finished runs, their maps, and the cost on DeiT-tiny."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.contraction import gradient_errors
from benchmarks.cost import images, infer, train
from benchmarks.inputs import checked
from benchmarks.measure import medians, peak_bytes
from benchmarks.report import typed, write
from config.load import load_recipes
from config.schema import Config
from dataloader.build import build_splits
from evaluation.measure import Trial
from evaluation.measures import MEASURES
from evaluation.parts import first_batches
from layers.canonicalizer import evaluate_in_parts
from layers.fixed_point import FixedPointSolver, spectral_radius
from layers.grid import WarpParams, knot_grid
from layers.spec import DEC
from models.build import build_model, read_weights
from models.dec import with_dec
from report.runs import Run, collect
from train.runs.checkpoint import start_from

METRICS = [
    measure.name
    for measure in MEASURES
    if measure.applies_to("digits") and (measure.is_headline or measure.trial is Trial.EQUILIBRIUM)
]
SECTIONS = ("model", "method", "warp", "loss", "train")
BACKBONE = "deit_tiny_patch16_224"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="python -m benchmarks.ablation weights --recipes light_control light_dem"
    )
    parser.add_argument("root", type=Path, help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--items", type=int, default=128, help="test images for the spectral radius")
    parser.add_argument("--batch", type=int, default=16, help="images of a step on DeiT-tiny")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with checked():
        configs = {name: recipe(name) for name in arguments.recipes}
        runs = [run for run in collect(arguments.root) if run.metrics is not None]
    cost = costs(configs, arguments.batch, arguments.repeats)
    rows = []
    for name, config in configs.items():
        own = [run for run in runs if run.recipe == name]
        check_same(config, own)
        row: dict[str, Any] = {"recipe": name, "seeds": len(own)}
        for metric in METRICS:
            row[metric] = spread([run.metrics[metric] for run in own if run.metrics and metric in run.metrics])
        if isinstance(config.method, DEC) and own:
            row |= maps(own, arguments.items)
        rows.append(row | cost[name])
        print(rows[-1], flush=True)
    write("ablation", typed("ablation"), rows, notes(arguments.items, arguments.batch))


def notes(items: int, batch: int) -> str:
    """What the columns mean."""
    return (
        "Mean ± sample standard deviation over seeds of finished runs, where there are any; each recipe says in "
        "`config/mnist/light.yaml` what it changes. `residual` is relative to phi, most of which is a constant "
        "where its interval is narrow; `warp residual 99` is relative to what the warp does: how far one more "
        f"evaluation moves its knots over how far the warp moves them, 99 % of {items} test images. `radius`: "
        "spectral radius of the maps at the fixed points of the same images, median and maximum over images, sites "
        "and seeds. `gradient error`: parameter gradients, one-step and implicit, against 200 unrolled steps of "
        "damping 1/2 on eight test images; the worst seed. The last columns are the recipe's DEC on DeiT-tiny at "
        f"224 x 224 with three channels, batch {batch}, against the bare backbone in the same run: forward pass, "
        "training step of the same batch, memory of that step, and the canonicalizer's parameters."
    )


def recipe(name: str, file: str = "config_1.yaml") -> Config:
    """The settings of a recipe."""
    recipes = load_recipes(file, name)
    if [found for found, _ in recipes] != [name]:
        raise SystemExit(f"error: {name} is a suite; name its recipes: {' '.join(found for found, _ in recipes)}")
    return recipes[0][1]


def check_same(config: Config, runs: list[Run]) -> None:
    """Refuse runs of a recipe that has changed since."""
    for run in runs:
        then = recipe(run.recipe, file=str(run.folder / "config.yaml"))
        changed = [part for part in SECTIONS if getattr(then, part) != getattr(config, part)]
        if changed:
            raise SystemExit(f"error: {run.folder} was run with other settings of {', '.join(changed)}; run it again")


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation, to four digits."""
    if not values:
        return ""
    return f"{mean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{mean(values):.4f}"


def maps(runs: list[Run], items: int) -> dict[str, str]:
    """Spectral radius and gradient errors of the trained maps on test images."""
    radii, errors, residuals = [], [], []
    for run in runs:
        config = recipe(run.recipe, file=str(run.folder / "config.yaml"))
        splits = build_splits(config, run.seed, trains=False)
        model: Any = build_model(config, splits.num_classes, run.seed).eval()
        start_from(model, read_weights(run.folder / "model.safetensors"), run.recipe)
        (part,) = splits.evaluated.values()
        image = torch.cat([image for image, *_ in part.loader(first_batches(part.batches, items))])
        radii.append(radius(model.canonicalizer, image))
        residuals.append(warp_residual(model.canonicalizer, image))
        errors.append(gradient_errors(model.canonicalizer, image[:8], damping=0.5))
    every = torch.cat(radii)
    worst = {kind: max(error[kind] for error in errors) for kind in errors[0]}
    return {
        "warp residual 99": f"{torch.cat(residuals).quantile(0.99):.3f}",
        "radius": f"{every.median():.2f} / {every.max():.2f}",
        "gradient error": f"{worst['one_step']:.1e} / {worst['implicit']:.1e}",
    }


@torch.no_grad()
def warp_residual(canonicalizer: Any, image: Tensor) -> Tensor:
    """How far one more evaluation moves the knots, over how far the warp moves them; the worst site of each image."""
    source, found = canonicalizer.prepared(image), []
    for update, phi in zip(canonicalizer.module_list, canonicalizer(image).phis, strict=True):
        before = knot_grid(phi)
        after = knot_grid(evaluate_in_parts(update, source, phi, canonicalizer.images_at_once))
        unmoved = knot_grid(WarpParams.identity(1, update.grid_size))
        found.append((after - before).flatten(1).norm(dim=1) / (after - unmoved).flatten(1).norm(dim=1))
    return torch.stack(found).amax(0)


def radius(canonicalizer: Any, image: Tensor) -> Tensor:
    """Of every site's map where fifty steps end."""
    source = canonicalizer.prepared(image)
    solver = FixedPointSolver(max_steps=50)
    found = []
    for update in canonicalizer.module_list:
        start = WarpParams.identity(len(image), update.grid_size, separable=update.separable)
        evaluate = partial(evaluate_in_parts, update, source, size=canonicalizer.images_at_once)
        with torch.no_grad():
            point = solver(evaluate, start)
        found.append(spectral_radius(evaluate, point.value, iterations=20, generator=torch.Generator().manual_seed(0)))
    return torch.cat(found)


def costs(configs: dict[str, Config], batch: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Each recipe's DEC on DeiT-tiny against the bare backbone, all timed in turns."""
    image = images(batch, "cpu")
    models: dict[str, nn.Module] = {"bare": timm.create_model(BACKBONE)}
    for name, config in configs.items():
        models[name] = timm.create_model(BACKBONE)
        if isinstance(config.method, DEC):
            dec = dataclasses.replace(config.method, channels=(3, *config.method.channels[1:]))
            models[name] = with_dec(models[name], dec)
    forward = medians({name: partial(infer, model, image) for name, model in models.items()}, repeats)
    step = medians({name: partial(train, model, image) for name, model in models.items()}, repeats)
    peak = {name: peak_bytes(partial(train, model, image)) for name, model in models.items()}
    return {
        name: {
            "forward": forward[name] / forward["bare"],
            "step": step[name] / step["bare"],
            "memory": peak[name] / peak["bare"],
            "parameters": sum(p.numel() for n, p in models[name].named_parameters() if n.startswith("canonicalizer")),
        }
        for name in configs
    }


if __name__ == "__main__":
    main()
