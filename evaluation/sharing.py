"""Values per item of all processes, joined in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Columns = dict[str, Tensor]  # one value per item in each, in float64, which holds all of them exactly
Gather = Callable[[Columns], Columns]


def alone(columns: Columns) -> Columns:
    """Gathers from a single process."""
    return columns


def gathered(parts: Sequence[Columns], names: Sequence[str], gather: Gather) -> Columns:
    """The columns of these names of all processes, in the order of ``position``.

    Args:
        parts: of this process; there may be none.
        names: of the columns, ``position`` among them.
        gather: joins the columns of all processes, one after the other.
    """
    nothing = torch.empty(0, dtype=torch.float64)
    found = gather({name: torch.cat([part[name].double() for part in parts]) if parts else nothing for name in names})
    order = found["position"].argsort(stable=True)
    return {name: values[order] for name, values in found.items()}
