"""What an image processor does in front of a backbone, on tensors and with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.frame import Frame, Size


class Preprocess(nn.Module):
    """Resize images, cut their centre, and apply a backbone's statistics.

    The original's processors went through eight-bit pictures, which cut the gradient to the pixels.

    Args:
        size: side of the result; None leaves images as large as they are.
        mean: per channel.
        std: per channel.
        resize: side before ``size`` is cut from the centre; None cuts nothing.
        interpolation: "bicubic" or "bilinear", with antialiasing.
        limits: of the images; None where they are not pictures but standardized already.
    """

    def __init__(
        self,
        size: int | None,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        resize: int | None = None,
        interpolation: str = "bicubic",
        limits: tuple[float, float] | None = (0.0, 1.0),
    ):
        super().__init__()
        if resize is not None and (size is None or resize < size):
            raise ValueError(f"resize is {resize}; expected at least the size that is cut out of it, {size}")
        self.size, self.resize, self.interpolation, self.limits = size, resize, interpolation, limits
        self.mean: Tensor
        self.std: Tensor
        # Not in the state dict: they are settings of the weights that they belong to.
        self.register_buffer("mean", torch.tensor(tuple(mean))[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std))[:, None, None], persistent=False)

    def options(self) -> dict[str, Any]:
        """The arguments that make the same again."""
        known = {"size": self.size, "resize": self.resize, "interpolation": self.interpolation, "limits": self.limits}
        return known | {name: getattr(self, name).flatten().tolist() for name in ("mean", "std")}

    def frame(self, size: Size) -> tuple[Size, Frame]:
        """The (H, W) that images of this one leave with, and where their positions lie in the images."""
        side = self.resize or self.size
        if side is None:
            return size, Frame()
        whole = Frame.resized((side, side), size)
        if self.resize is None or self.size is None:
            return (side, side), whole
        cut = (self.size, self.size)
        return cut, Frame.cut(cut, (side, side), (self._margin(), self._margin())).within(whole)

    def _margin(self) -> int:
        """Pixels that are cut away above and left of the centre."""
        return 0 if self.resize is None or self.size is None else (self.resize - self.size) // 2

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) within the limits -> (B, C, size, size)."""
        side = self.resize or self.size
        if side is not None and image.shape[-2:] != (side, side):
            image = F.interpolate(
                image, size=(side, side), mode=self.interpolation, align_corners=False, antialias=True
            )
            if self.limits is not None:
                image = image.clamp(*self.limits)  # bicubic overshoots, and pictures do not
        if self.resize is not None and self.size is not None:
            top = self._margin()
            image = image[..., top : top + self.size, top : top + self.size]
        return (image - self.mean) / self.std
