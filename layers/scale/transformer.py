"""A spatial transformer: a small network looks at the image, and says how to resample it for the network after it.

It moves the whole image by one affine map. It can learn to undo a scale; nothing makes it do so.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.checks import require_channels, require_count, require_plain

SIDE = 16
"""Of the map that the linear layers see. That of an image of 64 x 64 has it already."""


class SpatialTransformer(nn.Module):
    """Resample images (B, C, H, W) by maps that are read off them; before training each map is the identity.

    Args:
        in_channels: C.
        kind: "affine" has all six numbers of the map. "scale" has one, a, and enlarges what is seen by exp(-a) about
            the centre.
    """

    def __init__(self, in_channels: int, *, kind: Literal["affine", "scale"] = "affine"):
        super().__init__()
        if kind not in ("affine", "scale"):
            raise ValueError(f"kind is {kind!r}; expected affine or scale")
        require_count("in_channels", in_channels)
        self.in_channels, self.kind = in_channels, kind
        start = [1.0, 0, 0, 0, 1, 0] if kind == "affine" else [0.0]
        head = nn.Linear(16, len(start))
        nn.init.zeros_(head.weight)
        with torch.no_grad():
            head.bias.copy_(torch.tensor(start))
        self.localisation = nn.Sequential(
            *(nn.Conv2d(in_channels, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(SIDE), nn.Flatten()),
            *(nn.Linear(16 * SIDE**2, 16), nn.ReLU(), head),
        )

    def theta(self, x: Tensor) -> Tensor:
        """The maps of images (B, C, H, W): (B, 2, 3), from places in the result to places in the image."""
        require_plain(x, "SpatialTransformer")
        require_channels(x, "SpatialTransformer", self.in_channels)
        if min(x.shape[-2:]) < 4:
            raise ValueError(f"SpatialTransformer got {x.shape[-2]} x {x.shape[-1]}; expected at least 4 x 4")
        found = self.localisation(x)
        if self.kind == "affine":
            return found.unflatten(1, (2, 3))
        scale = found.exp()[:, :, None]
        return scale * torch.eye(2, 3, dtype=scale.dtype, device=scale.device)

    def forward(self, x: Tensor, return_theta: bool = False) -> Any:
        """Resample; return (value, theta) where asked."""
        theta = self.theta(x)
        value = resampled(x, theta)
        return (value, theta) if return_theta else value


def resampled(x: Tensor, theta: Tensor) -> Tensor:
    """Bilinear samples of (B, C, H, W) at the places that (B, 2, 3) sends its pixels to, and 0 outside of the image."""
    places = affine_places(theta, x.shape[-2], x.shape[-1])
    value = F.grid_sample(x.to(places.dtype), places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return value.to(x.dtype)


def affine_places(theta: Tensor, H: int, W: int) -> Tensor:
    """Where theta (B, 2, 3) sends the pixels: (B, H, W, 2), x first, from -1 to 1 between the edges of the image.

    This is F.affine_grid with align_corners false, as it is in resampled: were it true in one of them, the identity
    would not be one. But that function computes in bfloat16 under autocast, which is whole pixels off; this one does so
    in float32 at least.
    """
    theta = theta.to(torch.promote_types(theta.dtype, torch.float32))
    y, x = ((2 * torch.arange(n, dtype=theta.dtype, device=theta.device) + 1) / n - 1 for n in (H, W))
    by_x, by_y, shift = theta[:, None, None].unbind(-1)
    return by_x * x[:, None] + by_y * y[:, None, None] + shift
