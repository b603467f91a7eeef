"""How much a model computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # type: ignore[import-untyped]  # noqa: F401  (which has the operator that is counted below)
from torch.utils.flop_counter import FlopCounterMode


def deformable_flops(x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Of a deformable convolution, as of an ordinary one; without the interpolation between pixels."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


COUNTED = {torch.ops.torchvision.deform_conv2d: deformable_flops}  # torch counts none of them


def multiply_adds(function: Callable[[], Any]) -> float:
    """Of the convolutions and matrix products that an eager call performs, its backward pass included.

    Products of ``einsum`` count. Of a deformable convolution, the backward pass does not.
    """
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        function()
    return counter.get_total_flops() / 2
