"""Pools over the scales of a lifted map (B, C, S, H, W), to a plain one, and over all that a channel has."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from layers.scale.checks import require_lifted

Mode = Literal["pixel", "slice", "energy", "energy_abs"]


class ScalePool(nn.Module):
    """Take one scale of each channel of (B, C, S, H, W), and leave (B, C, H, W).

    Pool before the ReLU: afterwards many scales tie at 0.

    Args:
        mode: "pixel" takes the largest answer at each position. "slice" takes the scale that holds the channel's
            largest answer, for all positions. "energy" takes the scale whose answers have the largest sum. The sum is
            signed, so where answers are negative on average it takes the map with the most zeros, such as the rim of
            SiConv2d's largest kernel. "energy_abs" sums magnitudes instead.
    """

    def __init__(self, mode: Mode = "pixel"):
        super().__init__()
        if mode not in get_args(Mode):
            raise ValueError(f"mode is {mode!r}; expected one of {', '.join(get_args(Mode))}")
        self.mode = mode

    def forward(self, x: Tensor, return_indices: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Pool, and return the winning scales too where asked: (B, C, H, W) of "pixel", (B, C) of the other modes."""
        require_lifted(x, "ScalePool")
        if self.mode == "pixel":
            value, index = x.max(2)
        else:
            index = self._score(x).argmax(2)
            chosen = index[:, :, None, None, None].expand(-1, -1, 1, *x.shape[3:])
            value = x.gather(2, chosen).squeeze(2)
        return (value, index) if return_indices else value

    def _score(self, x: Tensor) -> Tensor:
        if self.mode == "slice":
            return x.amax((3, 4))
        return (x.abs() if self.mode == "energy_abs" else x).sum((3, 4))

    def extra_repr(self) -> str:
        return repr(self.mode)


class ScaleMean(nn.Module):
    """(B, C, S, H, W) to (B, C, H, W): the mean over the scales. No scale is taken, so there is no index."""

    def forward(self, x: Tensor) -> Tensor:
        require_lifted(x, "ScaleMean")
        return x.mean(dim=2)


class GlobalMax(nn.Module):
    """The largest answer of each channel: (B, C) of (B, C, H, W), of (B, C, S, H, W), or of any (B, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 3:
            raise ValueError(f"GlobalMax got {tuple(x.shape)}; expected (B, C, ...) with at least three dimensions")
        return x.flatten(2).amax(2)
