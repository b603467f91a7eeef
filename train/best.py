"""The best weights so far, and when to stop looking for better ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(kw_only=True)
class Best:
    """What a run has shown on the items that are watched.

    Args:
        patience: epochs without a better value after which it is over; None keeps no weights and never ends.
        value: the best one.
        epoch: after which it was seen, counted from 1.
        weights: of then.
    """

    patience: int | None = None
    value: float = float("-inf")
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, value: float, epoch: int, model: nn.Module) -> None:
        """Take note of an epoch; only what is strictly better counts."""
        if self.patience is not None and value > self.value:
            self.value, self.epoch = value, epoch
            self.weights = {name: part.detach().cpu().clone() for name, part in model.state_dict().items()}

    def is_over(self, epoch: int) -> bool:
        """Whether training may end after this epoch."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def restore(self, model: nn.Module) -> None:
        """Give a model the best weights, where any were kept."""
        if self.weights:
            model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"value": self.value, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.value, self.epoch, self.weights = state["value"], state["epoch"], state["weights"]
