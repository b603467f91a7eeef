"""Where a steerable layer gets its functions from: fixed ones, or those of widths that are learned."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from layers.scale.constant import Constant
from layers.scale.disco import Disco
from layers.scale.hermite import Family, Hermite, hermite_functions
from layers.scale.widths import ScaleWidths


class FixedFunctions(nn.Module):
    """Functions that were computed once, in float64.

    Args:
        basis: of SESN or of DISCO, or the (F, S, K, K) functions themselves.
    """

    def __init__(self, basis: Hermite | Disco | Tensor):
        super().__init__()
        self.constant = Constant(basis if isinstance(basis, Tensor) else basis.functions())
        self.count, self.levels = self.constant.exact.shape[:2]

    def forward(self) -> Tensor:
        """(F, S, K, K)."""
        return self.constant()

    def ranks(self) -> list[int]:
        """How many functions are independent at each scale. Small widths, and crops, make some depend on others."""
        return [int(torch.linalg.matrix_rank(level.flatten(1))) for level in self.constant.exact.unbind(1)]


class LearnedFunctions(nn.Module):
    """Hermite functions that are computed in every forward pass, of widths that may be learned.

    The side of the kernels follows the largest width, without a gradient, and may change while the network trains. A
    network that is exported or compiled as a whole needs a side that stays: see ``settled``.

    Args:
        widths: of the scales; layers may share it.
        family: which functions.
        reach: half the side of a kernel, in units of the largest width.
    """

    def __init__(self, widths: ScaleWidths, family: Family, reach: float = 4.0):
        super().__init__()
        if reach <= 0:
            raise ValueError(f"reach is {reach}; expected a number above 0")
        self.widths, self.family, self.reach = widths, family, reach
        self.count, self.levels = family.effective_size**2, widths.count

    def forward(self) -> Tensor:
        """(F, S, K, K)."""
        widths = self.widths()
        return hermite_functions(self.family, widths, kernel_side(widths, self.reach))

    def settled(self) -> FixedFunctions:
        """The functions of the widths as they are now."""
        with torch.no_grad():
            widths = self.widths().double()
            return FixedFunctions(hermite_functions(self.family, widths, kernel_side(widths, self.reach)))


def kernel_side(widths: Tensor, reach: float) -> int:
    """The published side: odd, at least 3, and ``reach`` times the largest width to either side."""
    return max(3, 2 * ceil(reach * float(widths.detach().max())) + 1)


def settle(network: nn.Module) -> nn.Module:
    """Fix the functions of all layers of a network at the widths that were learned, in place; for export."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, LearnedFunctions):
                setattr(module, name, child.settled().to(child.widths()))
    return network
