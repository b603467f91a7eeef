"""What a suite of runs ends with: one table, and figures of what its canonicalizer does and of accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from layers.grid import WarpParams
from layers.monotone import monotone_warp
from report.figures import canonical_figure, scale_curve, scale_figure
from report.runs import collect
from report.table import headline, render, table

CURVES = (  # file, metric, and what it is drawn over; a suite has one kind of data, and so one metric over scales
    ("scales.png", "top1", "scale of the object"),
    ("scales.png", "accuracy", "scale of all digits"),
    ("factors.png", "factor_accuracy", "factor that the image was rescaled by"),
    ("sizes.png", "size_accuracy", "side of the object in pixels"),
    ("strengths.png", "warp_accuracy", "strength of the warps"),
)
SHADED = ("accuracy", "size_accuracy", "factor_accuracy")


def write_report(
    folder: Path,
    root: Path,
    recipes: Sequence[str],
    seed: int,
    shown: tuple[Tensor, Sequence[WarpParams]] | None = None,
    trained: tuple[float, float] | None = None,
) -> list[Path]:
    """Print the table over one seed of some recipes, and write table.md and the figures that there is something for.

    Args:
        folder: takes the files.
        root: holds the runs.
        recipes: one row each, in this order.
        seed: of the runs.
        shown: images (B, C, H, W) and the warp that every site found for them; None leaves figure.png out.
        trained: (low, high) of what scales.png, factors.png and sizes.png are drawn over in training, shaded there.
    """
    runs = [run for run in collect(root) if run.seed == seed and run.recipe in recipes]
    rows = table(runs, headline(runs), list(recipes))
    print(render(rows))
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "table.md"]
    written[0].write_text(render(rows, "markdown"))
    if shown is not None:
        images, phis = shown
        canonical = [monotone_warp(images, phi) for phi in phis]
        written.append(folder / "figure.png")
        titles = [f"warp of site {site}" for site in range(len(canonical))]
        canonical_figure(written[1], images, phis, canonical, titles=titles)
    found = {run.recipe: run.metrics or {} for run in runs}
    return written + write_curves(folder, {name: found[name] for name in recipes if name in found}, trained)


def write_curves(
    folder: Path, metrics: Mapping[str, Mapping[str, float]], trained: tuple[float, float] | None = None
) -> list[Path]:
    """A figure for everything that accuracy was measured over, with a line per run.

    Args:
        folder: takes the files.
        metrics: of the runs, by what each is called.
        trained: as ``write_report`` takes it.
    """
    written = []
    for file, metric, axis in CURVES:
        if curves := {name: curve for name, own in metrics.items() if (curve := scale_curve(own, metric))}:
            written.append(folder / file)
            scale_figure(written[-1], curves, axis=axis, band=trained if metric in SHADED else None)
    return written
