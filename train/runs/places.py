"""Where a run lies, and the file of weights that it starts from or measures."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from config.schema import Config
from layers.spec import Average, Plain
from train.runs.checkpoint import WEIGHTS
from train.runs.errors import RunError


class Places(NamedTuple):
    """The folders of a run.

    Args:
        root: above the runs of all recipes.
        folder: that is written to.
        trained: where the finished run of this recipe and seed lies, whose weights evaluation alone looks for.
    """

    root: Path
    folder: Path
    trained: Path

    @classmethod
    def of(cls, name: str, config: Config, arguments: Namespace, suite: str | None) -> Places:
        """Of a recipe: output_dir/recipe/seed, or below or at --run_dir."""
        root = root_of(config, arguments, suite)
        own = root / name / str(arguments.random_seed)
        given = Path(arguments.run_dir) if arguments.run_dir and suite is None else None
        if not arguments.eval_only:
            return cls(root, given or own, own)
        if given is None:
            return cls(root, root / f"{name}_eval" / str(arguments.random_seed), own)
        if (given / WEIGHTS).exists():
            return cls(root, given.with_name(f"{given.name}_eval"), given)
        return cls(root, given, own)


def suite_of(arguments: Namespace, recipes: Collection[str]) -> str | None:
    """The suite that the command names, if it names one."""
    return None if arguments.config is None or arguments.config in recipes else arguments.config


def root_of(config: Config, arguments: Namespace, suite: str | None) -> Path:
    """The folder above the runs."""
    return Path(arguments.run_dir if arguments.run_dir and suite is not None else config.output_dir)


def close_suite(suite: str, root: Path, seed: int, write: Callable[[Path], list[Path]]) -> None:
    """Let what a suite ends with be written to its folder, and print what was."""
    folder = root / suite / str(seed)
    try:
        written = write(folder)
    except OSError as error:
        raise RunError(f"the table and the figure could not be written to {folder} ({error.strerror})") from error
    for path in written:
        print(path)


def source_of(name: str, config: Config, arguments: Namespace, places: Places) -> Path | None:
    """The file of weights that a run starts from, or that evaluation alone measures; None: the model's first ones."""
    given = Path(config.warm_start or "")
    file = given if given.suffix in (".safetensors", ".pth") else None
    if file is None and len(given.parts) > 1:
        raise RunError(f"{name}: warm_start is {given}; expected a recipe, or a file that ends in .safetensors or .pth")
    if arguments.eval_only:
        return _measured(name, config, arguments, file, places.trained / WEIGHTS)
    if config.warm_start is None:
        return None
    source = file or places.root / config.warm_start / str(arguments.random_seed) / WEIGHTS
    if not source.exists() and not arguments.dry_run:
        raise RunError(
            f"this recipe starts from {source}, which is not there. Train its parent with this seed first, or name "
            "a file with warm_start=FILE.safetensors (warm_start=null: the backbone's own first weights)"
        )
    return source


def _measured(name: str, config: Config, arguments: Namespace, given: Path | None, own: Path) -> Path | None:
    """The file that the command names, or that of the finished run, or None for published weights."""
    is_meant = any(word.startswith("warm_start=") for word in arguments.settings)  # and not what it began with
    if given is not None and (is_meant or not own.exists()):
        if not given.exists():
            raise RunError(f"{name}: there are no weights at {given}")
        return given
    if own.exists():
        return own
    way_out = f"{own} is not there; name a file with warm_start=FILE, or output_dir=DIR for runs that lie elsewhere"
    if not (config.model.pretrained or config.model.weights):
        raise RunError(f"{name}: there are no weights to measure but random ones, as {way_out}")
    if not isinstance(config.method, Average | Plain):
        raise RunError(f"{name}: there are no weights of the canonicalizer, as {way_out}")
    if not config.data.has_published_heads:
        raise RunError(f"{name}: no published classifier knows this data; {way_out}")
    return None
