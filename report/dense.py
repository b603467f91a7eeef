"""What a segmenter says of pictures: picture, mask, answer, warps, canonical pictures and errors in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from config.dense import VOID
from layers.grid import WarpParams, warp_grid
from layers.monotone import monotone_warp
from report.figures import INCHES, lines_of, picture_of

LINES = 13  # of a warp, in each direction


def dense_figure(
    path: str | Path,
    images: Tensor,
    labels: Tensor,
    logits: Tensor,
    phis: Sequence[WarpParams] = (),
    sites: Sequence[str] = (),
) -> None:
    """Write a figure with a row per picture: picture, mask, answer, errors, and per site its warp and what it shows.

    Args:
        path: of the file; its ending says the format.
        images: (B, C, H, W) with one or three channels.
        labels: (B, H, W), 255 for void, which is white.
        logits: (B, classes, H, W).
        phis: the warps that were found, one per site.
        sites: names of the sites.
    """
    if len(phis) != len(sites):
        raise ValueError(f"phis are for {len(phis)} sites and names for {len(sites)}; they must agree")
    if labels.shape != (len(images), *images.shape[-2:]) or logits.shape[-2:] != labels.shape[-2:]:
        given = f"{tuple(images.shape)}, {tuple(labels.shape)} and {tuple(logits.shape)}"
        raise ValueError(f"pictures, masks and logits are {given}; expected maps of the pictures' size")
    answers, size = logits.argmax(1), (images.shape[-2], images.shape[-1])
    titles = ["picture", "mask", "answer", "error", *(word for name in sites for word in (name, "canonical"))]
    figure = Figure(figsize=(INCHES * len(titles), INCHES * len(images)), layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(images), len(titles), squeeze=False)
    grids = [warp_grid(phi, size).cpu() for phi in phis]
    forms = [monotone_warp(images, phi).cpu() for phi in phis]
    for row, line in enumerate(panels):
        line[0].imshow(picture_of(images[row]), cmap="gray", vmin=0, vmax=1)
        line[1].imshow(coloured(labels[row]))
        line[2].imshow(coloured(answers[row]))
        line[3].imshow(((answers[row] != labels[row]) & (labels[row] != VOID)).cpu(), cmap="gray", vmin=0, vmax=1)
        for site, (grid, form) in enumerate(zip(grids, forms, strict=True)):
            warp, canonical = line[4 + 2 * site : 6 + 2 * site]
            warp.imshow(picture_of(images[row]), cmap="gray", vmin=0, vmax=1)
            warp.add_collection(lines_of(grid[row], LINES))
            canonical.imshow(picture_of(form[row]), cmap="gray", vmin=0, vmax=1)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=150)


def coloured(labels: Tensor) -> np.ndarray:
    """(H, W, 3) of class numbers: the background is black, void white, and twenty colours come round for the rest."""
    numbers = labels.cpu().numpy()
    colours = np.asarray(colormaps["tab20"].colors)[(numbers - 1) % 20]  # type: ignore[attr-defined]
    return np.where((numbers == VOID)[..., None], 1.0, np.where((numbers == 0)[..., None], 0.0, colours))
