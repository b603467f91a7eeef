"""What DEC does to images and to orbits of them, and accuracy over scales or strengths.

All is drawn without a display and without pyplot's global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from layers.grid import WarpParams, warp_grid

INCHES = 2.2  # side of one panel
LEAST_RANGE = 1e-3  # below it an image is uniform, and what is left are errors of rounding


def canonical_figure(
    path: str | Path,
    images: Tensor,
    phis: WarpParams | Sequence[WarpParams],
    canonical_images: Tensor | Sequence[Tensor],
    *,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    lines: int = 13,
) -> None:
    """Write a figure with one row per image and two columns per site.

    The left column shows where the warp reads: the lines lie on the image and are straight in the canonical image,
    which stands to the right.

    Args:
        path: of the file; its ending says the format.
        images: (B, C, H, W) with one or three channels; each image is shown in its own range.
        phis: parameters for B images, of one site or of each of several.
        canonical_images: the images warped by them, (B, C, H', W'), of one site or of each.
        titles: over the two columns of each site.
        row_titles: beside each image.
        lines: in each direction.
    """
    sites = [phis] if isinstance(phis, WarpParams) else list(phis)
    warped = [canonical_images] if isinstance(canonical_images, Tensor) else list(canonical_images)
    if not sites or len(sites) != len(warped):
        raise ValueError(f"phis are for {len(sites)} sites and canonical_images for {len(warped)}; they must agree")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (B, 1 or 3, H, W)")
    B, _, H, W = images.shape
    if any(len(phi.x) != B for phi in sites) or any(len(image) != B for image in warped):
        raise ValueError(f"phis and canonical_images must be for {B} images, as many as there are")
    for name, words, count in (("titles", titles, len(sites)), ("row_titles", row_titles, B)):
        if words is not None and len(words) != count:
            raise ValueError(f"{name} has {len(words)} entries; expected {count}")

    figure = Figure(figsize=(INCHES * 2 * len(sites), INCHES * B), layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(B, 2 * len(sites), squeeze=False)
    for site, (phi, canonical) in enumerate(zip(sites, warped, strict=True)):
        grid = warp_grid(phi.detach(), (H, W)).cpu().float()
        for row in range(B):
            left, right = panels[row, 2 * site : 2 * site + 2]
            left.imshow(picture_of(images[row]), cmap="gray", vmin=0, vmax=1)
            left.add_collection(lines_of(grid[row], lines))
            right.imshow(picture_of(canonical[row]), cmap="gray", vmin=0, vmax=1)
            if row_titles is not None and site == 0:
                left.set_ylabel(row_titles[row])
        if titles is not None:
            panels[0, 2 * site].set_title(titles[site])
            panels[0, 2 * site + 1].set_title("canonical")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=150)


def scale_curve(metrics: Mapping[str, float], name: str = "top1") -> dict[float, float]:
    """A metric over what it was measured at: "top1" or "accuracy" over scales, "warp_accuracy" over strengths."""
    values = {key.removeprefix(f"{name}_at_"): value for key, value in metrics.items() if key.startswith(f"{name}_at_")}
    return {float(scale): values[scale] for scale in sorted(values, key=float)}


def scale_figure(
    path: str | Path,
    curves: Mapping[str, Mapping[float, float]],
    *,
    axis: str = "scale of the object",
    band: tuple[float, float] | None = None,
) -> None:
    """Write a figure of accuracy over the objects' scale, or over something else, one line per model.

    Args:
        path: of the file; its ending says the format.
        curves: by name of the model, see ``scale_curve``.
        axis: what accuracy is shown over.
        band: the (low, high) that models were trained at, which is shaded.
    """
    if band is not None and not band[0] <= band[1]:
        raise ValueError(f"band is {band}; expected (low, high) with low <= high")
    figure = Figure(figsize=(5, 3.5), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if band is not None:
        axes.axvspan(*band, color="tab:gray", alpha=0.15, linewidth=0, label="training of the backbone")
    for name, curve in curves.items():
        axes.plot(list(curve), [100 * value for value in curve.values()], marker="o", markersize=3, label=name)
    axes.set(xlabel=axis, ylabel="accuracy (%)")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def orbit_figure(path: str | Path, members: Tensor, rows: Mapping[str, Tensor]) -> None:
    """Write a figure of an orbit: its members in the first row, and in a row per method below, their canonical forms.

    A canonicalizer that undoes what makes the members differ has a row of equal images.

    Args:
        path: of the file; its ending says the format.
        members: (M, C, H, W) with one or three channels, a picture under M warps; each is shown in its own range.
        rows: by the words beside each, the members as a method canonicalizes them, (M, C, H', W').
    """
    if not rows:
        raise ValueError("rows is empty; expected the canonical forms of at least one method")
    shown = {"members": members, **rows}
    if len(shown) == len(rows):
        raise ValueError("rows has a row that is called members; expected other names, for the first row has this one")
    for name, images in shown.items():
        is_row = images.ndim == 4 and images.shape[1] in (1, 3) and len(images) == len(members) > 0
        if not is_row:
            raise ValueError(f"{name} has shape {tuple(images.shape)}; expected (M, 1 or 3, H, W), M the same in all")
    figure = Figure(figsize=(INCHES * len(members), INCHES * len(shown)), layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), len(members), squeeze=False)
    for line, (name, images) in zip(panels, shown.items(), strict=True):
        line[0].set_ylabel(name)
        for panel, image in zip(line, images, strict=True):
            panel.imshow(picture_of(image), cmap="gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=150)


def picture_of(image: Tensor, like: Tensor | None = None) -> np.ndarray:
    """(C, H, W) in any range -> (H, W) or (H, W, 3) from 0 to 1, by the range of ``like``, or its own if left out."""
    image, like = (one.detach().cpu().float() for one in (image, image if like is None else like))
    low, high = like.min(), like.max()
    image = ((image - low) / (high - low).clamp_min(LEAST_RANGE)).clamp(0, 1)
    return (image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()


def lines_of(grid: Tensor, count: int) -> LineCollection:
    """Evenly spaced rows and columns of the (2, H, W) grid, in pixels of the image that it reads."""
    _, H, W = grid.shape
    points = (grid.permute(1, 2, 0) * grid.new_tensor([W - 1, H - 1])).numpy()
    rows = [points[round(k * (H - 1) / (count - 1))] for k in range(count)]
    columns = [points[:, round(k * (W - 1) / (count - 1))] for k in range(count)]
    return LineCollection(rows + columns, colors="tab:orange", linewidths=0.7)
