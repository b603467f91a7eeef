"""The command line of the training scripts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse(
    words: Sequence[str] | None, *, description: str, examples: str, config_file: str, config: str
) -> argparse.Namespace:
    """Read the options that both scripts share.

    Args:
        words: of the command line; None takes the process's own.
        description: what the script does.
        examples: shown at the end of the help.
        config_file: the script's own recipe file.
        config: the recipe of that file which runs where none is named.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config_file", default=config_file, help=f"recipes; a bare name is looked up in config/ ({config_file})")
    add("--config", help=f"name of a recipe or of a suite of recipes in that file ({config})")
    add("--random_seed", type=int, default=42, help="42 if not given")
    add("--run_dir", help="folder of the run, instead of weights/RECIPE/SEED; for a suite, instead of weights/")
    add("--resume", action="store_true", help="go on where a run was broken off, and leave finished runs as they are")
    add("--dry_run", action="store_true", help="build everything, train two steps, write nothing")
    add("settings", nargs="*", metavar="key=value", help="any setting of the recipe, train.epochs=3 for instance")
    arguments, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        parser.error(f"unknown option {unknown[0]}; a setting of the recipe is given as key=value, like train.epochs=3")
    if arguments.config is None and arguments.config_file == config_file:
        arguments.config = config
    return arguments
