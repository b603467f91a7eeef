"""The inner optimisation of the energy canonicalizer: gradient steps on warps, themselves differentiable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from layers.canonicalizer import CanonicalForm
from layers.grid import WarpParams
from layers.spec import Energy

Phis = tuple[WarpParams, ...]
Gradients = Sequence[Sequence[Tensor | None]]  # per site that of x and of y; None where the energy ignores it

ADAM_EPSILON = 1e-8  # inside the root, where it keeps the derivative at a gradient of zero finite
NORM_EPSILON = 1e-16  # inside the root of a norm, for the same reason


@dataclass(frozen=True)
class InnerDescent:
    """Plain gradient descent as a differentiable function.

    Args:
        learning_rate: one for all sites, or one per site, which holds for x and y alike.
        decay: L2 decay, added to the gradient; it pulls towards equal entries, the identity.
    """

    learning_rate: float | Sequence[float] = 0.05
    decay: float = 0.0

    def check_sites(self, num_sites: int) -> None:
        """Refuse a list of learning rates that does not fit this many sites."""
        count = len(_rates(self.learning_rate, num_sites))
        if count != num_sites:
            raise ValueError(f"{count} learning rates for {num_sites} sites; expected a number, or one per site")

    def step(self, phis: Phis, gradients: Gradients, state: InnerState | None = None) -> tuple[Phis, InnerState]:
        """Take one step; a part without gradient keeps its value and its place.

        Args:
            phis: one pair per site.
            gradients: one pair per site.
            state: what the step before returned, None at the start.
        """
        self.check_sites(len(phis))
        rates = _rates(self.learning_rate, len(phis))
        state = state or tuple((Moments(), Moments()) for _ in phis)
        moved, kept = [], []
        for phi, gradient, moments, rate in zip(phis, gradients, state, rates, strict=True):
            x, of_x = self._moved(phi.x, gradient[0], moments[0], rate)
            y, of_y = self._moved(phi.y, gradient[1], moments[1], rate)
            moved.append(WarpParams(x, y))
            kept.append((of_x, of_y))
        return tuple(moved), tuple(kept)

    def _moved(self, part: Tensor, gradient: Tensor | None, moments: Moments, rate: float) -> tuple[Tensor, Moments]:
        if gradient is None:
            return part, moments
        direction, moments = self._direction(gradient + self.decay * part, moments)
        return part - rate * direction, moments

    def _direction(self, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        return gradient, moments


@dataclass(frozen=True)
class InnerAdam(InnerDescent):
    """Adam as a differentiable function, with bias correction and the epsilon inside the root.

    Args:
        betas: decay of the means of the gradient and of its square.
    """

    betas: tuple[float, float] = (0.9, 0.999)

    def _direction(self, gradient: Tensor, moments: Moments) -> tuple[Tensor, Moments]:
        steps = moments.steps + 1
        first, second = self.betas
        mean = first * moments.mean + (1 - first) * gradient
        square = second * moments.square + (1 - second) * gradient.square()
        root = (square / (1 - second**steps) + ADAM_EPSILON).sqrt()
        return mean / (1 - first**steps) / root, Moments(steps, mean, square)


class Moments(NamedTuple):
    """Running means of one parameter's gradient and of its square, and how many steps they hold."""

    steps: int = 0
    mean: Tensor | float = 0.0
    square: Tensor | float = 0.0


InnerState = tuple[tuple[Moments, Moments], ...]


def unit_norm(gradient: Tensor) -> Tensor:
    """Scale the (B, rows, R - 1) gradient of one part of phi to unit length, image by image."""
    return gradient / (gradient.square().sum((1, 2), keepdim=True) + NORM_EPSILON).sqrt()


@dataclass(frozen=True)
class InnerLoop:
    """T steps that lower an energy, the last of which can be differentiated.

    Args:
        optimizer: it starts afresh for every batch.
        steps: T in training.
        unroll: how many of the last steps are differentiated; all if left out.
        test_steps: T outside training, if it differs.
        normalize_gradient: scale the gradients by phi.x and by phi.y to unit length, per image and site.
    """

    optimizer: InnerDescent = field(default_factory=InnerAdam)
    steps: int = 5
    unroll: int | None = None
    test_steps: int | None = None
    normalize_gradient: bool = False

    @classmethod
    def of(cls, spec: Energy) -> InnerLoop:
        """As the options have it, which are checked there."""
        rate, decay = spec.learning_rate, spec.decay
        is_adam = spec.optimizer == "adam"
        inner = InnerAdam(rate, decay, spec.betas) if is_adam else InnerDescent(rate, decay)
        return cls(inner, spec.steps, spec.unroll, spec.test_steps, spec.normalize_gradient)

    def minimise(self, energies: Callable[[Phis], Tensor], start: Phis, is_training: bool) -> CanonicalForm:
        """Go from ``start``; ``steps`` is T for all, ``residual`` the last step's length over that of phi."""
        is_kept = is_training and torch.is_grad_enabled()
        steps = self.steps if is_training else self.test_steps or self.steps
        unroll = (self.unroll or steps) if is_kept else 0
        before = phis = start
        state = None
        for left in range(steps, 0, -1):
            before = phis if left < unroll else _leaves(phis)
            with torch.enable_grad():
                gradients = self._gradients(energies(before).sum(), before, left <= unroll)
            with torch.set_grad_enabled(left <= unroll):
                phis, state = self.optimizer.step(before, gradients, state)
        changes = [_relative_change(old, new) for old, new in zip(before, phis, strict=True)]
        residual = torch.stack(changes, dim=1)
        found = phis if unroll else tuple(phi.detach() for phi in phis)
        return CanonicalForm(found, torch.full_like(residual, steps, dtype=torch.long), residual)

    def _gradients(self, energy: Tensor, phis: Phis, is_kept: bool) -> Gradients:
        parts = [part for phi in phis for part in phi]
        found: Sequence[Tensor | None] = torch.autograd.grad(energy, parts, create_graph=is_kept, allow_unused=True)
        if self.normalize_gradient:
            with torch.set_grad_enabled(is_kept):
                found = [None if gradient is None else unit_norm(gradient) for gradient in found]
        return list(zip(found[0::2], found[1::2], strict=True))


def _leaves(phis: Phis) -> Phis:
    return tuple(WarpParams(*(part.detach().requires_grad_() for part in phi)) for phi in phis)


def _relative_change(old: WarpParams, new: WarpParams) -> Tensor:
    """Per image the length of the difference over that of the new parameters, (B,)."""
    before, after = (torch.cat([part.detach().flatten(1) for part in phi], dim=1) for phi in (old, new))
    return (after - before).norm(dim=1) / after.norm(dim=1).clamp_min(torch.finfo(after.dtype).tiny)


def _rates(learning_rate: float | Sequence[float], num_sites: int) -> list[float]:
    return [learning_rate] * num_sites if isinstance(learning_rate, int | float) else list(learning_rate)
