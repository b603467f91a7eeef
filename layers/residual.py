"""The map of the residual equilibrium: it reads off a warped source what is left to correct.

The published equation, phi = f(W(x, phi)), cannot give an image x and its warped version x' one canonical form c: both
warps would be f(c), the same warp, and one warp does not take x and x' to the same image. The residual one,
phi = phi + g(W(x, phi)), asks that nothing is left to correct, g(c) = 0, which says nothing of the warp. So g must be
able to be 0: its head has no norm, and begins at 0. Before training the model is then the plain one, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.grid import WarpParams, is_traced, unchecked_warp_grid
from layers.sampling import sample_bilinear
from layers.spec import CorrectionBlocks, EarlyCorrection

KERNEL = 3


class CorrectionBlock(nn.Module):
    """Convolution, max-pool, norm over channels and positions, GELU. The pool comes early, for that halves the time."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1, pool: int = 1, kernel: int = KERNEL):
        super().__init__()
        margin = dilation * (kernel // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=margin, dilation=dilation)
        self.norm = nn.GroupNorm(1, out_channels)
        self.pool = pool

    def forward(self, feature: Tensor) -> Tensor:
        feature = self.conv(feature)
        return F.gelu(self.norm(F.max_pool2d(feature, self.pool) if self.pool > 1 else feature))


class ResidualMap(nn.ModuleList):
    """phi + g of the fixed point: warp the source by phi, and add what the result still lacks.

    Args:
        grid_size: R of the warp.
        in_channels: of the source.
        spec: the options of g.
    """

    def __init__(self, grid_size: int, in_channels: int, spec: CorrectionBlocks):
        widths = (in_channels, *spec.channels)
        sizes = zip(widths[:-1], widths[1:], spec.dilations, spec.pools, strict=True)
        super().__init__([*(CorrectionBlock(*of_block) for of_block in sizes), nn.Conv2d(widths[-1], 2, 1)])
        head: Any = self[-1]
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.grid_size, self.in_channels, self.separable = grid_size, in_channels, spec.separable
        self.bound, self.pools = spec.bound, spec.pools

    def forward(self, phi: WarpParams, source: Tensor) -> WarpParams:
        """Evaluate for phi of B images and their (B, C, H, W) source.

        The mean of each row of x and column of y moves nothing, for increments are a softmax of their row. It is kept
        at 1, the identity's: left free it would drift, and the Jacobian of the equation would be singular along it.
        """
        grid = unchecked_warp_grid(phi, (source.shape[-2], source.shape[-1]))
        left = self.correction(sample_bilinear(source.to(grid.dtype), grid))
        return WarpParams(*(centred(old) + 1 + new.to(old.dtype) for old, new in zip(phi, left, strict=True)))

    def correction(self, warped: Tensor) -> WarpParams:
        """g of a warped source, (B, C, H, W): bounded, and 0 on average over each row of x and column of y."""
        *blocks, head = self
        feature = warped.to(next(head.parameters()).dtype)
        for block in blocks:
            feature = block(feature)
        along_x, along_y = head(feature).unbind(1)
        R, rows = self.grid_size, 1 if self.separable else self.grid_size
        x = F.adaptive_avg_pool2d(along_x, (rows, R - 1))
        y = F.adaptive_avg_pool2d(along_y, (R - 1, rows)).transpose(1, 2)
        bounded = (self.bound * torch.tanh(part / self.bound) for part in (x, y))
        return WarpParams(*map(centred, bounded))

    def check_size(self, size: Sequence[int]) -> None:
        """Refuse a source of which the pools leave nothing."""
        H, W = size
        for index, pool in enumerate(self.pools):
            H, W = H // pool, W // pool
            if min(H, W) < 1:
                raise ValueError(
                    f"a source of {tuple(size)} is {H} x {W} after block {index}; take smaller pools, or a larger "
                    "input_size where it is an image"
                )


class EarlyMap(ResidualMap):
    """phi + g, where g begins with features that a resting network sees in the warped image.

    The network never trains. A gradient passes through it to phi where phi asks for one; where it does not, as with
    the one-step gradient, autograd keeps nothing of the network.

    Args:
        grid_size: R of the warp.
        image_channels: of the source.
        spec: the options of g.
        features: makes (B, ``features.channels``, h, w) of images; ``features.size`` is (h, w) of those that the
            backbone was made for.
    """

    def __init__(self, grid_size: int, image_channels: int, spec: EarlyCorrection, features: Any):
        super().__init__(grid_size, spec.width, spec)
        super().check_size(features.size)
        self.insert(0, CorrectionBlock(features.channels, spec.width, kernel=1))
        self.insert(0, features)
        self.in_channels = image_channels

    def check_size(self, size: Sequence[int]) -> None:
        """Of an image; what the pools leave is another matter, which was checked when the map was made."""


def centred(part: Tensor) -> Tensor:
    """Take the mean of each row of intervals away."""
    return part - part.mean(-1, keepdim=True)


def exactly_still(image: Tensor, phi: WarpParams, warped: Tensor) -> Tensor:
    """The warped images, but the images themselves where phi is the identity: sampling would round them.

    The gradient is that of the warped ones everywhere, or an identity would never learn to be anything else.
    """
    still = torch.stack([(part == part[..., :1]).all(dim=(1, 2)) for part in phi]).all(0)
    still = still.reshape(-1, *[1] * (image.ndim - 1))
    if is_traced() or not torch.is_grad_enabled():
        return torch.where(still, image, warped)
    return _Still.apply(image, warped, still)


class _Still(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, warped: Tensor, still: Tensor) -> Tensor:  # type: ignore[override]
        return torch.where(still, image, warped)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[override]
        return None, gradient, None
