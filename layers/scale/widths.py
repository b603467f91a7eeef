"""Widths of the internal scales that are learned: the scales of a steerable network as parameters.

The internal scale range is the largest width over the smallest. The learned widths start on a geometric sequence with a
given range, whatever they are parametrised by.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_count
from layers.scale.constant import Constant
from layers.scale.hermite import geometric

Parametrisation = Literal["fixed", "direct", "ratios", "ratios_squared", "ratio", "ratio_squared"]


class ScaleWidths(nn.Module):
    """The widths sigma_1 to sigma_S, as parameters say.

    fixed: no parameter. direct: the widths themselves. ratios: sigma_{i+1} / sigma_i = 1 + r_i. ratios_squared: 1 +
    r_i^2. ratio: one r for all, through a leaky ReLU: a negative r makes widths decrease. ratio_squared: 1 + r^2 for
    all, the published choice, in which any r but 0 keeps the order; the range is then (1 + r^2)^(S - 1).

    Args:
        count: S.
        first: sigma_1.
        span: the internal scale range at the start.
        learned: the parametrisation.
    """

    def __init__(self, count: int, *, first: float, span: float, learned: Parametrisation = "ratio_squared"):
        super().__init__()
        require_count("count", count)
        if learned not in get_args(Parametrisation):
            raise ValueError(f"learned is {learned!r}; expected one of {', '.join(get_args(Parametrisation))}")
        if first <= 0:
            raise ValueError(f"first is {first}; expected a width above 0")
        if span <= 1 and count > 1:
            raise ValueError(f"span is {span}; expected a range above 1, the largest width over the smallest")
        if count == 1 and learned not in ("fixed", "direct"):
            raise ValueError(f"learned is {learned!r} with one scale, which has no ratio; take 'direct'")
        self.count, self.learned = count, learned
        with torch.device("cpu"):
            widths = torch.tensor(geometric(first, span, count), dtype=torch.float64)
        ratio = span ** (1 / (count - 1)) - 1 if count > 1 else 0.0
        if learned == "fixed":
            self.change: Constant | nn.Parameter = Constant(widths)
            return
        starts = {
            "direct": widths.to(torch.empty(0).device),
            "ratios": torch.full((count - 1,), ratio, dtype=torch.float64),
            "ratios_squared": torch.full((count - 1,), ratio**0.5, dtype=torch.float64),
            "ratio": torch.tensor(ratio, dtype=torch.float64),
            "ratio_squared": torch.tensor(ratio**0.5, dtype=torch.float64),
        }
        dtype = torch.get_default_dtype()
        self.base = nn.Parameter(torch.tensor([first], dtype=dtype), requires_grad=learned != "direct")
        self.change = nn.Parameter(starts[learned].to(dtype))

    def forward(self) -> Tensor:
        """(S,) widths, in float32 at least: functions that are made of them have no digits to lose."""
        change = self.like.to(torch.promote_types(self.like.dtype, torch.float32))
        if self.learned in ("fixed", "direct"):
            return change
        base = self.base.to(change)
        if self.learned == "ratios":
            growth = 1 + change
        elif self.learned == "ratios_squared":
            growth = 1 + change**2
        else:
            one = F.leaky_relu(change) if self.learned == "ratio" else change**2
            growth = (1 + one).expand(self.count - 1)
        return base * torch.cat([torch.ones_like(base), growth.cumprod(0)])

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device of its model."""
        return self.change() if isinstance(self.change, Constant) else self.change

    @property
    def span(self) -> float:
        """The internal scale range: the last width over the first."""
        widths = self().detach()
        return float(widths[-1] / widths[0])
