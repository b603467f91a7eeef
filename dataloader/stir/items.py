"""Selected objects as a data set, perhaps rescaled."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.stir.container import SIDE as CANVAS
from dataloader.stir.container import Selection
from layers.seeds import seed_of


class Pair(NamedTuple):
    """Of an item and its sibling; places are x and y, -1 to 1 between the edges of the canvas.

    Args:
        enlarged: by what factor the sibling enlarges the object.
        centre: of the object, before any rescaling.
        moved: of the object in the sibling.
        factor: that the item rescales the canvas by.
    """

    enlarged: float
    centre: Tensor
    moved: Tensor
    factor: float


class Objects(Dataset[tuple[Tensor, int]]):
    """Items are (image, label), images float (C, 64, 64) in [0, 1].

    Args:
        selection: of a container.
        rescale: interval of the factor, uniform in its logarithm, that an image is rescaled by about its centre, with
            zeros around it; None leaves images as they are.
        seed: of the factors, which are drawn for every epoch and item.
    """

    def __init__(self, selection: Selection, rescale: tuple[float, float] | None = None, seed: int = 0):
        images = torch.from_numpy(selection.images)
        self.images = images[:, None] if images.ndim == 3 else images.movedim(-1, 1)
        self.labels, self.selection = selection.labels, selection
        self.rescale, self.seed = rescale, seed
        sides = np.unique(selection.sides)
        self.middle = int(sides[len(sides) // 2])  # of the sizes; of an even number of them, the one above the middle
        self._epoch = torch.zeros((), dtype=torch.int64)
        if rescale is not None:
            self._epoch.share_memory_()  # so that workers that outlive an epoch hear of the next one

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._image(index)
        if self.rescale is not None:
            image = rescaled(image, self._factor(index))
        return image, int(self.labels[index])

    def sibling(self, index: int) -> Tensor:
        """The item's object at the middle one of the selected sizes, about the place where the item shows its centre,
        or as near to it as the whole object fits the canvas.

        It is what an item at "scale 1" would be. Where the item is rescaled beyond the canvas, its sibling still shows
        what the item has lost.
        """
        pair = self._pair(index)
        return rescaled(self._image(index), pair.enlarged, pair.centre, pair.moved)

    def place(self, index: int) -> Tensor:
        """(2, 2), a scale and an offset, each of x and y: what the sibling shows at p, the item shows at
        ``scale * p + offset``, where [0, 1] runs from the first pixel's centre to the last one's."""
        pair = self._pair(index)
        scale = pair.factor / pair.enlarged
        # Where both show the object's centre. Here 0 to 1 runs between the outer pixels' centres.
        places = (pair.factor * pair.centre, pair.moved)
        item, sibling = (((place + 1) * CANVAS / 2 - 0.5) / (CANVAS - 1) for place in places)
        return torch.stack([torch.full((2,), scale), (item - scale * sibling).float()])

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that factors are drawn for."""
        self._epoch.fill_(epoch)

    def _pair(self, index: int) -> Pair:
        side = int(self.selection.sides[index])
        centre = torch.from_numpy(self.selection.positions[index] + side / 2) / CANVAS * 2 - 1
        factor = 1.0 if self.rescale is None else self._factor(index)
        room = 1 - self.middle / CANVAS
        return Pair(self.middle / side, centre, (factor * centre).clamp(-room, room), factor)

    def _image(self, index: int) -> Tensor:
        return self.images[index].float() / 255

    def _factor(self, index: int) -> float:
        assert self.rescale is not None
        low, high = map(math.log, self.rescale)
        draw = random.Random(seed_of(self.seed, "rescale", int(self._epoch), index))
        return math.exp(draw.uniform(low, high))


def rescaled(image: Tensor, factor: float, centre: Tensor | float = 0.0, moved: Tensor | float = 0.0) -> Tensor:
    """(C, H, W), enlarged by ``factor`` about ``centre``, which moves to ``moved``: x and y, -1 to 1 over the image."""
    theta = torch.eye(2, 3) / factor
    theta[:, 2] = centre - moved / factor
    grid = F.affine_grid(theta[None], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0]
