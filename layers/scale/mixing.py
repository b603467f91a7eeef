"""Mixing of channels alone, at every position and scale: the 1 x 1 convolution of lifted maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_lifted
from layers.scale.weights import uniform_


class ScaleConv1x1(nn.Module):
    """(B, C, S, H, W) to (B, O, S, H', W'), by one matrix for all scales.

    With an ``interaction`` of N each scale also reads the N - 1 above it, by matrices of their own; above the top one
    there is 0. The bias begins at 0, as those of the layers beside it do.

    Args:
        in_channels, out_channels: C and O.
        interaction: N.
        stride: in pixels.
        bias: whether there is one, shared by all scales.
    """

    scales = None  # what the scales stand for is known to the layers before this one

    def __init__(
        self, in_channels: int, out_channels: int, *, interaction: int = 1, stride: int = 1, bias: bool = True
    ):
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("stride", stride)):
            require_count(name, value)
        require_count("interaction", interaction)
        self.in_channels, self.interaction, self.stride = in_channels, interaction, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, interaction))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        uniform_([self.weight], in_channels * interaction)

    def forward(self, x: Tensor) -> Tensor:
        require_lifted(x, "ScaleConv1x1")
        require_channels(x, "ScaleConv1x1", self.in_channels)
        if self.stride > 1:
            x = x[..., :: self.stride, :: self.stride]
        S, H = x.shape[2:4]
        if self.interaction > 1:  # the channels of the scales above beside the own ones
            padded = F.pad(x, (0, 0, 0, 0, 0, self.interaction - 1))
            x = torch.cat([padded[:, :, above : above + S] for above in range(self.interaction)], dim=1)
        weight = self.weight.transpose(1, 2).flatten(1)[..., None, None]
        # One scale below the other, as if they were one tall map: quicker than a 3-D convolution.
        return F.conv2d(x.flatten(2, 3), weight, self.bias).unflatten(2, (S, H))
