"""Predictions of any callable, and pairs of predictions that ought to be equal.

Nothing is left behind: no autograd graph, no other mode of a module, no other state of the global generators.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Predict = Callable[[Tensor], Tensor]
Loader = Iterable[Sequence[Any]]  # of batches (image, label, ...)
CHUNK = 4096  # items whose probabilities are held in double precision at a time


class Pairs(NamedTuple):
    """Two predictions for each of N items: of the item itself, and of what it was changed into.

    Args:
        clean: logits, (N, C).
        changed: logits, (N, C), or (N, D, C) of D changes per item, over which all that is reported is averaged.
    """

    clean: Tensor
    changed: Tensor

    def errors(self, temperature: float = 1.0, *, relative: bool = False) -> Tensor:
        """Distance of the two probability vectors, (N,) in float64, divided by the clean one's length if relative."""
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}; expected a positive number")

        def error(clean: Tensor, changed: Tensor) -> Tensor:
            p, q = ((logits.double() / temperature).softmax(-1) for logits in (clean.unsqueeze(1), changed))
            distance = (p - q).norm(dim=-1)
            return (distance / p.norm(dim=-1) if relative else distance).mean(1)

        return self._by_chunk(error)

    def flips(self) -> Tensor:
        """Share of the changes that move the largest logit to another class, (N,) in float64."""
        return self._by_chunk(
            lambda clean, changed: (clean.argmax(-1, keepdim=True) != changed.argmax(-1)).double().mean(1)
        )

    def _by_chunk(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not len(self.clean):
            return torch.empty(0, dtype=torch.float64)
        changed = self.changed if self.changed.ndim == 3 else self.changed.unsqueeze(1)
        parts = zip(self.clean.split(CHUNK), changed.split(CHUNK), strict=True)
        return torch.cat([function(*part) for part in parts])


class Comparison(NamedTuple):
    """What a model says of N items, and of the same items changed in a way that ought not to matter.

    Args:
        labels: (N,).
        changed: the items and what they were changed into.
        restored: the first items and what is left of them when the change is undone by one who knows it: the floor,
            which interpolation alone puts under the error of any model.
    """

    labels: Tensor
    changed: Pairs
    restored: Pairs


class AtScales(NamedTuple):
    """What a model says of N items composed with all their parts at one scale, at each of S scales.

    Args:
        labels: (N,).
        logits: (N, S, C).
        scales: S of them.
    """

    labels: Tensor
    logits: Tensor
    scales: tuple[float, ...]

    @property
    def correct(self) -> Tensor:
        """Whether the largest logit is that of the label, (N, S) in float64."""
        return (self.logits.argmax(-1) == self.labels[:, None]).double()


class Equilibrium(NamedTuple):
    """What an adapted model tells of its warps: residual (N, K) of N images and K sites, and all entries of phi."""

    residual: Tensor
    phi: Tensor


@contextmanager
def undisturbed(predict: Predict) -> Iterator[None]:
    """Evaluation mode and no gradient inside; afterwards all modes and global generators are as they were before.

    Of a model inside DistributedDataParallel give the bare module, since processes may have batches in unequal number.
    Gradients are off by ``no_grad``, not by ``inference_mode``: a model may differentiate an energy inside its forward
    pass, or keep a tensor for later. A DataLoader draws from the global generator whenever it is iterated over.
    """
    modes = [(module, module.training) for module in predict.modules()] if isinstance(predict, nn.Module) else []
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            if isinstance(predict, nn.Module):
                predict.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def logits_of(predict: Predict, image: Tensor, device: torch.device | str) -> Tensor:
    """Logits of one batch, float32 on the CPU."""
    logits = predict(image.to(device))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(image):
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"predict returned {given} for {len(image)} images; expected logits of ({len(image)}, classes)"
        )
    return logits.detach().float().cpu()
