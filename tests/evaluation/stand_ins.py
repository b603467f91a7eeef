"""Small models, images and data sets for the tests of evaluation."""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dataloader.digits.items import ScaledDigits
from dataloader.digits.single import embedded_digits
from evaluation.predictions import logits_of, undisturbed
from layers.grid import WarpParams
from layers.monotone import monotone_warp
from models.adapted import DECOutput


def smooth_images(count, side=24, channels=1, seed=0):
    """Images without fine detail, so that resampling them changes little."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator) - 0.5
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)


def in_batches(images, size, classes=7):
    """A loader that can be read again and again."""
    labels = torch.arange(len(images)) % classes
    return list(zip(images.split(size), labels.split(size), strict=True))


def said(predict, loader):
    """Logits and labels of all items of a loader."""
    with undisturbed(predict):
        found = [(logits_of(predict, image, "cpu"), torch.as_tensor(label)) for image, label, *_ in loader]
    return tuple(map(torch.cat, zip(*found, strict=True)))


class Items(NamedTuple):
    """Images as a part that a model is judged by.

    Attributes:
        batches: of the items' numbers.
        composed: what composes them at given scales.
    """

    images: torch.Tensor
    labels: torch.Tensor
    batches: list[list[int]]
    composed: Any = None
    kind: str = "digits"
    groups: None = None

    def loader(self, batches):
        return [(self.images[batch], self.labels[batch], torch.tensor(batch)) for batch in batches]


def chunks(numbers, size):
    numbers = list(numbers)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


class OneByOne(nn.Module):
    """Computes every image on its own, so that nothing depends on the batch that it is in."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return torch.cat([self.net(single) for single in image.split(1)])


def small_net(channels=1, classes=7, seed=2, gain=8.0):
    """A model that sees where things are, has other ways in training mode, and is sure of some of what it says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 6, 5, stride=2),
            nn.BatchNorm2d(6),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(96, classes, bias=False),
        )
    with torch.no_grad():
        net[-1].weight.mul_(gain)
    return net


def two_digits(**options):
    """The real data set, on scikit-learn's digits: two digits on 112 x 112 pixels."""
    images, labels = embedded_digits(False)
    options = {"n_digits": 2, "scales": ((0.4, 2.0), (0.5, 1.5)), "cell_size": 56, "channels": 1} | options
    return ScaledDigits(images[:40], labels[:40], **options)


class Blobs:
    """Two round spots whose widths are their scales."""

    scales = ((0.5, 2.0), (1.0, 3.0))
    channels, standardize = 1, False

    def __len__(self):
        return 12

    def item(self, index, scales=None):
        y, x = np.mgrid[:24, :24]
        spots = [
            np.exp(-((x - 6 - 10 * k) ** 2 + (y - 8 - index % 5) ** 2) / (8 * scale**2))
            for k, scale in enumerate(scales)
        ]
        return (255 * np.clip(sum(spots), 0, 1)).astype(np.uint8), index % 7

    def restored_item(self, index, scales):
        return self.item(index, [1 + 0.02 * scale for scale in scales])


class Warper(nn.Module):
    """An adapted model that is told the warps which it finds: ``own`` for images, and ``others`` for warped ones.

    An image's number stands in its first pixel, in hundredths, and no warp moves that. What the network sees is warped
    by one site after the other. After ``evaluations``, images are so many times as bright.
    """

    def __init__(self, net, own, others, frames):
        super().__init__()
        self.net, self.own, self.others, self.of_sites = net, own, others, frames

    def forward(self, image, return_output=False, warps_only=False, evaluations=0):
        assert not self.training
        if evaluations:
            logits = self.net(evaluations * image)
            return DECOutput(logits, (), image[:, 0, 1, :2] / evaluations) if return_output else logits
        found = self.others if warps_only else self.own
        numbers = (100 * image[:, 0, 0, 0]).round().long() % len(found[0].x)
        phis = tuple(WarpParams(phi.x[numbers], phi.y[numbers]) for phi in found)
        logits = None if warps_only else self.predict(image, phis)
        return DECOutput(logits, phis, image[:, 0, 1, :2]) if return_output or warps_only else logits

    def predict(self, image, phis):
        for phi in phis:
            image = monotone_warp(image, phi)
        return self.net(image)

    def frames(self, size):
        return self.of_sites


def numbered_images(count, side=12, seed=0):
    """Noise, with the number of each image in its first pixel, in hundredths."""
    images = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) - 0.5
    images[:, 0, 0, 0] = torch.arange(count) / 100
    return images
