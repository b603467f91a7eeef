"""A figure and the numbers behind it, written together: NAME.pdf, NAME.png and NAME.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROW = dict[str, Any]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # told apart by all eyes
DASHES = ("-", "--", ":", "-.")
INCHES = 3.4  # side of one panel
MARGIN = 0.1  # above and below a legend, in inches


class Drawing(NamedTuple):
    """A figure with what it shows.

    Args:
        name: of the files.
        figure: as matplotlib has it.
        rows: one line of the CSV each, by its columns.
    """

    name: str
    figure: Figure
    rows: Sequence[ROW]

    def write(self, folder: Path) -> list[Path]:
        """All three files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{ending}" for ending in ("pdf", "png", "csv")]
        for path in paths[:2]:
            self.figure.savefig(path, dpi=150)
        with paths[2].open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in self.rows for key in row)))
            writer.writeheader()
            writer.writerows(self.rows)
        return paths


def panels(count: int, columns: int = 4, *, wide: float = 1.0, high: float = 0.85) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes, the last row perhaps not full, ``wide`` and ``high`` in sides of a panel."""
    columns = min(count, columns)
    lines = -(-count // columns)
    figure = Figure(figsize=(wide * INCHES * columns, high * INCHES * lines), layout="compressed")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def styles(names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """A look for every name that no other one has, by colour and, where colours end, by dashes."""
    count = len(COLORS)
    return {
        name: {"color": COLORS[place % count], "linestyle": DASHES[place // count % len(DASHES)]}
        for place, name in enumerate(dict.fromkeys(names))
    }


def mean_curve(curves: Sequence[Mapping[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Of several seeds: where all of them have a value, and the mean there."""
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return np.array(shared), np.array([np.mean([curve[place] for curve in curves]) for place in shared])


def legend_beside(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, of what any of them shows; the figure grows with it, which would else cut it off."""
    handles = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    legend = figure.legend(list(handles.values()), list(handles), loc="outside right upper", fontsize="small")
    needed = legend.get_window_extent().height / figure.dpi + 2 * MARGIN
    figure.set_figheight(max(figure.get_figheight(), needed))
