"""The command line of the training scripts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence


def parse(
    words: Sequence[str] | None,
    *,
    description: str,
    examples: str,
    config_file: str,
    config: str | None,
    folders: Mapping[str, str] | None = None,
) -> argparse.Namespace:
    """Read the options that all training scripts share.

    Args:
        words: of the command line; None takes the process's own.
        description: what the script does.
        examples: shown at the end of the help.
        config_file: the script's own recipe file.
        config: the recipe of that file which runs where none is named; None: one must be named.
        folders: options that set a folder, and the key of the recipe that each stands for.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config_file", default=config_file, help=f"recipes; a bare name is looked up in config/ ({config_file})")
    add("--config", help=f"name of a recipe or of a suite of recipes in that file{f' ({config})' if config else ''}")
    add("--random_seed", type=int, default=42, help="42 if not given")
    add("--run_dir", help="folder of the run, instead of weights/RECIPE/SEED; for a suite, instead of weights/")
    add("--resume", action="store_true", help="go on where a run was broken off, and leave finished runs as they are")
    add("--dry_run", action="store_true", help="build everything, train two steps on a few items, write nothing")
    add(
        "--eval_only",
        action="store_true",
        help="train nothing; measure the weights that are there, see docs/measures.md",
    )
    for name, key in (folders or {}).items():
        add(f"--{name}", metavar="DIR", help=f"the same as {key}=DIR")
    add("settings", nargs="*", metavar="key=value", help="any setting of the recipe, train.epochs=3 for instance")
    arguments, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        parser.error(f"unknown option {unknown[0]}; a setting of the recipe is given as key=value, like train.epochs=3")
    if arguments.config is None and arguments.config_file == config_file:
        arguments.config = config
    for name, key in (folders or {}).items():
        if getattr(arguments, name) is not None:
            arguments.settings.append(f"{key}={json.dumps(getattr(arguments, name))}")  # as YAML's text, in quotes
    return arguments
