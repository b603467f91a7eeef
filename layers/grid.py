"""Parameters of a monotone warp, and the grid of reading positions that they stand for.

Convention, stated here once: [0, 1] runs from the centre of the first pixel to the centre of the last one
(``align_corners=True``), for images and label maps alike. The grid G says where to *read*: the warped image is I(G(p)),
so G plays the inverse map of the paper, and a large increment shrinks the content there. Channel 0 of a grid is x
(rightwards), channel 1 is y (downwards). ``phi.x`` is indexed (row, interval), ``phi.y`` (column, interval). Equal
entries mean identity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 3.0  # with entries in (0, 1) the increments of one row differ by a factor of at most exp(3)


class WarpParams(NamedTuple):
    """Parameters of one monotone warp per image.

    Args:
        x: (B, R, R - 1), or (B, 1, R - 1) where every row is warped alike.
        y: the same for columns; indexed column first.
    """

    x: Tensor
    y: Tensor

    @classmethod
    def identity(
        cls,
        batch: int,
        grid_size: int,
        *,
        separable: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> WarpParams:
        """Parameters of the warp that changes nothing: all ones, the start of every fixed-point search."""
        B, R, intervals = _shape(batch, grid_size)
        shape = (B, 1 if separable else R, intervals)
        return cls(torch.ones(shape, device=device, dtype=dtype), torch.ones(shape, device=device, dtype=dtype))

    @property
    def grid_size(self) -> int:
        """R, the number of knots per axis."""
        return self.x.shape[-1] + 1

    def detach(self) -> WarpParams:
        """The same numbers, cut off from their history."""
        return WarpParams(self.x.detach(), self.y.detach())


def random_warp_params(
    batch: int,
    grid_size: int,
    strength: float,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> WarpParams:
    """Draw ``strength * U(0, 1)`` for every entry, drawn where the generator lives, then moved to ``device``."""
    if not 0 <= strength < float("inf"):
        raise ValueError(f"strength is {strength}; expected a finite number of at least 0")
    shape = (2, *_shape(batch, grid_size))
    origin = device if generator is None else generator.device
    x, y = (strength * torch.rand(shape, generator=generator, device=origin)).to(device or origin)
    return WarpParams(x, y)


def knot_grid(phi: WarpParams) -> Tensor:
    """Reading positions at the R x R knots, (B, 2, R, R) in [0, 1], at least in float32."""
    check_params(phi)
    return unchecked_knot_grid(phi)


def unchecked_knot_grid(phi: WarpParams) -> Tensor:
    """``knot_grid`` of parameters that were just computed here, without a look at their values."""
    shift = _knot_shift(phi)
    return _lattice((phi.grid_size, phi.grid_size), shift) + shift


def warp_grid(phi: WarpParams, size: tuple[int, int]) -> Tensor:
    """Reading positions at every pixel of an image of this (height, width): (B, 2, H, W) in [0, 1]."""
    check_params(phi)
    check_size(size)
    return unchecked_warp_grid(phi, size)


def unchecked_warp_grid(phi: WarpParams, size: tuple[int, int]) -> Tensor:
    """``warp_grid`` of parameters that were just computed here, without a look at their values.

    Where they are not numbers this is the identity: torch's sampler on a CPU would read beyond the image, and end the
    process. Whoever reads an image there has to say so, as ``unchecked_warp`` does.
    """
    # Blending bilinearly keeps the grid monotone. Blending the shift alone keeps the identity exact.
    shift = F.interpolate(_knot_shift(phi).nan_to_num(), size=tuple(size), mode="bilinear", align_corners=True)
    return shift + _lattice(size, shift)


def evaluate_grid(phi: WarpParams, points: Tensor) -> Tensor:
    """The piecewise-bilinear map through the knots, at any points.

    Args:
        phi: parameters of B warps.
        points: (B, N, 2) in [0, 1], x then y; what lies outside is moved to the border.

    Returns:
        (B, N, 2), where the warp reads for an output at each point.
    """
    check_params(phi)
    knots = unchecked_knot_grid(phi)
    if points.ndim != 3 or points.shape[0] != knots.shape[0] or points.shape[2] != 2:
        raise ValueError(f"points have shape {tuple(points.shape)}; expected (B, N, 2) with B = {knots.shape[0]}")
    if points.dtype != knots.dtype or points.device != knots.device:
        raise TypeError(
            f"points are {points.dtype} on {points.device}; the grid of these parameters is {knots.dtype} on "
            f"{knots.device}"
        )
    if not is_traced() and not torch.isfinite(points).all():
        raise ValueError("points hold values that are not finite")
    return _read_at(knots, points)


def unchecked_evaluate_grid(phi: WarpParams, points: Tensor) -> Tensor:
    """``evaluate_grid`` of parameters and points that were just computed here, without a look at their values."""
    return _read_at(unchecked_knot_grid(phi), points)


def check_params(phi: WarpParams) -> None:
    """Refuse parameters that stand for no warp, with what was given and what would be right.

    A look at values makes the caller wait for a GPU. So this is for parameters that come from outside; those that were
    just computed here go through ``check_shapes`` and the unchecked functions, whose images and positions are NaN
    where phi is.
    """
    check_shapes(phi)
    # Reading a value stops export and breaks a compiled graph, so values are looked at in eager mode alone.
    if not is_traced() and not phi.x.is_meta and not all(torch.isfinite(SHARPNESS * part).all() for part in phi):
        raise ValueError("phi holds values that are not finite, or too large to be; a warp needs finite parameters")


def check_shapes(phi: WarpParams) -> None:
    """Refuse tensors that cannot hold parameters, whatever their values."""
    if not (isinstance(phi, WarpParams) and all(isinstance(part, Tensor) for part in phi)):
        raise TypeError(f"phi is {type(phi).__name__}; expected WarpParams of two tensors")
    x, y = phi
    for name, part in (("x", x), ("y", y)):
        if not part.is_floating_point():
            raise TypeError(f"phi.{name} is {part.dtype}; expected a floating dtype")
        R = part.shape[-1] + 1 if part.ndim else 0
        if part.ndim != 3 or R < 2 or part.shape[1] not in (1, R):
            raise ValueError(
                f"phi.{name} has shape {tuple(part.shape)}; expected (B, R, R - 1) or (B, 1, R - 1), R of at least 2"
            )
    if x.shape[-1] != y.shape[-1] or x.shape[0] != y.shape[0]:
        raise ValueError(f"phi.x has shape {tuple(x.shape)} but phi.y {tuple(y.shape)}; batch and grid size must agree")
    if x.shape[0] == 0:
        raise ValueError("phi is for a batch of zero images; expected at least one")
    if x.dtype != y.dtype or x.device != y.device:
        raise TypeError(f"phi.x is {x.dtype} on {x.device} but phi.y {y.dtype} on {y.device}; they must agree")


def check_size(size: tuple[int, int]) -> None:
    """Refuse a size that is no (height, width)."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size is {tuple(size)}; expected (height, width) of at least 1 each")


def is_traced() -> bool:
    """Whether values are unknown because the code is being compiled, exported or traced."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _shape(batch: int, grid_size: int) -> tuple[int, int, int]:
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected at least 1")
    if grid_size < 2:
        raise ValueError(f"grid_size is {grid_size}; expected at least 2")
    return batch, grid_size, grid_size - 1


def _read_at(knots: Tensor, points: Tensor) -> Tensor:
    """The bilinear blend of (B, 2, R, R) knots at (B, N, 2) points; NaN at points that are not numbers."""
    positions = points.nan_to_num().unsqueeze(2) * 2 - 1  # see `unchecked_warp_grid`
    values = F.grid_sample(knots, positions, mode="bilinear", padding_mode="border", align_corners=True)
    return values.squeeze(3).transpose(1, 2) + 0 * points.detach()


def _knot_shift(phi: WarpParams) -> Tensor:
    """How far each knot reads from where it is: (B, 2, R, R)."""
    R = phi.grid_size
    x, y = (_cumulated(part).expand(-1, R, -1) for part in phi)
    return torch.stack([x, y.transpose(1, 2)], dim=1)


def _cumulated(part: Tensor) -> Tensor:
    """(B, rows, R - 1) of any real values -> (B, rows, R), what their sums from 0 to 1 exceed even steps by."""
    dtype = torch.promote_types(part.dtype, torch.float32)  # half precision would round positions by a pixel
    increments = F.softmax(SHARPNESS * part.to(dtype), dim=-1)
    return F.pad((increments - 1 / part.shape[-1]).cumsum(dim=-1), (1, 0))


def _lattice(size: tuple[int, int], like: Tensor) -> Tensor:
    """The grid of the identity, (2, H, W)."""
    y, x = (torch.arange(n, device=like.device, dtype=like.dtype) / max(n - 1, 1) for n in size)
    return torch.stack([x.expand(size[0], -1), y[:, None].expand(-1, size[1])])
