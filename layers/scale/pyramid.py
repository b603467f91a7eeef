"""A Gaussian pyramid, and the mean of what one network says of its levels: a cheap baseline, and a strong one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_count, require_plain

SMALLEST = 3
"""The reflecting border takes two pixels beside the outermost one."""


def pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """Images (B, C, H, W) at sizes 1, 1/2, 1/4, ...: ``levels`` of them, the first being ``x`` itself."""
    require_plain(x, "pyramid")
    require_count("levels", levels)
    H, W = x.shape[-2:]
    fitting = 1
    while min(H, W) >> (fitting - 1) >= SMALLEST:
        fitting += 1
    if levels > fitting:
        raise ValueError(f"pyramid got {H} x {W} for {levels} levels; at most {fitting} fit, or take a larger image")
    images = [x]
    for _ in range(levels - 1):
        images.append(halved(images[-1]))
    return images


def halved(x: Tensor) -> Tensor:
    """Blur with the binomial (1, 4, 6, 4, 1) / 16 along both axes, and halve H and W, rounded down."""
    H, W = x.shape[-2:]
    blurred = _blurred(F.pad(x, (2, 2, 2, 2), mode="reflect").transpose(-2, -1))
    blurred = _blurred(blurred.transpose(-2, -1))
    return F.interpolate(blurred, (H // 2, W // 2), mode="bilinear", align_corners=False)


def _blurred(x: Tensor) -> Tensor:
    """Along the last axis, which loses two at either end. As sums of slices: no constant tensor, no cast."""
    a, b, c, d, e = (x[..., i : x.shape[-1] - 4 + i] for i in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16


class PyramidEnsemble(nn.Module):
    """Average the logits that ``net`` gives for the levels of a pyramid.

    Args:
        net: a network of (B, C, H, W) for every size that occurs: convolutions with padding and a global pool, say. A
            batch norm within it mixes the statistics of the levels.
        levels: of the pyramid.
    """

    def __init__(self, net: nn.Module, levels: int = 3):
        super().__init__()
        require_count("levels", levels)
        self.net, self.levels = net, levels

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(image) for image in pyramid(x, self.levels)]).mean(0)
