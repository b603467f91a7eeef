"""One way from a picture and its mask to a view of both: scaled, cropped, flipped and perhaps warped.

Both are read at the same places. The picture is averaged over what a pixel of the view covers; of the mask, the nearest
pixel's class is taken, so that classes are never mixed. Beyond the picture the view is grey, and its label is void.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from config.dense import VOID
from layers.grid import WarpParams, evaluate_grid
from layers.sampling import sample_bilinear, sample_nearest

GREY = 0.5
FINEST = 8  # readings per pixel and axis at most


@dataclass(frozen=True)
class View:
    """Where a square view lies on a picture.

    Args:
        side: of the view, in its own pixels.
        step: pixels of the picture between two of the view.
        centre: (y, x) of the view in the picture, in pixels from the picture's corner.
        flip: whether left and right are exchanged.
        warp: of the view, for a batch of one; None leaves it.
    """

    side: int
    step: float
    centre: tuple[float, float]
    flip: bool = False
    warp: WarpParams | None = None

    def of(self, picture: np.ndarray, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        """A (H, W, 3) uint8 picture and its (H, W) mask as (3, side, side) in [0, 1] and int64 (side, side)."""
        size = (mask.shape[0], mask.shape[1])
        finer = min(FINEST, max(1, math.ceil(self.step)))
        grid, inside = self._grid(finer, size)
        pixels = sample_bilinear(torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255, grid)
        image = F.avg_pool2d(torch.where(inside, pixels, GREY), finer)[0]
        grid, inside = (grid, inside) if finer == 1 else self._grid(1, size)
        label = sample_nearest(torch.from_numpy(mask.astype(np.int64))[None, None], grid)
        return image, torch.where(inside, label, VOID)[0, 0]

    def _grid(self, finer: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(1, 2, n, n) of where the view reads in [0, 1], and whether that is inside, with so many readings per pixel.

        [0, 1] runs from the first pixel's centre to the last one's, as in all warps.
        """
        n = self.side * finer
        line = (torch.arange(n, dtype=torch.float64) + 0.5) / finer  # from the view's corner, in its pixels
        edges = torch.stack([line.expand(n, n), line[:, None].expand(n, n)])
        if self.warp is not None:
            last = max(self.side - 1, 1)
            points = ((edges - 0.5) / last).clamp(0, 1).flatten(1).mT[None]
            double = WarpParams(*(part.double() for part in self.warp))
            edges = evaluate_grid(double, points)[0].mT.view(2, n, n) * last + 0.5
        x, y = edges - self.side / 2
        x = -x if self.flip else x
        there = torch.stack([x * self.step + self.centre[1], y * self.step + self.centre[0]])
        sides = torch.tensor([size[1], size[0]], dtype=torch.float64)[:, None, None]
        inside = ((there >= 0) & (there <= sides)).all(0)
        return ((there - 0.5) / (sides - 1).clamp_min(1)).clamp(0, 1).float()[None], inside


def whole(size: tuple[int, int], side: int) -> View:
    """All of a picture of this (H, W), its longer side as long as the view's."""
    return View(side, max(size) / side, (size[0] / 2, size[1] / 2))


def drawn(
    size: tuple[int, int], side: int, scale: tuple[float, float], flip: float, draws: tuple[float, float, float, float]
) -> View:
    """A random view: the picture so many times as large as in ``whole``, at a random place.

    Args:
        size: (H, W) of the picture.
        side: of the view.
        scale: interval of the factor, in whose logarithm the draw is uniform.
        flip: probability of exchanging left and right.
        draws: four numbers from 0 to 1.
    """
    factor = scale[0] * (scale[1] / scale[0]) ** draws[0]
    step = max(size) / side / factor
    room = [length - side * step for length in size]  # negative where the view is larger: it then holds all of it
    centre = [side * step / 2 + share * free for share, free in zip(draws[1:3], room, strict=True)]
    return View(side, step, (centre[0], centre[1]), flip=draws[3] < flip)
