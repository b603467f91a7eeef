"""Inverses of a monotone warp's grid, and where there is none."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from layers.grid import (
    WarpParams,
    check_params,
    check_size,
    is_traced,
    unchecked_evaluate_grid,
    unchecked_knot_grid,
    unchecked_warp_grid,
)
from layers.spec import InverseMethod


def inverse_warp_grid(phi: WarpParams, size: tuple[int, int], *, method: InverseMethod = "rowwise") -> Tensor:
    """Reading positions that undo a warp: (B, 2, H, W) in [0, 1].

    Args:
        phi: parameters of the warp to undo.
        size: (height, width).
        method: "rowwise" inverts x along every row and y along every column, each with the other one held fixed. That
            is what the published method does, it is cheap, and it is exact if all rows and all columns are warped
            alike; otherwise its error is of second order in the strength. "exact" inverts the two-dimensional map, and
            has first derivatives alone.
            Where the map folds and a point has several preimages, one at which orientation is kept is chosen.
    """
    if method not in get_args(InverseMethod):
        raise ValueError(f"method is {method!r}; expected one of {', '.join(get_args(InverseMethod))}")
    check_params(phi)
    check_size(size)
    return unchecked_inverse_warp_grid(phi, size, method)


def unchecked_inverse_warp_grid(phi: WarpParams, size: tuple[int, int], method: InverseMethod = "rowwise") -> Tensor:
    """The inverse of parameters that were just computed here, without a look at their values."""
    if method == "exact":
        return _invert_plane(WarpParams(*(part.nan_to_num(0.0, 0.0, 0.0) for part in phi)), size)
    x, y = unchecked_warp_grid(phi, size).unbind(1)
    return torch.stack([_invert_rows(x), _invert_rows(y.transpose(1, 2)).transpose(1, 2)], dim=1)


def fold_mask(phi: WarpParams, size: tuple[int, int]) -> Tensor:
    """Where the map is not locally one-to-one: (B, H, W), True where its Jacobian determinant is not positive.

    On the line between two cells of knots the map has a derivative towards each side; one bad side is enough.
    """
    check_size(size)
    check_params(phi)
    knots = unchecked_knot_grid(_as_double(phi))
    intervals = phi.grid_size - 1
    y, x = (torch.linspace(0, intervals, n, device=knots.device, dtype=knots.dtype) for n in size)
    folded = torch.zeros(knots.shape[0], *size, dtype=torch.bool, device=knots.device)
    for row in (y.floor(), y.ceil() - 1):
        for column in (x.floor(), x.ceil() - 1):
            row, column = row.clamp(0, intervals - 1), column.clamp(0, intervals - 1)
            _, along_x, along_y, twist = _cells(knots, row.long()[:, None], column.long())
            right = along_x + twist * (y - row)[:, None]
            down = along_y + twist * (x - column)
            folded |= _cross(right, down) <= 0
    return folded


def _invert_rows(values: Tensor) -> Tensor:
    """Invert (B, rows, n) increasing samples of a function on n evenly spaced points, at these same points."""
    n = values.shape[-1]
    at = torch.linspace(0, 1, n, device=values.device, dtype=values.dtype)
    if n == 1:
        return at.expand_as(values)
    values = values.contiguous()
    # Not differentiated: the interval that a point falls into is a whole number.
    if is_traced():  # ONNX has no search; counting takes n times the memory
        above = (values.detach().unsqueeze(-2) < at.unsqueeze(-1)).sum(-1).clamp(1, n - 1)
    else:
        above = torch.searchsorted(values.detach(), at.expand_as(values).contiguous()).clamp(1, n - 1)
    low, high = values.gather(-1, above - 1), values.gather(-1, above)
    share = (at - low) / (high - low).clamp_min(1e-8)
    return (above - 1 + share.clamp(0, 1)) / (n - 1)


def _invert_plane(phi: WarpParams, size: tuple[int, int]) -> Tensor:
    """Invert the piecewise-bilinear map cell by cell, in double precision, then give the result its derivative."""
    B, (H, W) = phi.x.shape[0], size
    dtype = unchecked_knot_grid(phi).dtype
    exact = _as_double(phi)
    y, x = (torch.linspace(0, 1, n, device=phi.x.device, dtype=torch.float64) for n in size)
    target = torch.stack([x.expand(H, W), y[:, None].expand(H, W)]).expand(B, 2, H, W)
    with torch.no_grad():
        found, jacobian = _preimage(unchecked_knot_grid(exact), target)
    if not (torch.is_grad_enabled() and (phi.x.requires_grad or phi.y.requires_grad)):
        return found.to(dtype)
    # Implicit function theorem: g(h(q)) = q, so dh = -J^-1 dg. A Newton step at the solution has this derivative; its
    # value is taken away again. J is a constant here, so there is no second derivative.
    points = found.flatten(2).transpose(1, 2)
    step = _solve(jacobian, _Once.apply(unchecked_evaluate_grid(exact, points)).transpose(1, 2).view_as(found) - target)
    return (found - (step - step.detach())).to(dtype)


class _Once(torch.autograd.Function):
    """The identity, which refuses to be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise RuntimeError("the exact inverse has no second derivative; the row-wise one has")
        return gradient


def _preimage(knots: Tensor, target: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The point of each cell that comes closest to mapping onto the target; the best cell wins.

    In a cell the map is a + s b + t c + s t d with s, t in [0, 1]. Eliminating s leaves a quadratic in t. The warp's
    border maps onto the image's border, so a preimage exists for every target.
    """
    intervals = knots.shape[-1] - 1
    best = torch.full_like(target[:, 0], torch.inf)
    position = torch.zeros_like(target)
    right, down = torch.zeros_like(target), torch.zeros_like(target)
    windows = _windows(knots, (target.shape[-2], target.shape[-1]))
    for row in range(intervals):
        for column in range(intervals):
            at = (..., *windows[row][column])
            corner, b, c, d = (part[..., None, None] for part in _cells(knots, row, column))
            e = target[at] - corner
            for t in _roots(-_cross(c, d), _cross(e, d) - _cross(c, b), _cross(e, b)):
                t = t.clamp(0, 1).unsqueeze(1)
                along = b + t * d  # its x is positive: every row increases
                length = along.square().sum(1, keepdim=True).clamp_min(1e-300)  # wild phi make increments underflow
                s = (((e - t * c) * along).sum(1, keepdim=True) / length).clamp(0, 1)
                across = c + s * d
                error = (e - s * along - t * c).square().sum(1)
                error = error + 1e-14 * (_cross(along, across) <= 0)  # of two solutions, the one that does not fold
                better = (error < best[at]).unsqueeze(1)
                best[at] = torch.minimum(error, best[at])
                point = torch.cat([column + s, row + t], dim=1) / intervals
                for whole, part in ((position, point), (right, along * intervals), (down, across * intervals)):
                    whole[at] = torch.where(better, part, whole[at])
    return position, (right, down)


def _windows(knots: Tensor, size: tuple[int, int]) -> list[list[tuple[slice, slice]]]:
    """Rows and columns of the target that each cell can reach: a bilinear cell lies between its four knots."""
    intervals = knots.shape[-1] - 1
    if is_traced():  # a graph cannot depend on where the knots lie
        return [[(slice(None), slice(None))] * intervals] * intervals
    corners = torch.stack([knots[:, :, i : i + intervals, j : j + intervals] for i in (0, 1) for j in (0, 1)])
    last = knots.new_tensor([size[1] - 1, size[0] - 1])[:, None, None]
    first = (corners.amin((0, 1)) * last).floor().long().sub(1).clamp_min(0).tolist()
    end = (corners.amax((0, 1)) * last).ceil().long().add(2).tolist()
    return [
        [
            (slice(first[1][row][column], end[1][row][column]), slice(first[0][row][column], end[0][row][column]))
            for column in range(intervals)
        ]
        for row in range(intervals)
    ]


def _cells(knots: Tensor, row: Tensor | int, column: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A cell's corner, its two edges from there, and its twist: a, b, c, d of a + s b + t c + s t d."""
    a, b = knots[:, :, row, column], knots[:, :, row, column + 1]
    c, d = knots[:, :, row + 1, column], knots[:, :, row + 1, column + 1]
    return a, b - a, c - a, a + d - b - c


def _roots(square: Tensor, linear: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Both solutions of a quadratic without cancellation; where one is missing, a harmless number."""
    square, linear = square.expand_as(constant), linear.expand_as(constant)
    root = (linear.square() - 4 * square * constant).clamp_min(0).sqrt()
    sum_ = -0.5 * (linear + torch.where(linear < 0, -root, root))
    tiny = torch.finfo(sum_.dtype).tiny
    guarded = torch.where(sum_.abs() < tiny, tiny, sum_)
    divisor = torch.where(square.abs() < tiny, tiny, square)
    return constant / guarded, sum_ / divisor


def _solve(jacobian: tuple[Tensor, Tensor], value: Tensor) -> Tensor:
    """J^-1 value for columns (right, down) of (B, 2, H, W) each; where J is singular, no step at all."""
    right, down = jacobian
    determinant = _cross(right, down).unsqueeze(1)
    solution = torch.stack([_cross(value, down), _cross(right, value)], dim=1)
    singular = determinant.abs() < 1e-12
    return torch.where(singular, 0, solution / torch.where(singular, 1, determinant))


def _cross(left: Tensor, right: Tensor) -> Tensor:
    """Cross product of vectors that lie along axis 1."""
    return left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0]


def _as_double(phi: WarpParams) -> WarpParams:
    return WarpParams(phi.x.double(), phi.y.double())
