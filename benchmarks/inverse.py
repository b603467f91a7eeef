"""How exactly a warp can be undone: |g(h(q)) - q| of both inverses, where the map is one-to-one and everywhere."""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import write
from layers.grid import WarpParams, evaluate_grid, random_warp_params, warp_grid
from layers.monotone import fold_mask, inverse_warp_grid

COUNT, R, SIZE = 16, 8, (224, 224)
NOTES = (
    f"{COUNT} random warps of {R} x {R} knots on a lattice of {SIZE[0]} x {SIZE[1]}. `miss` is |g(h(q)) - q| in "
    "the unit square with g the piecewise-bilinear knot map in float64 and h the inverse grid; `excluded` is the "
    "share of lattice points within a pixel of what a fold covers, where a point has several preimages; `miss "
    "everywhere` leaves none out."
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(2)
    rows: list[dict[str, Any]] = []
    for strength in (0.25, 1.0):
        phi = random_warp_params(COUNT, R, strength, generator=torch.Generator().manual_seed(0))
        several = has_several_preimages(phi)
        for method in ("exact", "rowwise"):
            miss = missed(phi, inverse_warp_grid(phi, SIZE, method=method))
            once = miss[~several]
            rows.append(
                {
                    "strength": strength,
                    "method": method,
                    "excluded": float(several.double().mean()),
                    "max miss": float(once.max()),
                    "mean miss": float(once.mean()),
                    "max miss everywhere": float(miss.max()),
                }
            )
    write("inverse", "python -m benchmarks.inverse", rows, NOTES)


def missed(phi: WarpParams, inverse: Tensor) -> Tensor:
    """|g(h(q)) - q| per lattice point, (B, H, W)."""
    exact = WarpParams(phi.x.double(), phi.y.double())
    found = evaluate_grid(exact, inverse.double().flatten(2).mT).mT.unflatten(2, SIZE)
    lattice = warp_grid(WarpParams.identity(1, 2, dtype=torch.float64), SIZE)
    return (found - lattice).norm(dim=1)


def has_several_preimages(phi: WarpParams) -> Tensor:
    """Lattice points near the image of a fold, (B, H, W): there the map turns over and covers a point again."""
    fine = (4 * SIZE[0] - 3, 4 * SIZE[1] - 3)
    folded = fold_mask(phi, fine)
    target = warp_grid(phi, fine)
    covered = torch.zeros(COUNT, *SIZE)
    image, row, column = folded.nonzero(as_tuple=True)
    x, y = (target[image, axis, row, column] for axis in (0, 1))
    covered[image, (y * (SIZE[0] - 1)).round().long(), (x * (SIZE[1] - 1)).round().long()] = 1
    return F.max_pool2d(covered[:, None], 3, stride=1, padding=1)[:, 0] > 0


if __name__ == "__main__":
    main()
