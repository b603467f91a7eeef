"""The light DEC: nearly free and converged, an option set like any other: ``with_dec(backbone, **LIGHT)``.

docs/results.md has what it gains and what it misses; ``benchmarks/ablation.py`` shows the same for each choice.
"""

from __future__ import annotations

from typing import Any

from layers.fixed_point import FixedPointSolver
from models.dec import Site

LIGHT: dict[str, Any] = {
    # One site: behind a ``preprocess`` that makes images smaller, a warp could not bring out lost detail any more.
    "sites": (Site("input", 5),),
    # Phi is eight numbers here: 32 pixels show what they depend on.
    "channels": (3, 16, 32, 32),
    "kernel_sizes": (5, 5, 3),
    "pools": (2, 2, 1),
    "input_size": 32,
    "images_at_once": 16,
    # A smooth source and a narrow interval make the map contract, so that few evaluations converge.
    "antialias": True,
    "separable": True,
    "strength": 0.1,
    "gain": 2.0,
    "solver": FixedPointSolver(max_steps=4, tol=1e-3),
}
