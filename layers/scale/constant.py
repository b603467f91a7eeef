"""A tensor that belongs to a layer, is never learned, and keeps its digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Constant(nn.Module):
    """A float64 tensor, in the type and on the device of its model; it is no part of the state dict.

    A plain buffer would be rounded by ``float()`` and stay so after ``double()``. This one is rounded anew from the
    exact numbers whenever its model is moved.
    """

    value: Tensor

    def __init__(self, exact: Tensor):
        super().__init__()
        self.exact = exact.detach().double().cpu()
        self.register_buffer("value", self.exact.to(torch.get_default_dtype()), persistent=False)

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.value = self.exact.to(self.value)
        return self
