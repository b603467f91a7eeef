"""How surprised the model is by the labels."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from evaluation.measure import NATS, Measure, Trial
from evaluation.views import Views


def _surprise(views: Views, _: float) -> Tensor:
    return F.cross_entropy(views.clean.double(), views.labels, reduction="none")


_nll = partial(Measure, unit=NATS, of=_surprise, quick=("pictures",))
MEASURES = [
    _nll(name="nll", trial=Trial.CLEAN, column="nll"),
    _nll(name="multi_scale_nll", trial=Trial.SCALES, kinds=("pictures",)),
]
