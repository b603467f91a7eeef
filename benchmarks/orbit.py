"""Draws what canonicalizers make of an orbit: a picture under random warps, and the canonical forms that runs find.

A canonicalizer that undoes local scale finds one form for all members. How far it is from that, its spread tells: the
standard deviation of its forms across members, in units of that of the members themselves, mean over pixels and items.
Read it beside the figure, for forms that have lost the object hardly differ either.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config.load import load_run
from config.schema import Config, ConfigError, WarpConfig
from dataloader.build import build_splits
from evaluation.parts import unscaled_batches
from layers.monotone import monotone_warp
from layers.seeds import item_warps
from models.adapted import AdaptedModel
from models.baselines import CanonicalizedModel
from models.build import input_description, trained_model
from report.figures import orbit_figure
from report.runs import SUMMARY
from train.runs.folder import SETTINGS
from train.runs.log import read_summary
from train.runs.run import one_line_errors


class Finished(NamedTuple):
    """A finished run.

    Args:
        name: the last two folders of its path, recipe and seed as a rule.
        config: its settings, with legacy ones resolved.
        seed: of the run.
        model: with its weights, in evaluation mode.
    """

    name: str
    config: Config
    seed: int
    model: Any


class Forms(NamedTuple):
    """What a model canonicalizes, and what it makes of it: (M, C, H, W) each."""

    seen: Tensor
    canonical: Tensor

    def spread(self) -> float:
        """Standard deviation across the canonical forms, in units of that across what they were made of."""
        return float(self.canonical.std(0).mean() / self.seen.std(0).mean())


def main(words: Sequence[str] | None = None) -> None:
    arguments = parsed(words)
    with one_line_errors():
        runs = [finished(folder) for folder in arguments.runs]
        check_names(runs)
        warp = warp_of(runs[0].config, arguments.grid_size, arguments.strength)
        images = common_images(runs, arguments.items)
        orbits = [orbit_of(image, arguments.members, warp, item) for item, image in enumerate(images)]
        rows = {}
        for run in runs:
            forms = [forms_of(run, members) for members in orbits]
            spread = sum(one.spread() for one in forms) / len(forms)
            print(f"{run.name}: spread {spread:.3f}")
            rows[f"{run.name}\nspread {spread:.2f}"] = forms[0].canonical
        orbit_figure(arguments.output, orbits[0], rows)
        print(arguments.output)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="python -m benchmarks.orbit weights/small_dem/42 weights/small_canonicalization/42"
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help=f"folder of a finished run, which holds {SUMMARY}")
    add("--items", type=count_of(1), default=1, help="evaluated items that the spread is a mean over; one is drawn (1)")
    add("--members", type=count_of(2), default=5, help="of an orbit: the image itself, and random warps of it (5)")
    add("--grid_size", type=int, help="of the warps; that of the first run's recipe if not given")
    add("--strength", type=float, help="of the warps; that of the first run's recipe if not given")
    add("--output", type=Path, default=Path("orbit.png"), help="file of the figure (orbit.png)")
    arguments = parser.parse_args(words)
    if arguments.output.suffix not in (".png", ".pdf", ".svg") or not arguments.output.parent.is_dir():
        parser.error(f"--output is {arguments.output}; expected a .png, .pdf or .svg file in a folder that exists")
    return arguments


def count_of(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least this from the command line."""

    def count(word: str) -> int:
        if not word.isdecimal() or int(word) < least:
            raise argparse.ArgumentTypeError(f"is {word}; expected a whole number of at least {least}")
        return int(word)

    return count


def finished(folder: Path) -> Finished:
    """The run of a folder, with the weights that it ended with."""
    summary = read_summary(folder)
    if summary is None:
        raise ConfigError(f"{folder} holds no {SUMMARY}; expected the folder of a finished run")
    _, config = load_run(folder / SETTINGS)
    name = "/".join(folder.resolve().parts[-2:])
    return Finished(name, config.resolved(), summary["seed"], trained_model(folder))


def check_names(runs: Sequence[Finished]) -> None:
    """Refuse rows that could not be told apart."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"the runs are {', '.join(names)}; expected folders that end in different names, each once")


def warp_of(config: Config, grid_size: int | None, strength: float | None) -> WarpConfig:
    """The random warps of a recipe, or what is given in their place."""
    given: dict[str, Any] = {"grid_size": grid_size, "strength": strength}
    warp = replace(config.warp, **{name: value for name, value in given.items() if value is not None})
    if warp.strength == 0:
        raise ConfigError("strength is 0; expected above 0, for otherwise all members of an orbit are equal")
    return warp


def common_images(runs: Sequence[Finished], count: int) -> Tensor:
    """The first items of the first run, which all runs must see alike: what they make of them is compared."""
    first = runs[0]
    images = images_of(first, first.seed, count)
    for run in runs[1:]:
        if not torch.equal(images, images_of(run, first.seed, count)):
            raise ConfigError(f"{run.name} sees other images than {first.name}; expected runs on the same data")
    return images


def images_of(run: Finished, seed: int, count: int) -> Tensor:
    """The first items that a run is evaluated by, as its loader gives them; of several scales, those at scale 1."""
    description = input_description(run.config.model, run.model)
    part = next(iter(build_splits(run.config, seed, description=description, trains=False).evaluated.values()))
    batches = [(image, label) for image, label, *_ in part.loader(unscaled_batches(part, count))]
    images = torch.cat([image[label >= 0] for image, label in batches])  # without what could not be read
    if len(images) < count:
        raise ConfigError(f"--items is {count}, but {run.name} is evaluated by {len(images)}; expected no more")
    return images


def orbit_of(image: Tensor, count: int, warp: WarpConfig, item: int) -> Tensor:
    """(C, H, W) -> (M, C, H, W): an image, and random warps of it that belong to the item's number."""
    phi = item_warps(range(1, count), warp.grid_size, warp.strength, "orbit", item)
    return torch.cat([image[None], monotone_warp(image.expand(count - 1, -1, -1, -1), phi)])


def forms_of(run: Finished, members: Tensor) -> Forms:
    """The members under the warps that a model finds for them: those of its first site, where it has several.

    A site on the input warps what the model is given, and a list of candidates too; all others see what comes out of
    the preprocessing, and a stage's warp is drawn on that as well.
    """
    model = run.model
    with torch.no_grad():
        if isinstance(model, CanonicalizedModel):
            seen, phi = members, model(members, return_output=True).phi
        elif isinstance(model, AdaptedModel):
            seen = members if model.sites[0].opens == "input" else model.preprocess(members)
            phi = model(members, warps_only=True).phis[0]
        else:
            method = run.config.method.tags[0]
            raise ConfigError(f"{run.name} has method.name {method}; expected dec, energy or candidates, which warp")
        return Forms(seen, monotone_warp(seen, phi))


if __name__ == "__main__":
    main()
