"""A temperature for logits: models of unlike confidence are compared at the temperature that calibrates each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

BOUNDS = (0.05, 20.0)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T in [0.05, 20] at which ``softmax(logits / T)`` gives the labels the highest likelihood.

    The likelihood has one peak in T. Where it rises up to a bound, that bound is returned: 0.05 if every label has the
    largest logit by far (perfectly separated), 20 if confidence only harms. Where T makes no difference, 1.

    Args:
        logits: (N, C), of items that the model was not trained on.
        labels: (N,), class numbers.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(logits):
        raise ValueError(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected (N, C) and (N,), N of "
            "at least 1"
        )
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold values that are not finite")
    exact, classes = logits.detach().cpu().double(), labels.detach().cpu().long()

    def nll(log_temperature: float) -> float:
        return F.cross_entropy(exact / math.exp(log_temperature), classes).item()

    low, high = (math.log(bound) for bound in BOUNDS)
    at_low, at_high = nll(low), nll(high)
    if at_low == at_high == nll(0.0) > 0:
        return 1.0
    inside = minimize_scalar(nll, bounds=(low, high), method="bounded", options={"xatol": 1e-8})
    if min(at_low, at_high) <= inside.fun:
        return BOUNDS[0] if at_low <= at_high else BOUNDS[1]
    return math.exp(float(inside.x))
