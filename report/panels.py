"""Panels of a picture and of a warp on it, for a page that answers at once: PIL is much faster here than Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from layers.grid import WarpParams, warp_grid
from report.figures import lines_of, picture_of

SIDE, GAP = 336, 8  # about the width of a panel, and what lies between two, in pixels


def drawn(still: Tensor, seen: Tensor, phi: WarpParams, warped: Tensor) -> Image.Image:
    """Left: the lines of a warp on the picture that it reads. Right: what it makes of that.

    Both have the brightness of the picture that is not bent, ``still``.
    """
    size = (seen.shape[-2], seen.shape[-1])
    grid, times = warp_grid(phi, size)[0], enlarged(size)
    panels = [panel(image, still) for image in (seen, warped)]
    for line in lines_of(grid, 13).get_segments():
        ImageDraw.Draw(panels[0]).line([tuple(times * (point + 0.5)) for point in line], "orange", width=1)
    both = Image.new("RGB", (2 * panels[0].width + GAP, panels[0].height), "white")
    for one, left in zip(panels, (0, panels[0].width + GAP), strict=True):
        both.paste(one, (left, 0))
    return both


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, from the left."""
    tops = list(accumulate((row.height + GAP for row in rows), initial=0))
    whole = Image.new("RGB", (max(row.width for row in rows), tops[-1] - GAP), "white")
    for row, top in zip(rows, tops, strict=False):
        whole.paste(row, (0, top))
    return whole


def panel(image: Tensor, like: Tensor) -> Image.Image:
    """An image (1, C, H, W) by the range of another one, enlarged where it is small."""
    pixels = Image.fromarray((255 * picture_of(image[0], like[0])).round().astype(np.uint8)).convert("RGB")
    times = enlarged((pixels.height, pixels.width))
    return pixels.resize((times * pixels.width, times * pixels.height), Image.Resampling.NEAREST)


def enlarged(size: tuple[int, int]) -> int:
    """How many pixels of a panel one of an image of this size has, along each axis."""
    return max(1, round(SIDE / size[1]))
