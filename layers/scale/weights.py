"""How weights begin, where a paper does not say otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn


def uniform_(parameters: Iterable[Tensor], fan_in: int) -> None:
    """Draw evenly within 1 / sqrt(fan_in) of 0, as PyTorch's convolutions do, weights and bias alike.

    ``fan_in`` is how many weights make one output.
    """
    bound = 1 / math.sqrt(fan_in)
    for parameter in parameters:
        nn.init.uniform_(parameter, -bound, bound)
