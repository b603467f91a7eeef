"""Square uint8 patches of many sizes in a few flat arrays, which worker processes share without copying them."""

from __future__ import annotations

import numpy as np


class PatchStore:
    """Patches by row number.

    With a Python object per patch, counting references would copy them all into every worker in time.
    """

    def __init__(self, rows: int) -> None:
        self._starts = np.full(rows, -1, np.int64)  # -1: not there yet
        self._sides = np.zeros(rows, np.int32)
        self._buffer = np.empty(0, np.uint8)
        self._used = 0

    def __contains__(self, row: int) -> bool:
        return bool(self._starts[row] >= 0)

    def __getitem__(self, row: int) -> np.ndarray:
        """A view of a patch that is there."""
        start, side = int(self._starts[row]), int(self._sides[row])
        return self._buffer[start : start + side * side].reshape(side, side)

    def __setitem__(self, row: int, patch: np.ndarray) -> None:
        start, end = self._used, self._used + patch.size
        if end > len(self._buffer):
            self.reserve(max(patch.size, self._used))  # at least twice as much, so that growing stays cheap
        self._buffer[start:end] = patch.reshape(-1)
        self._starts[row], self._sides[row], self._used = start, len(patch), end

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of these rows that are not there yet, each once."""
        rows = np.unique(rows)
        return rows[self._starts[rows] < 0]

    def reserve(self, extra: int) -> None:
        """Make room for this many bytes more."""
        if self._used + extra > len(self._buffer):
            larger = np.empty(self._used + extra, np.uint8)
            larger[: self._used] = self._buffer[: self._used]
            self._buffer = larger
