"""Where a position of one picture lies in another that was resized and cut out of it.

Warps of different places can be compared only where their positions mean the same: [0, 1] runs from the first pixel's
centre to the last one's, so an image, what is left of it after resizing and cutting, and a stage's coarser feature each
have a [0, 1] of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]


class Frame(NamedTuple):
    """Positions here, and where they lie in the picture that this one was made of: ``scale * position + offset``.

    Args:
        scale: of x and y.
        offset: of x and y.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of_pixels(cls, size: Size, whole: Size, per_pixel: tuple[float, float], first: tuple[float, float]) -> Frame:
        """The frame of a lattice of pixels that is laid over a picture.

        Args:
            size: (H, W) of the lattice.
            whole: (H, W) of the picture.
            per_pixel: pixels of the picture between two of the lattice, along y and x.
            first: where the lattice's first pixel has its centre in the picture, in pixels from its first centre.
        """
        scales, offsets = [], []
        for n, of_whole, step, start in zip(size, whole, per_pixel, first, strict=True):
            last = max(of_whole - 1, 1)  # a picture of one pixel has its position 0 alone
            scales.append((n - 1) * step / last)
            offsets.append(start / last)
        return cls((scales[1], scales[0]), (offsets[1], offsets[0]))

    @classmethod
    def resized(cls, size: Size, whole: Size) -> Frame:
        """Of all of a picture at another size: edges lie on edges (``align_corners=False``), as timm resizes.

        The tokens of a patch embedding lie in their patches' centres in the same way, and the pixels of a coarse
        feature over their share of the image; a padded convolution may shift those by up to half of its stride.

        >>> Frame.resized((2, 2), (4, 4))  # the centres of 2 x 2 pixels lie at pixels .5 and 2.5 of 0 to 3
        Frame(scale=(0.666..., 0.666...), offset=(0.166..., 0.166...))
        """
        steps = [n_whole / n for n, n_whole in zip(size, whole, strict=True)]
        return cls.of_pixels(size, whole, (steps[0], steps[1]), ((steps[0] - 1) / 2, (steps[1] - 1) / 2))

    @classmethod
    def cut(cls, size: Size, whole: Size, corner: tuple[int, int]) -> Frame:
        """Of a part of a picture, whose first pixel lies at this (row, column)."""
        return cls.of_pixels(size, whole, (1.0, 1.0), (float(corner[0]), float(corner[1])))

    def within(self, outer: Frame) -> Frame:
        """This one's positions in the picture that the outer one was made of."""
        scales = [own * other for own, other in zip(self.scale, outer.scale, strict=True)]
        offsets = [
            own * scale + other for own, scale, other in zip(self.offset, outer.scale, outer.offset, strict=True)
        ]
        return Frame((scales[0], scales[1]), (offsets[0], offsets[1]))

    def to_whole(self, points: Tensor) -> Tensor:
        """(B, N, 2) positions here, x then y, as positions in the picture that this one was made of."""
        along = zip(points.unbind(-1), self.scale, self.offset, strict=True)
        return torch.stack([values * scale + offset for values, scale, offset in along], dim=-1)
