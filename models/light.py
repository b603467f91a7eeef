"""The light DEC: nearly free and converged, a set of options like any other: ``with_dec(backbone, LIGHT)``.

docs/results.md has what it gains and what it misses; ``benchmarks/ablation.py`` shows the same for each choice.
"""

from __future__ import annotations

from layers.spec import DEC, Site, Solver

LIGHT = DEC(
    # One site: after a ``preprocess`` that makes images smaller, a warp could not bring out lost detail any more.
    sites=(Site("input", 5),),
    # Phi is eight numbers here: 32 pixels show what they depend on.
    channels=(3, 16, 32, 32),
    kernel_sizes=(5, 5, 3),
    pools=(2, 2, 1),
    input_size=32,
    images_at_once=16,
    # A smooth source and a narrow interval make the map contract, so that few evaluations converge.
    antialias=True,
    separable=True,
    strength=0.1,
    gain=2.0,
    solver=Solver(max_steps=4, tol=1e-3),
)
