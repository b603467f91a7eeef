"""Runs on objects at many sizes: a table for each protocol, and every figure that the runs have something for.

``python -m report.scale weights --out figures`` writes tables as .md and .csv, and figures as .pdf, .png and .csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from report.runs import collect, tell_unreadable
from report.scale.figures import drawings
from report.scale.protocol import ScaleRun, by_protocol, names_of, require_one_protocol, scale_runs
from report.scale.table import scale_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Write all, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m report.scale", description=__doc__)
    parser.add_argument("root", help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder that takes the files")
    parser.add_argument("--recipes", type=lambda text: text.split(","), help="these alone, which share a protocol")
    options = parser.parse_args(arguments)
    try:
        tell_unreadable(collect(options.root))
        runs = scale_runs(options.root, options.recipes)
        if options.recipes is None and (others := others_than(runs, options.root)):
            print(f"left out, for their runs have no accuracy of objects: {', '.join(others)}\n")
        if options.recipes is not None:
            require_one_protocol(runs)
        for path in write(runs, options.out):
            print(path)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def others_than(runs: Sequence[ScaleRun], root: str) -> list[str]:
    """The recipes of finished runs which are about something else, such as pixels."""
    known = {run.folder for run in runs} | {run.again for run in runs}
    return sorted({run.recipe for run in collect(root) if run.metrics is not None and run.folder not in known})


def write(runs: Sequence[ScaleRun], folder: Path) -> list[Path]:
    """All tables and figures."""
    if not runs:
        raise ValueError("there are no finished runs with an accuracy; expected some of classifiers of objects")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out is {folder}, which is a file; expected a folder")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    protocols = by_protocol(runs)
    for protocol, name in names_of(protocols).items():
        own = protocols[protocol]
        print(f"{protocol.title}\n\n{scale_table(own)}")
        written += [folder / f"table_{name}.md", folder / f"table_{name}.csv"]
        written[-2].write_text(scale_table(own, "markdown"), "utf-8")
        written[-1].write_text(scale_table(own, "csv"), "utf-8")
    return written + [path for drawing in drawings(runs) for path in drawing.write(folder)]


if __name__ == "__main__":
    sys.exit(main())
