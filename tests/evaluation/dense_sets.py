"""Maps as a part that a segmenter is judged by, and a segmenter that answers by the colours it sees."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.evaluation.stand_ins import chunks, smooth_images

CLASSES = 4


class Maps(NamedTuple):
    """Images with labels (N, H, W), in batches."""

    images: Tensor
    labels: Tensor
    batches: list[list[int]]
    composed: Any = None
    kind: str = "dense"
    groups: Any = None

    def loader(self, batches: list[list[int]]) -> list[tuple[Tensor, Tensor, Tensor]]:
        return [(self.images[batch], self.labels[batch], torch.tensor(batch)) for batch in batches]


def colours(seed: int = 1, classes: int = CLASSES) -> nn.Module:
    """A 1 x 1 convolution: what it says of a pixel depends on that pixel alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Tanh(), nn.Conv2d(8, classes, 1))
    with torch.no_grad():
        net[0].weight.mul_(6)
        net[2].weight.mul_(4)
    return net


def blots(count: int = 9, side: int = 24, batch: int = 4, *, void: bool = True) -> Maps:
    """Smooth images and labels of smooth blots, of which some pixels are void, and one whole image."""
    images = smooth_images(count, side)
    labels = smooth_images(count, side, channels=CLASSES, seed=5).argmax(1)
    if void:
        labels[:, :2] = 255
        labels[3] = 255
    return Maps(images, labels, chunks(range(count), batch))
