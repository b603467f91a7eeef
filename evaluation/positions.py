"""Where warps read, at the points of a lattice: how far they move what they read, and how much of a warp they undo.

All in float64 on the CPU, so that differences of positions do not drown in rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.frame import Frame
from layers.grid import WarpParams, unchecked_evaluate_grid
from layers.sampling import sample_bilinear

POINTS = 16  # per axis, none of them on the border, where no warp moves anything across
FLAT = 1e-9  # what a place without any contrast counts, so that an image that is flat everywhere has a share too


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


def contrast(image: Tensor) -> Tensor:
    """(B, 1, POINTS, POINTS), how much (B, C, H, W) images vary in each part of them: the deviation of their pixels."""
    exact = image.cpu().double()
    mean, square = (F.adaptive_avg_pool2d(values, POINTS) for values in (exact, exact.square()))
    return (square - mean.square()).clamp_min(0).sum(1, keepdim=True).sqrt()


def undone(
    phi: WarpParams, warped_phi: WarpParams, warp: WarpParams, frame: Frame, contrasts: Tensor | None = None
) -> Tensor:
    """Share of the squared displacement of a warp W that a canonicalizer undoes, (B,).

    An image's canonical form reads it at G(p), and that of the warped image reads the same image at W(G'(p)). The share
    is 1 - sum |G(p) - W(G'(p))|^2 / sum |W(G'(p)) - G'(p)|^2 over points p: 1 where the two forms are one, 0 where W
    makes no difference to what is found, and below 0 where the canonicalizer makes the warp worse.

    Args:
        phi: G of a site, for B images.
        warped_phi: G' of the site, for the warped images.
        warp: W, which has to move something: of nothing there is no share, and what comes out is rounding.
        frame: where the positions of the site lie in the images.
        contrasts: of the images. A point counts by the contrast where its form reads the image, for nobody can tell
            one place of a flat background from another. None: all count alike.
    """
    own, before = _reading(phi, frame), _reading(warped_phi, frame)
    after = unchecked_evaluate_grid(_exact(warp), before)
    weight = torch.ones_like(own[..., 0])
    if contrasts is not None:
        weight = sample_bilinear(contrasts, own.transpose(1, 2).unsqueeze(3)).flatten(1) + FLAT
    left, moved = (((one - after).square().sum(2) * weight).sum(1) for one in (own, before))
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
