"""What a model is trained to do: how its labels are warped, what its outputs cost, and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from config.dense import VOID
from config.schema import Config, ConfigError
from layers.grid import WarpParams, unchecked_warp_grid
from layers.monotone import unchecked_warp
from layers.sampling import sample_nearest


class Task(Protocol):
    """A task, which the objective asks about outputs and labels that it does not look into itself."""

    score_name: str

    def warped(self, label: Tensor, phi: WarpParams) -> Tensor:
        """The labels of images that were warped by phi."""

    def aligned(self, output: Tensor, of_warped: Tensor, phi: WarpParams) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) of images and of the same images warped by phi, row by row of what ought to be equal."""

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """The mean over the images, with its graph."""

    def score(self, output: Tensor, label: Tensor) -> Tensor:
        """(B,), of every image what is counted."""


class Classification:
    """One class for every image, or shares of classes where images were mixed."""

    score_name = "accuracy"

    def warped(self, label: Tensor, phi: WarpParams) -> Tensor:
        """The same: a warped image shows what it showed."""
        return label

    def aligned(self, output: Tensor, of_warped: Tensor, phi: WarpParams) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return output, of_warped

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of (B, classes) logits."""
        if label.ndim != 1 and label.shape != output.shape:
            raise ValueError(
                f"labels have shape {tuple(label.shape)}; expected ({len(output)},) class numbers, or shares of "
                f"{tuple(output.shape)}"
            )
        return F.cross_entropy(output, label)

    def score(self, output: Tensor, label: Tensor) -> Tensor:
        """Whether the likeliest class is the label, or its largest share."""
        return output.argmax(dim=1) == (label if label.ndim == 1 else label.argmax(dim=1))


class Segmentation:
    """One class for every pixel, in (B, H, W) labels, of which 255 leaves a pixel out.

    Args:
        weights: of the classes; empty: all 1.
    """

    score_name = "pixel_accuracy"

    def __init__(self, weights: Sequence[float] = ()):
        self.weights = torch.tensor(weights) if weights else None

    def warped(self, label: Tensor, phi: WarpParams) -> Tensor:
        """Read where the images are read, at the nearest pixel: classes are never mixed."""
        return sample_nearest(label[:, None], unchecked_warp_grid(phi, (label.shape[-2], label.shape[-1])))[:, 0]

    def aligned(self, output: Tensor, of_warped: Tensor, phi: WarpParams) -> tuple[Tensor, Tensor]:
        """Every pixel of the warped image, and what was said of the place that it shows.

        The warped image shows nothing else than the image, and warping what was said of that needs no inverse.
        """
        warped = unchecked_warp(output, WarpParams(*(part.to(output.dtype) for part in phi)))
        return warped.movedim(1, -1).flatten(0, 2), of_warped.movedim(1, -1).flatten(0, 2)

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy of (B, classes, H, W) logits: the weighted mean over each image's pixels, and over the images.

        An image without a pixel that counts costs nothing. Taken image by image, parts of a batch add up to the whole.
        """
        self._check(output, label)
        weights = None if self.weights is None else self.weights.to(output)
        costs = F.cross_entropy(output, label, weight=weights, ignore_index=VOID, reduction="none")
        counts = (label != VOID).to(costs)
        if weights is not None:
            counts = counts * weights[label.where(label != VOID, 0)]
        return (costs.sum((1, 2)) / counts.sum((1, 2)).clamp_min(1e-8)).mean()

    def score(self, output: Tensor, label: Tensor) -> Tensor:
        """Share of an image's pixels whose likeliest class is the label."""
        counts = label != VOID
        return ((output.argmax(dim=1) == label) & counts).sum((1, 2)) / counts.sum((1, 2)).clamp_min(1)

    @staticmethod
    def _check(output: Tensor, label: Tensor) -> None:
        expected = (len(output), *output.shape[-2:])
        if output.ndim != 4 or label.shape != expected:
            raise ValueError(
                f"labels have shape {tuple(label.shape)} and logits {tuple(output.shape)}; expected a label for every "
                "pixel, (B, H, W), and logits of (B, classes, H, W)"
            )


def build_task(config: Config, num_classes: int) -> Task:
    """What a recipe's data ask for."""
    if config.data.kind != "dense":
        return Classification()
    weights = config.loss.task.class_weights
    if weights and len(weights) != num_classes:
        raise ConfigError(f"loss.task.class_weights has {len(weights)} numbers; expected {num_classes}, one per class")
    return Segmentation(weights)
