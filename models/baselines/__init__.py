"""Comparison models: the best of a fixed list of warps, and warps that minimise an energy."""

from models.baselines.canonicalized import (
    CandidateScorer,
    CanonicalizedModel,
    CanonicalizedOutput,
    candidate_warps,
    with_candidates,
)
from models.baselines.energy import (
    EnergyNet,
    OptimizedModel,
    PredictionEntropy,
    renyi_entropy,
    shannon_entropy,
    with_energy,
)
from models.baselines.inner import InnerAdam, InnerDescent, InnerLoop

__all__ = [
    "CandidateScorer",
    "CanonicalizedModel",
    "CanonicalizedOutput",
    "EnergyNet",
    "InnerAdam",
    "InnerDescent",
    "InnerLoop",
    "OptimizedModel",
    "PredictionEntropy",
    "candidate_warps",
    "renyi_entropy",
    "shannon_entropy",
    "with_candidates",
    "with_energy",
]
