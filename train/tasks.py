"""What a model is trained to do: how its labels are warped, what its outputs cost, and what is counted of them."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from layers.grid import WarpParams


class Task(Protocol):
    """A task, which the objective asks about outputs and labels that it does not look into itself."""

    score_name: str

    def warped(self, label: Tensor, phi: WarpParams) -> Tensor:
        """The labels of images that were warped by phi."""

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
