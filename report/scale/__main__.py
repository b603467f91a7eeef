"""Runs on objects at many sizes: a table for each protocol, and every figure that the runs have something for.

``python -m report.scale weights --out figures`` writes tables as .md and .csv, and figures as .pdf, .png and .csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from report.scale import accuracy, maps, orbits
from report.scale.drawing import Drawing
from report.scale.protocol import ScaleRun, by_protocol, require_one_protocol, scale_runs
from report.scale.table import scale_table

FIGURES: tuple[Callable[[Sequence[ScaleRun]], Drawing | None], ...] = (
    *(accuracy.curves, accuracy.scores, accuracy.costs),
    *(maps.equivariance, maps.crops, maps.index, maps.channels),
    *(orbits.aggregate, orbits.individual, orbits.overview, orbits.shifted, orbits.local),
    *(orbits.explanations, orbits.restoration),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write all, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m report.scale", description=__doc__)
    parser.add_argument("root", help="folder that holds <recipe>/<seed>/summary.json")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder that takes the files")
    parser.add_argument("--recipes", type=lambda text: text.split(","), help="these alone, which share a protocol")
    options = parser.parse_args(arguments)
    try:
        runs = scale_runs(options.root, options.recipes)
        if options.recipes is not None:
            require_one_protocol(runs)
        for path in write(runs, options.out):
            print(path)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write(runs: Sequence[ScaleRun], folder: Path) -> list[Path]:
    """All tables and figures."""
    if not runs:
        raise ValueError("there are no finished runs; expected some to compare")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for protocol, own in by_protocol(runs).items():
        alike = sum(path.name.startswith(f"table_{protocol.name}") for path in written[::2])
        name = f"{protocol.name}_{alike + 1}" if alike else protocol.name
        print(f"{protocol.title}\n\n{scale_table(own)}")
        written += [folder / f"table_{name}.md", folder / f"table_{name}.csv"]
        written[-2].write_text(scale_table(own, "markdown"), "utf-8")
        written[-1].write_text(scale_table(own, "csv"), "utf-8")
    drawings = [drawing for draw in FIGURES if (drawing := draw(runs)) is not None]
    return written + [path for drawing in drawings for path in drawing.write(folder)]


if __name__ == "__main__":
    sys.exit(main())
