"""The light DEC: nearly free, converged, and an option set like any other: ``with_dec(backbone, **LIGHT)``."""

from __future__ import annotations

from typing import Any

from layers.fixed_point import FixedPointSolver
from models.dec import Site

LIGHT: dict[str, Any] = {
    "sites": (Site("image", 5),),
    "channels": (3, 16, 32, 32),
    "kernel_sizes": (5, 5, 3),
    "pools": (2, 2, 1),
    "input_size": 32,
    "strength": 0.5,
    "solver": FixedPointSolver(max_steps=5, tol=1e-3),
    "images_at_once": 16,
}
