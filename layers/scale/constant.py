"""Tensors that belong to a layer, are never learned, and keep their digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class WithConstants(nn.Module):
    """A layer that holds constants: tensors of its model's type and device, which are no part of the state dict.

    A plain buffer would be rounded by ``float()`` and stay so after ``double()``, and be lost on the way through the
    device "meta". These are taken anew from the exact numbers whenever the model is moved. Whole numbers stay whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exact_constants: dict[str, Tensor] = {}

    def hold(self, name: str, exact: Tensor) -> None:
        """Make a constant the attribute ``name``. The exact numbers must be computed on the CPU, in float64."""
        exact = exact.detach().cpu()
        kind = torch.get_default_dtype() if exact.is_floating_point() else exact.dtype
        self.exact_constants[name] = exact.double() if exact.is_floating_point() else exact
        default = torch.empty(0).device  # "meta" where a model is built on it, as the weights are
        self.register_buffer(name, self.exact_constants[name].to(default, kind), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        for name, exact in self.exact_constants.items():
            moved = getattr(self, name)
            setattr(self, name, exact.to(moved) if exact.is_floating_point() else exact.to(moved.device))
        return self


class Constant(WithConstants):
    """One such tensor on its own."""

    value: Tensor

    def __init__(self, exact: Tensor):
        super().__init__()
        self.hold("value", exact)

    @property
    def exact(self) -> Tensor:
        """In float64, on the CPU."""
        return self.exact_constants["value"]

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value
