"""Deformable convolution: each tap reads where a second convolution sends it.

    y(x) = bias + sum over taps t of  weight(t) m_t(x) f(x + t + o_t(x))

The offsets o, in pixels, come from a convolution of the input that begins at 0, so training begins at an ordinary
convolution. Offsets (r - 1) t make the kernel r times as wide: a network may learn scale so, but nothing obliges it.
The second version also weighs each sample by a mask m within (0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]

from layers.scale.checks import require_channels, require_count, require_odd, require_padding, require_plain


class DeformableConv2d(nn.Conv2d):
    """(B, in_channels, H, W) to (B, out_channels, H', W'), with H' and W' as of ``nn.Conv2d``.

    Parameters: ``weight`` and ``bias`` as of ``nn.Conv2d``, and those of ``offset``, the convolution that finds the
    offsets. Its channels are, per group and per tap in rows, (dy, dx); with ``modulated`` the logits of the masks
    follow. Masks begin at 1/2, so the first responses are half those of a convolution.

    Args:
        groups: of the weights, as of ``nn.Conv2d``.
        offset_groups: the input channels are split into so many groups, each with offsets of its own.
        modulated: whether there is a mask, which is the second version.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        offset_groups: int = 1,
        modulated: bool = False,
        bias: bool = True,
    ):
        counts = {"in_channels": in_channels, "out_channels": out_channels, "stride": stride, "dilation": dilation}
        for name, value in (counts | {"groups": groups}).items():
            require_count(name, value)
        require_odd("kernel_size", kernel_size)
        require_padding(padding)
        require_count("offset_groups", offset_groups)
        if in_channels % offset_groups:
            raise ValueError(f"offset_groups is {offset_groups}; expected a divisor of the {in_channels} in_channels")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        taps = offset_groups * kernel_size**2
        self.offset = nn.Conv2d(in_channels, (3 if modulated else 2) * taps, kernel_size, stride, padding, dilation)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.modulated, self.taps = modulated, taps

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "DeformableConv2d")
        self.check_size(x)
        return self.deformed(x)

    def deformed(self, x: Tensor) -> Tensor:
        """Find the offsets in (B, C, H, W), and convolve with them."""
        found = self.offset(x)
        mask = found[:, 2 * self.taps :].sigmoid() if self.modulated else None
        return self.convolve(x, found[:, : 2 * self.taps], mask).to(found.dtype)

    def convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolve with given offsets, (B, 2 G k k, H', W'), and a mask, (B, G k k, H', W').

        In float32 at least: in bfloat16, places near pixel 200 are a whole pixel apart.
        """
        kind = torch.promote_types(self.weight.dtype, torch.float32)
        weight, bias = self.weight.to(kind), None if self.bias is None else self.bias.to(kind)
        mask = None if mask is None else mask.to(kind)
        shape = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return deform_conv2d(x.to(kind), offset.to(kind), weight, bias, mask=mask, **shape)

    def check_size(self, x: Tensor) -> None:
        """Refuse other channels than its own, and images that the kernel does not fit into."""
        require_channels(x, type(self).__name__, self.in_channels)
        margin, extent = int(self.padding[0]), self.dilation[0] * (self.kernel_size[0] - 1) + 1
        if min(x.shape[-2:]) + 2 * margin < extent:
            raise ValueError(
                f"{type(self).__name__} got {x.shape[-2]} x {x.shape[-1]}, of {tuple(x.shape)}, with padding {margin}; "
                f"expected at least {extent - 2 * margin} pixels a side, for its kernel spans {extent}"
            )
