"""The scale correlation of Deep Scale Spaces: one kernel, whose taps lie base^s pixels apart at level s.

    y(s, x) = bias + sum over l < interaction and over taps t of  weight(l, t) f(s + l, x + base^s t)

For a whole base it is exactly equivariant to shrinking: if every base^a-th pixel is taken and the levels move down by
a, then so does the result, borders and top levels included. Fields f beyond the image and beyond the top level are 0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_lifted, require_odd
from layers.scale.dilation import check_base, level_dilations

NOISE = 0.01  # of the delta initialisation


class ScaleCorrelation(nn.Module):
    """(B, in_channels, S, H, W) to (B, out_channels, S, H, W). The size is kept, as with padding base^s (k // 2).

    Parameters: ``weight`` (out_channels, in_channels, interaction, k, k), and ``bias``, which begins at 1 as published.

    Args:
        in_channels, out_channels: of each level.
        kernel_size: k, an odd number.
        levels: S, where it should be checked; by default any number of levels is taken.
        interaction: how many levels, from the own one upwards, a value is made of.
        base: of the dilations; one that is not whole is rounded down, level by level, with a warning.
        bias: one number per output channel, shared by all levels.
        init: "he", or "delta": near the identity at l = 0, for layers that join a trained network.
    """

    scales = None  # what the levels stand for is known to the lifting layer, and so is their number

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        levels: int | None = None,
        interaction: int = 1,
        base: float = 2,
        bias: bool = True,
        init: Literal["he", "delta"] = "he",
    ):
        super().__init__()
        require_count("in_channels", in_channels)
        require_count("out_channels", out_channels)
        require_odd("kernel_size", kernel_size)
        require_count("interaction", interaction)
        if levels is not None:
            require_count("levels", levels)
            if interaction > levels:
                raise ValueError(f"interaction is {interaction}; expected at most the {levels} levels that there are")
        check_base(base, levels)
        if init not in ("he", "delta"):
            raise ValueError(f"init is {init!r}; expected 'he' or 'delta'")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.levels, self.interaction, self.base, self.init = levels, interaction, base, init
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, interaction, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        if self.init == "he":
            nn.init.kaiming_normal_(self.weight)  # of variance 2 / (in_channels * interaction * k * k)
        else:
            near_identity_(self.weight)
        if self.bias is not None:
            nn.init.ones_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        require_lifted(x, "ScaleCorrelation", self.levels)
        require_channels(x, "ScaleCorrelation", self.in_channels)
        levels = x.unbind(2)  # whose gradient is one stack; that of slices would be S maps of full size
        dilations = level_dilations(self.base, len(levels))
        whole = self.weight.transpose(1, 2).flatten(1, 2)  # (O, N C, k, k): the channels of level l after l C others
        found = [self._level(levels[s : s + self.interaction], whole, d) for s, d in enumerate(dilations)]
        return torch.stack(found, dim=2)

    def _level(self, levels: tuple[Tensor, ...], whole: Tensor, dilation: int) -> Tensor:
        """One level, made of itself and of those above that there are: their channels are laid side by side."""
        seen = levels[0] if len(levels) == 1 else torch.cat(levels, dim=1)
        weight = whole if len(levels) == self.interaction else whole[:, : seen.shape[1]]
        margin = dilation * (self.kernel_size // 2)
        return F.conv2d(seen, weight, self.bias, padding=margin, dilation=dilation)


@torch.no_grad()
def near_identity_(weight: Tensor) -> Tensor:
    """Fill weights (O, C, N, k, k) with small noise, and let each output copy the input channels of its group.

    There are gcd(C, O) groups. The middle tap of level l = 0 is raised by gcd(C, O) / O.
    """
    out_channels, in_channels, _, side, _ = weight.shape
    groups = math.gcd(in_channels, out_channels)
    nn.init.uniform_(weight, -NOISE, NOISE)
    of_output = torch.arange(out_channels, device=weight.device) * groups // out_channels
    of_input = torch.arange(in_channels, device=weight.device) * groups // in_channels
    same = (of_output[:, None] == of_input).to(weight)
    weight[:, :, 0, side // 2, side // 2] += same * (groups / out_channels)
    return weight
