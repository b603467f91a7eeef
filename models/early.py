"""Early features: what the first blocks of a backbone see in images, through a copy of them that never trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sites import Probe, Size


class EarlyFeatures(nn.Module):
    """Intermediate features of a backbone's first part, side by side: (B, channels, h, w) of the first one's size.

    The part is a copy at rest: in evaluation mode and without gradients of its own, whatever its model does, so that
    the map which reads it sees the same features of an image throughout training. Its weights are in the state dict.

    Args:
        backbone: bare, with its weights.
        indices: of timm's intermediates, increasing.
        found: what the backbone is.
        preprocess: what images go through before the backbone, if anything; copied too.
    """

    def __init__(self, backbone: nn.Module, indices: Sequence[int], found: Probe, preprocess: nn.Module | None = None):
        super().__init__()
        self.indices = list(indices)
        self.preprocess = nn.Identity() if preprocess is None else copy.deepcopy(preprocess)
        self.backbone: Any = _first_part(backbone, self.indices)
        self.requires_grad_(False)
        self.eval()
        weight = next(self.backbone.parameters())
        with torch.no_grad():
            example = self._features(weight.new_zeros(1, found.image_channels, *found.image_size))
        self.channels = example.shape[1]
        self.size: Size = (example.shape[2], example.shape[3])  # for images of the size that was probed
        self.train()

    def forward(self, image: Tensor) -> Tensor:
        """Features of (B, C, H, W) images."""
        return self._features(self.preprocess(image))

    def train(self, mode: bool = True) -> EarlyFeatures:
        """Stay in evaluation mode; going through ``mode`` lets modules forget what they computed of older weights."""
        super().train(mode)
        return super().train(False)

    def copy_from(self, backbone: nn.Module) -> None:
        """Take over the weights of a backbone like the one that this was made of."""
        weights = backbone.state_dict()
        self.backbone.load_state_dict({name: weights[name] for name in self.backbone.state_dict()})
        self.train()

    def _features(self, image: Tensor) -> Tensor:
        first, *others = self.backbone.forward_intermediates(
            image, indices=self.indices, norm=False, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        size = first.shape[-2:]
        resized = [
            other if other.shape[-2:] == size else F.interpolate(other, size=size, mode="bilinear") for other in others
        ]
        return torch.cat([first, *resized], dim=1)


def _first_part(backbone: Any, indices: list[int]) -> nn.Module:
    """A copy of what makes these intermediate features; a backbone that does not give them is refused."""
    kind = type(backbone).__name__
    if not hasattr(backbone, "forward_intermediates"):
        raise ValueError(f"{kind} has no forward_intermediates; condition early needs a timm model that has it")
    count = len(backbone.feature_info)
    if max(indices) >= count:
        raise ValueError(f"indices is {indices}; expected numbers below {count}, the intermediates of {kind}")
    part = copy.deepcopy(backbone)
    if hasattr(part, "prune_intermediate_layers"):
        part.prune_intermediate_layers(indices, prune_norm=True, prune_head=True)
    return part
