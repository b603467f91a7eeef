"""Batch norm's running statistics, which lag behind weights that still move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.distributed import Process


@contextmanager
def estimated_anew(model: nn.Module, process: Process) -> Iterator[None]:
    """Inside, the model is in evaluation mode but for its batch norms, which average over all batches that they see."""
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.train()
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
        for buffer in (norm.running_mean, norm.running_var):
            assert buffer is not None
            buffer.copy_(process.sum(buffer.clone()) / process.world)
