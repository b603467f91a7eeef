"""Draws the README's picture: a local scale change, its grid, and both ways of undoing it."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from layers.grid import WarpParams, warp_grid
from layers.monotone import fold_mask, inverse_monotone_warp, monotone_warp

matplotlib.use("Agg")
from matplotlib import pyplot

PICTURE = Path(__file__).parent / "results" / "picture.png"
SIZE = 320


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    scene, phi = draw_scene(), draw_warp()
    scaled = monotone_warp(scene, phi)
    panels = [
        ("a scene of equal objects", scene, WarpParams.identity(1, 6)),
        ("local scale change: S(I; l)", scaled, phi),
        ("undone row by row (published)", inverse_monotone_warp(scaled, phi), None),
        ("undone in the plane (exact)", inverse_monotone_warp(scaled, phi, method="exact"), None),
    ]
    figure, axes = pyplot.subplots(1, 4, figsize=(16, 4.4))
    for axis, (title, image, grid_of) in zip(axes, panels, strict=True):
        axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
        if grid_of is not None:
            lines(axis, warp_grid(grid_of, (SIZE, SIZE))[0])
        error = float((image - scene).square().mean().sqrt())
        axis.set_title(title if image is scene else f"{title}\nRMS distance from the scene {error:.3f}", fontsize=11)
        axis.set_axis_off()
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=80, bbox_inches="tight")
    folded = fold_mask(phi, (SIZE, SIZE)).float().mean()
    print(f"{PICTURE} (the warp folds on {100 * float(folded):.1f} % of the picture)")


def draw_scene() -> Tensor:
    """Nine rings of one size, in colours that tell them apart, (1, 3, SIZE, SIZE)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    image = torch.stack([0.93 - 0.1 * y, 0.95 - 0.1 * x, 0.97 - 0.05 * (x + y)])
    for row in range(3):
        for column in range(3):
            distance = ((x - (column + 0.5) / 3).square() + (y - (row + 0.5) / 3).square()).sqrt()
            colour = torch.tensor(pyplot.get_cmap("tab10")(3 * row + column)[:3]).float()[:, None, None]
            inside = ((0.105 - distance) * SIZE).clamp(0, 1) * ((distance - 0.05) * SIZE).clamp(0, 1)
            image = image * (1 - inside) + colour * inside
    return image[None]


def draw_warp() -> WarpParams:
    """What is nearer is larger: the object at the lower right grows, the others give way."""
    x, y = torch.zeros(1, 6, 5), torch.zeros(1, 6, 5)
    strength = torch.tensor([0.0, 0.0, 0.1, 0.25, 0.35, 0.3])[:, None]
    profile = torch.tensor([0.6, 0.5, 0.2, -0.6, -0.5])
    x[0], y[0] = strength * profile, strength * profile
    return WarpParams(x, y)


def lines(axis: pyplot.Axes, grid: Tensor) -> None:
    """Where every tenth of the scene's width and height has gone."""
    ticks = [tick / 10 for tick in range(1, 10)]
    axis.contour(grid[0], levels=ticks, colors="black", linewidths=0.5, alpha=0.6)
    axis.contour(grid[1], levels=ticks, colors="black", linewidths=0.5, alpha=0.6)


if __name__ == "__main__":
    main()
