"""Where warps read, at the points of a lattice: how far they move what they read, and how much of a warp they undo.

All in float64 on the CPU, so that differences of positions do not drown in rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.frame import Frame
from layers.grid import WarpParams, unchecked_evaluate_grid

POINTS = 16  # per axis, none of them on the border, where no warp moves anything across


def displacement(phi: WarpParams, frame: Frame, size: tuple[int, int]) -> Tensor:
    """Mean distance between a point and where the warp reads for it, (B,) in pixels of the image.

    Args:
        phi: of a site, for B images.
        frame: where the positions of the site lie in the image.
        size: (H, W) of the image.
    """
    height, width = size
    steps = _reading(phi, frame) - frame.to_whole(_lattice(len(phi.x)))
    return (steps * steps.new_tensor([width - 1, height - 1])).norm(dim=2).mean(1)


def undone(phi: WarpParams, warped_phi: WarpParams, warp: WarpParams, frame: Frame) -> Tensor:
    """Share of the squared displacement of a warp W that a canonicalizer undoes, (B,).

    An image's canonical form reads it at G(p), and that of the warped image reads the same image at W(G'(p)). The share
    is 1 - sum |G(p) - W(G'(p))|^2 / sum |W(G'(p)) - G'(p)|^2 over points p: 1 where the two forms are one, 0 where W
    makes no difference to what is found, and below 0 where the canonicalizer makes the warp worse.

    Args:
        phi: G of a site, for B images.
        warped_phi: G' of the site, for the warped images.
        warp: W, which has to move something: of nothing there is no share, and what comes out is rounding.
        frame: where the positions of the site lie in the images.
    """
    own, before = _reading(phi, frame), _reading(warped_phi, frame)
    after = unchecked_evaluate_grid(_exact(warp), before)
    left, moved = ((one - after).square().sum((1, 2)) for one in (own, before))
    return 1 - left / moved


def _reading(phi: WarpParams, frame: Frame) -> Tensor:
    """Where the warp reads in the image for each point, (B, N, 2)."""
    return frame.to_whole(unchecked_evaluate_grid(_exact(phi), _lattice(len(phi.x))))


def _lattice(count: int) -> Tensor:
    """The points for so many images, (B, N, 2)."""
    along = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    return torch.cartesian_prod(along, along).expand(count, -1, -1)


def _exact(phi: WarpParams) -> WarpParams:
    return WarpParams(*(part.cpu().double() for part in phi))
