"""Steerable functions of SESN: Hermite polynomials under a Gaussian, sampled at several widths.

One dimension has the atoms g_n(t; sigma) = He_n(t / sigma) exp(-t^2 / 2 sigma^2) / sigma, He_n the probabilists'
Hermite polynomial. A function of two dimensions is the product of an atom along the rows and one along the columns. A
kernel of a network is a sum of such functions; its larger versions are the same sum of the larger functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from layers.scale.checks import require_count, require_increasing, require_odd

Kind = Literal["A", "B"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Which e^2 functions there are, e the effective size.

    A: the orders 0 to e - 1 along both axes, at one width. B: the orders that add up to at most ``max_order``, at the
    widths sigma, sigma / mult, sigma / mult^2, and so on until there are e^2.
    """

    kind: Kind
    effective_size: int
    mult: float | None = None
    max_order: int | None = None

    def __post_init__(self) -> None:
        require_count("effective_size", self.effective_size)
        if self.kind not in ("A", "B"):
            raise ValueError(f"kind is {self.kind!r}; expected 'A' or 'B'")
        if self.kind == "A":
            if self.mult is not None or self.max_order is not None:
                raise ValueError("kind A has one width and all orders; mult and max_order belong to kind B")
        elif self.mult is None or self.mult <= 1 or self.max_order is None or self.max_order < 0:
            given = f"mult is {self.mult} and max_order {self.max_order}"
            raise ValueError(f"{given}; kind B needs a mult above 1 and a max_order of at least 0")

    @property
    def members(self) -> list[tuple[int, int, int]]:
        """Of each function the order along rows, the order along columns, and the power of ``mult`` in its width."""
        count = self.effective_size**2
        if self.kind == "A":
            return [(rows, columns, 0) for columns in range(self.effective_size) for rows in range(self.effective_size)]
        assert self.max_order is not None
        orders = range(self.max_order + 1)
        pairs = [(rows, columns) for columns in orders for rows in orders if rows + columns <= self.max_order]
        return [(*pairs[number % len(pairs)], number // len(pairs)) for number in range(count)]

    def sampled(self, sigmas: Tensor, side: int) -> Tensor:
        """(e^2, S, side, side) functions at S widths on whole pixels; the first of the two axes is that of rows."""
        require_odd("side", side)
        rows, columns, powers = map(list, zip(*self.members, strict=True))
        mult = 1.0 if self.mult is None else self.mult
        divisors = mult ** torch.arange(max(powers) + 1, dtype=sigmas.dtype, device=sigmas.device)
        t = torch.arange(-(side // 2), side // 2 + 1, dtype=sigmas.dtype, device=sigmas.device)
        atoms = _atoms(max(rows + columns), t, sigmas / divisors[:, None])
        return atoms[rows, powers][..., :, None] * atoms[columns, powers][..., None, :]


def _atoms(max_order: int, t: Tensor, sigmas: Tensor) -> Tensor:
    """(orders, L, S, T) of the atoms at the places t, for (L, S) widths."""
    sigmas = sigmas[..., None]
    scaled = t / sigmas
    polynomials = [torch.ones_like(scaled), scaled]
    for order in range(1, max_order):
        polynomials.append(scaled * polynomials[-1] - order * polynomials[-2])
    return torch.stack(polynomials[: max_order + 1]) * torch.exp(-(scaled**2) / 2) / sigmas


def hermite_functions(family: Family, sigmas: Tensor, kernel_size: int) -> Tensor:
    """The functions at every scale, (e^2, S, K, K), normalized; differentiable in the widths.

    A scale is sampled on the part of the kernel that belongs to it, in proportion to its width, and is 0 outside. Every
    function is divided by its norm at the first scale, so that sizes relative to it are kept.

    Args:
        family: which functions.
        sigmas: (S,), the width of each scale.
        kernel_size: K, odd.
    """
    require_odd("kernel_size", kernel_size)
    functions = family.sampled(sigmas, kernel_size)
    offset = (torch.arange(kernel_size, device=sigmas.device) - kernel_size // 2).abs()
    inside = offset <= _half_sides(sigmas, kernel_size)[:, None]  # (S, K)
    return normalized(functions * (inside[:, :, None] & inside[:, None, :]))


def _half_sides(sigmas: Tensor, kernel_size: int) -> Tensor:
    """(S,) half of the side that each scale is sampled on, which has no gradient."""
    shares = sigmas.detach() / sigmas.detach().max()
    return (kernel_size * shares).floor().div(2, rounding_mode="floor")


def require_fit(family: Family, sigmas: Sequence[float], kernel_size: int) -> None:
    """Refuse a kernel in which the first scale has but one pixel, where odd functions are 0 and have no norm."""
    if not any(order % 2 for rows, columns, _ in family.members for order in (rows, columns)):
        return
    share = sigmas[0] / max(sigmas)
    if math.floor(kernel_size * share) >= 2:  # half a side of 1, by the rule of ``_half_sides``
        return
    least = 2 * math.ceil((2 / share - 1) / 2) + 1
    raise ValueError(
        f"kernel_size is {kernel_size}; expected at least {least}, so that of widths from {sigmas[0]:g} to "
        f"{max(sigmas):g} the first has three pixels a side"
    )


def normalized(functions: Tensor) -> Tensor:
    """Divide each of (F, S, K, K) functions by its L2 norm at the first scale."""
    return functions / functions[:, :1].square().sum((2, 3), keepdim=True).sqrt()


@dataclass(frozen=True, kw_only=True)
class Hermite:
    """The functions of SESN with widths that are fixed.

    Args:
        kernel_size: K, odd, of the largest scale.
        sigmas: the width of each scale, increasing.
        family: which functions.
    """

    kernel_size: int
    sigmas: tuple[float, ...]
    family: Family

    def __post_init__(self) -> None:
        require_odd("kernel_size", self.kernel_size)
        require_increasing("sigmas", self.sigmas)
        require_fit(self.family, self.sigmas, self.kernel_size)

    def functions(self) -> Tensor:
        """(e^2, S, K, K), in float64."""
        with torch.device("cpu"):
            return hermite_functions(self.family, torch.tensor(self.sigmas, dtype=torch.float64), self.kernel_size)


def geometric(first: float, span: float, count: int, digits: int | None = None) -> tuple[float, ...]:
    """Widths that grow by equal factors, from ``first`` to ``span`` times it; rounded as published to some digits."""
    require_count("count", count)
    widths = [first * span ** (number / max(count - 1, 1)) for number in range(count)]
    return tuple(widths if digits is None else (round(width, digits) for width in widths))
