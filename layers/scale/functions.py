"""Where a steerable layer gets its functions from: fixed ones, or those of widths that are learned."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from layers.scale.constant import Constant
from layers.scale.disco import Disco
from layers.scale.hermite import Family, Hermite, hermite_functions, require_fit
from layers.scale.widths import ScaleWidths

WIDEST = 255  # pixels a side of a kernel of learned widths


class FixedFunctions(nn.Module):
    """Functions that were computed once, in float64.

    Attributes:
        scales: what the scales stand for: the widths of SESN, the scales of DISCO, or None where nobody told.

    Args:
        basis: of SESN or of DISCO, or the (F, S, K, K) functions themselves.
        widths: of functions that are given themselves, one for each scale.
    """

    def __init__(self, basis: Hermite | Disco | Tensor, widths: tuple[float, ...] | None = None):
        super().__init__()
        functions = basis if isinstance(basis, Tensor) else basis.functions()
        _require_functions(functions)
        self.constant = Constant(functions)
        self.count, self.levels = functions.shape[:2]
        if isinstance(basis, Hermite):
            widths = basis.sigmas
        elif isinstance(basis, Disco):
            widths = basis.scales
        if widths is not None and len(widths) != self.levels:
            raise ValueError(f"widths is {list(widths)}; expected one for each of the {self.levels} scales")
        self.scales = None if widths is None else tuple(map(float, widths))

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
        return self._at(self.widths())

    def _at(self, widths: Tensor) -> Tensor:
        side = kernel_side(widths, self.reach)
        try:
            require_fit(self.family, widths.tolist(), side)
        except ValueError as error:
            raise WidthError(f"{error}; a learned width left its family: take a lower learning rate for it") from error
        return hermite_functions(self.family, widths, side)

    @property
    def scales(self) -> tuple[float, ...]:
        """The widths as they are now."""
        return tuple(self.widths().tolist())

    def settled(self) -> FixedFunctions:
        """The functions of the widths as they are now."""
        with torch.no_grad():
            return FixedFunctions(self._at(self.widths().double()), self.scales)


class WidthError(ValueError):
    """A network has learned a width that no kernel can have."""


def kernel_side(widths: Tensor, reach: float) -> int:
    """The published side: odd, at least 3, and ``reach`` times the largest width to either side.

    Nothing keeps the widths where they make sense while a network trains, so those are refused that do not.
    """
    smallest, largest = min(widths.tolist()), max(widths.tolist())
    if not smallest > 0:
        raise WidthError(f"a learned width is {smallest:g}; expected all above 0: take a lower learning rate for them")
    if not reach * largest <= WIDEST // 2:
        raise WidthError(
            f"a learned width ran away, to {largest:g}: with a reach of {reach:g}, its kernel would be wider than "
            f"{WIDEST} pixels; take a lower learning rate for the widths"
        )
    return max(3, 2 * ceil(reach * largest) + 1)


def _require_functions(functions: Tensor) -> None:
    """Refuse what cannot be kernels: a wrong shape, no middle, or functions that vanish where they are normalized."""
    shape = tuple(functions.shape)
    if len(shape) != 4 or 0 in shape or shape[2] != shape[3] or shape[3] % 2 == 0:
        raise ValueError(f"the functions of a basis are {shape}; expected (F, S, K, K), with an odd K")
    if not functions.isfinite().all():
        raise ValueError("the functions of a basis are not all finite; widths far below a pixel leave nothing of some")


def settle(network: nn.Module) -> nn.Module:
    """Fix the functions of all layers of a network at the widths that were learned, in place; for export."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, LearnedFunctions):
                setattr(module, name, child.settled().to(child.widths.like))
    return network
