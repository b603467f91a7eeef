"""How far apart the taps of a kernel lie at each level of a scale space: base^s pixels at level s, rounded down.

Only a whole base is exact. Below 2, several levels get one dilation, so that they do not differ in scale at all: base
1.2 gives 1, 1, 1, 1 to four levels. Whoever asks for that is told, once, when the layer is made.
"""

from __future__ import annotations

import math
import warnings

SHOWN = 4  # dilations that the warning names where the number of levels is not known


def level_dilations(base: float, levels: int) -> list[int]:
    """The dilation of each level. A hair is added, for a power of a root, such as sqrt(3)^2, may lie just below 3."""
    return [int(base**level + 1e-9) for level in range(levels)]


def check_base(base: float, levels: int | None = None) -> None:
    """Refuse a base that enlarges nothing, and warn of one that is not whole."""
    if not 1 < base < math.inf:
        raise ValueError(f"base is {base}; expected a number above 1, such as 2")
    if base != int(base):
        named = ", ".join(map(str, level_dilations(base, levels or SHOWN)))
        warnings.warn(
            f"base is {base}, which is no whole number: rounded down, the dilations of the levels are {named}, and "
            "equivariance is only approximate; take base=2 for the exact one",
            UserWarning,
            stacklevel=3,
        )
