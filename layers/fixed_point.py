"""The search for the fixed point of a map on warp parameters, and the gradient through it.

Anderson, plain and damped iteration are one loop of our own: each image stops by itself, whatever its batch mates do,
and nothing in it branches on data, so the same loop is compiled, exported and differentiated. torchdeq stops on the
worst image of a batch and breaks graphs, so it serves Broyden's method here, and the tests as an oracle for the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torchdeq.solver.broyden import broyden_solver

from layers.grid import WarpParams, check_shapes, is_traced
from layers.spec import Solver

UpdateFunction = Callable[[WarpParams], WarpParams]
FlatFunction = Callable[[Tensor], Tensor]

MEMORY = 6  # past evaluations that Anderson's method mixes
RIDGE = 1e-4  # its regularisation, absolute, as in torchdeq and so in the published results
BACKWARD_RIDGE = 1e-8  # the backward pass is linear and scaled to unit norm: nearly no regularisation converges faster
BACKWARD_LIMIT = 1e-2  # an adjoint with a larger relative residual is not used


class FixedPoint(NamedTuple):
    """Where a search ended.

    Args:
        value: f at the estimate p; what the caller uses.
        steps: (B,) evaluations of f before each image stopped, at most ``max_steps``; the one that gave ``value``
            comes on top.
        residual: (B,) ||f(p) - p|| / ||f(p)|| at that last evaluation, without gradient.
        states: f of every evaluation in turn, the last of which is ``value``; a solver tells none.
    """

    value: WarpParams
    steps: Tensor
    residual: Tensor
    states: tuple[WarpParams, ...] = ()


class FixedPointSolver(Solver):
    """Searches for a fixed point, and lets gradients pass it; the options are those of ``layers.spec.Solver``.

    Solves in float32 outside autocast: half precision stalls at residuals of a few thousandths.
    """

    def __call__(self, f: UpdateFunction, start: WarpParams) -> FixedPoint:
        """Search from ``start``; ``f`` may be called again during the backward pass, so it must not change."""
        check_shapes(start)
        shapes = start.x.shape, start.y.shape
        state = _flat(start)

        def flat_f(p: Tensor) -> Tensor:
            value = f(_unflat(p, shapes))
            if (value.x.shape, value.y.shape) != shapes:
                raise ValueError(
                    f"the map returned shapes {tuple(value.x.shape)}, {tuple(value.y.shape)} for {tuple(shapes[0])}, "
                    f"{tuple(shapes[1])}; a fixed point needs the same"
                )
            return _flat(value)

        with torch.autocast(state.device.type, enabled=False):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "unrolled"):
                estimate, steps = self._search(flat_f, state)
            if self.gradient == "implicit" and torch.is_grad_enabled():
                value = self._with_implicit_gradient(flat_f, estimate)
            else:
                value = flat_f(estimate)
            residual = _norm(value.detach() - estimate.detach()) / _positive(_norm(value.detach()))
        return FixedPoint(_unflat(value, shapes), steps, residual)

    def _search(self, f: FlatFunction, state: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
        """The evaluation of f with the smallest residual per image, and how many evaluations that image took."""
        if self.name == "broyden":
            return self._search_broyden(f, state)
        # Like torchdeq, Anderson's first two evaluations only start it up, unless one of them has converged.
        record = _Record(state, self.tol, start_up=2 if self.name == "anderson" else 0)
        states: list[Tensor] = []
        values: list[Tensor] = []
        for step in range(self.max_steps):
            value = f(state)
            record.add(state, value)
            if step + 1 == self.max_steps or (self.early_stop and not is_traced() and record.is_done()):
                break
            states, values = [*states, state][-MEMORY:], [*values, value][-MEMORY:]
            if self.name == "fixed_point":
                state = torch.lerp(state, value, self.damping)
            elif step == 0:
                state = value
            else:
                state = _mixed(states, values, ridge, self.damping)
        return record.value, record.steps

    def _search_broyden(self, f: FlatFunction, state: Tensor) -> tuple[Tensor, Tensor]:
        if is_traced():
            raise ValueError("broyden branches on data and cannot be compiled or exported; take anderson")
        record = _Record(state, self.tol, start_up=0)

        def recorded(p: Tensor) -> Tensor:
            value = f(p)
            record.add(p, value)
            # An image that has stopped reports no residual, so torchdeq leaves when the last one has.
            return torch.where(record.done[:, None], p, value)

        broyden_solver(recorded, state, max_iter=self.max_steps - 1, tol=torch.finfo(state.dtype).tiny)
        return record.value, record.steps

    def _with_implicit_gradient(self, f: FlatFunction, estimate: Tensor) -> Tensor:
        """f at the estimate, with the gradient of the implicit function theorem: y = J^T y + g takes g's place."""
        if is_traced():
            raise ValueError(
                "the implicit gradient cannot be compiled: compile the backbone in place, model.backbone.compile()"
            )
        p = estimate.detach().requires_grad_()
        value = f(p)

        def adjoint(gradient: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("the implicit gradient has no second derivative; use gradient='unrolled'")
            scale = _positive(_norm(gradient))[:, None]
            unit = gradient / scale

            def step(y: Tensor) -> Tensor:
                return unit + torch.autograd.grad(value, p, y, retain_graph=True)[0]

            solver = replace(self, name="anderson", max_steps=self.backward_steps, damping=1.0)
            solution, _ = solver._search(step, unit, BACKWARD_RIDGE)
            error = _norm(step(solution) - solution) / _positive(_norm(solution))
            failed = ~(error <= BACKWARD_LIMIT)  # also where it is not a number
            if failed.any():
                warnings.warn(
                    f"the adjoint of {int(failed.sum())} of {len(failed)} images did not converge in "
                    f"{self.backward_steps} steps; they use the one-step gradient",
                    stacklevel=2,
                )
            return torch.where(failed[:, None], gradient, solution * scale)

        # The hook sits on a copy: on `value` itself it would be called by its own autograd.grad.
        result = value.clone()
        if result.requires_grad:
            result.register_hook(adjoint)
        return result


def iterated(f: UpdateFunction, start: WarpParams, count: int) -> FixedPoint:
    """So many plain evaluations from ``start`` on, each with a gradient of its own.

    What goes into an evaluation is cut off from its history. A loss on every state then asks each look at the source to
    correct as much as it can, wherever the looks before have led.
    """
    states, state, before = [], start, start
    with torch.autocast(start.x.device.type, enabled=False):
        for _ in range(count):
            before, state = state.detach(), f(state.detach())
            states.append(state)
    last, previous = _flat(state.detach()), _flat(before)
    steps = torch.full((len(last),), count, device=last.device)
    return FixedPoint(state, steps, _norm(last - previous) / _positive(_norm(last)), tuple(states))


def spectral_radius(
    f: UpdateFunction, at: WarpParams, *, iterations: int = 40, generator: torch.Generator | None = None
) -> Tensor:
    """Estimate the largest absolute eigenvalue of the map's Jacobian, (B,); below 1 plain iteration converges.

    The mean growth of J^T products over the second half of the iterations; unlike a Rayleigh quotient it is right for
    complex pairs of eigenvalues too, up to a few per cent.
    """
    if iterations < 2:
        raise ValueError(f"iterations is {iterations}; expected at least 2")
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(at.x.device.type, enabled=False):
        p = WarpParams(*(part.detach().clone().requires_grad_() for part in at))
        value = _flat(f(p))
        origin = at.x.device if generator is None else generator.device
        direction = torch.randn(value.shape, generator=generator, device=origin).to(value)
        if not value.requires_grad:
            return torch.zeros_like(value[:, 0])  # a map that does not look at phi
        logs = []
        for _ in range(iterations):
            direction = direction / _positive(_norm(direction))[:, None]
            products = torch.autograd.grad(value, tuple(p), direction, retain_graph=True, materialize_grads=True)
            direction = _flat(WarpParams(*products))
            logs.append(_positive(_norm(direction)).log())
        return torch.stack(logs[iterations // 2 :]).mean(0).exp().detach()


class _Record:
    """The best evaluation of each image so far; an image that has converged is not touched again."""

    def __init__(self, state: Tensor, tol: float, start_up: int):
        self.tol, self.start_up, self.evaluations = tol, start_up, 0
        self.value = state
        self.smallest = torch.full_like(state[:, 0], torch.inf)
        self.steps = torch.zeros_like(state[:, 0], dtype=torch.long)
        self.done = torch.zeros_like(state[:, 0], dtype=torch.bool)

    def add(self, state: Tensor, value: Tensor) -> None:
        self.evaluations += 1
        distance = _norm(value.detach() - state.detach())
        converged = distance <= self.tol * _norm(value.detach())
        # The smallest absolute residual wins, as in the published setting; one that is not a number never does.
        better = converged | (distance < self.smallest) if self.evaluations > self.start_up else converged
        better = (better | (self.evaluations == 1)) & ~self.done
        self.value = torch.where(better[:, None], value, self.value)
        if self.evaluations > self.start_up:
            self.smallest = torch.where(better, distance, self.smallest)
        self.steps = torch.where(self.done, self.steps, self.evaluations)
        self.done = self.done | converged

    def is_done(self) -> bool:
        return bool(self.done.all())


def _mixed(states: list[Tensor], values: list[Tensor], ridge: float, damping: float) -> Tensor:
    """Anderson's step: the combination of past values whose residuals cancel best, weights summing to one."""
    X, F = torch.stack(states, 1), torch.stack(values, 1)  # (B, n, D)
    G = F - X
    n = G.shape[1]
    eye = torch.eye(n, dtype=G.dtype, device=G.device)
    # Gauss-Jordan by hand on (B, n, n + 1): ONNX has no linear solve, and a positive definite matrix needs no pivoting.
    system = torch.cat([G @ G.transpose(1, 2) + ridge * eye, torch.ones_like(G[:, :, :1])], dim=2)
    for k in range(n):
        pivot = system[:, k : k + 1] / system[:, k : k + 1, k : k + 1]
        system = system - (system[:, :, k : k + 1] - eye[:, k : k + 1]) * pivot
    weight = system[:, :, n:] / system[:, :, n:].sum(1, keepdim=True)
    return (weight * torch.lerp(X, F, damping)).sum(1)


def _norm(flat: Tensor) -> Tensor:
    return torch.linalg.vector_norm(flat, dim=1)


def _positive(value: Tensor) -> Tensor:
    return value.clamp_min(torch.finfo(value.dtype).tiny)


def _flat(phi: WarpParams) -> Tensor:
    flat = torch.cat([phi.x.flatten(1), phi.y.flatten(1)], dim=1)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _unflat(flat: Tensor, shapes: tuple[torch.Size, torch.Size]) -> WarpParams:
    columns = shapes[0][1] * shapes[0][2]
    return WarpParams(flat[:, :columns].reshape(shapes[0]), flat[:, columns:].reshape(shapes[1]))
