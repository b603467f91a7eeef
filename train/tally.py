"""Means over an epoch by name, added up on the device, so that no step waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Tally:
    """Sums and counts.

    Args:
        names: of what is counted; every process has the same, in the same order.
        device: that the sums live on.
    """

    def __init__(self, names: Sequence[str] = (), device: torch.device | str = "cpu"):
        self.names = list(names)
        self.sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=device)

    def add(self, values: Mapping[str, Tensor], items: int) -> None:
        """Add (B,) values, or means over so many items."""
        rows = [values[name] for name in self.names]
        sums = [(value.sum() if value.ndim else value * items).double() for value in rows]
        self.sums[:, 0] += torch.stack(sums)
        self.sums[:, 1] += items

    def means(self, sums: Tensor | None = None) -> dict[str, float]:
        """Of what was counted at all; ``sums`` are those of all processes, where there are several."""
        rows = (self.sums if sums is None else sums).tolist()
        return {name: total / count for name, (total, count) in zip(self.names, rows, strict=True) if count}

    def state_dict(self, sums: Tensor) -> dict[str, Any]:
        """The sums of all processes, which the first one goes on counting from."""
        return {"names": self.names, "sums": sums.cpu()}

    def load(self, state: Any, is_first: bool) -> None:
        """Go on from a saved state, also of a version that counted less."""
        saved = state if isinstance(state, Mapping) else _of_before(state)
        for name, (total, count) in zip(saved["names"], saved["sums"].tolist(), strict=True):
            if name in self.names and is_first:
                self.sums[self.names.index(name)] += torch.tensor([total, count], dtype=torch.float64)


def _of_before(sums: Tensor) -> dict[str, Any]:
    """Loss, correct, residual, images with a residual, items; and the weighted task, which no longer is counted so."""
    loss, correct, residual, with_residual, items = sums[:5].tolist()
    rows = [[loss, items], [correct, items], [residual, with_residual]]
    return {"names": ["loss", "accuracy", "residual"], "sums": torch.tensor(rows, dtype=torch.float64)}
