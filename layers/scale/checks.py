"""What the layers of scale-equivariant networks refuse, in one place: shapes, types, kernels and scales.

A plain tensor is (B, C, H, W). A lifted one is (B, C, S, H, W), with the scale axis in the middle, always dim 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from torch import Tensor


def require_plain(x: Tensor, layer: str) -> None:
    """Refuse what is not a floating-point (B, C, H, W)."""
    if x.ndim == 5:
        raise ValueError(
            f"{layer} got a lifted tensor {tuple(x.shape)}, (B, C, S, H, W); expected a plain one, (B, C, H, W): pool "
            "over its scales first, with ScalePool or x.amax(2)"
        )
    _require(x, layer, 4, "(B, C, H, W)")


def require_lifted(x: Tensor, layer: str, levels: int | None = None) -> None:
    """Refuse what is not a floating-point (B, C, S, H, W), with S of ``levels`` where that is given."""
    if x.ndim == 4:
        raise ValueError(
            f"{layer} got a plain tensor {tuple(x.shape)}, (B, C, H, W); expected a lifted one, (B, C, S, H, W): put a "
            "lifting layer before it"
        )
    _require(x, layer, 5, "(B, C, S, H, W)")
    if x.shape[2] == 0:
        raise ValueError(f"{layer} got {tuple(x.shape)}, (B, C, S, H, W), without a scale; expected at least one")
    if levels is not None and x.shape[2] != levels:
        raise ValueError(f"{layer} got {x.shape[2]} scales, of {tuple(x.shape)}; expected the {levels} that it has")


def require_channels(x: Tensor, layer: str, channels: int) -> None:
    """Refuse other channels than the layer has weights for."""
    if x.shape[1] != channels:
        raise ValueError(f"{layer} got {x.shape[1]} channels, of {tuple(x.shape)}; expected {channels}")


def _require(x: Tensor, layer: str, ndim: int, layout: str) -> None:
    if x.ndim != ndim:
        raise ValueError(f"{layer} got {tuple(x.shape)}; expected {layout}")
    if not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise TypeError(f"{layer} got {kind}; expected floating-point numbers, such as image.float() / 255")


def require_count(name: str, value: int) -> None:
    """Refuse a number that is not whole or below 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value}; expected a whole number of at least 1")


def require_padding(value: int, least: int = 0) -> None:
    """Refuse a padding that is not whole, or below 0; of some layers -1 has a meaning, and is the least."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"padding is {value}; expected a whole number of pixels, at least {least}")


def require_odd(name: str, value: int) -> None:
    """Refuse an even side: its kernel has no middle, so levels would lie half a pixel apart."""
    require_count(name, value)
    if value % 2 == 0:
        raise ValueError(f"{name} is {value}; expected an odd number, so that the kernel has a middle")


def require_increasing(name: str, values: Sequence[float]) -> None:
    """Refuse scales that are absent, no numbers, not positive, equal or out of order."""
    if not values:
        raise ValueError(f"{name} is empty; expected at least one scale")
    if not all(map(isfinite, values)):
        raise ValueError(f"{name} is {list(values)}; expected finite numbers")
    if min(values) <= 0:
        raise ValueError(f"{name} is {list(values)}; expected numbers above 0")
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{name} is {list(values)}; expected each to be larger than the one before")
