"""Selected objects as a data set, perhaps rescaled."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.stir.container import Selection
from layers.seeds import seed_of


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
        self._epoch = torch.zeros((), dtype=torch.int64)
        if rescale is not None:
            self._epoch.share_memory_()  # so that workers that outlive an epoch hear of the next one

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].float() / 255
        if self.rescale is not None:
            low, high = map(math.log, self.rescale)
            draw = random.Random(seed_of(self.seed, "rescale", int(self._epoch), index))
            image = rescaled(image, math.exp(draw.uniform(low, high)))
        return image, int(self.labels[index])

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that factors are drawn for."""
        self._epoch.fill_(epoch)


def rescaled(image: Tensor, factor: float) -> Tensor:
    """(C, H, W), enlarged by ``factor`` about its centre."""
    theta = torch.eye(2, 3)[None] / factor
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0]
