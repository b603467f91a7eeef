"""Batch norm's running statistics, which lag behind weights that still move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.distributed import Process


@contextmanager
def estimated_afresh(
    model: nn.Module, process: Process, rests: Callable[[str], bool] = lambda name: False
) -> Iterator[None]:
    """Inside, the model is in evaluation mode except for its batch norms, which average over all batches that they see.

    A norm that sees none keeps what it had.

    Args:
        model: whose batch norms they are.
        process: this one.
        rests: whether the module of this name did not train; its statistics belong to its weights and stay.
    """
    norms = [
        part
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats and not rests(name)
    ]
    momenta = [norm.momentum for norm in norms]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
        norm.train()
    yield
    for norm, momentum, kept in zip(norms, momenta, before, strict=True):
        norm.momentum = momentum
        norm.eval()
        if not norm.num_batches_tracked:  # a loss may leave out the backbone, in all processes alike
            norm.load_state_dict(kept, strict=False)
            continue
        for buffer in (norm.running_mean, norm.running_var):
            assert buffer is not None
            buffer.copy_(process.sum(buffer.clone()) / process.world)


def train_what_trains(model: nn.Module) -> list[str]:
    """Training mode, except for parts of which no parameter trains: those rest in evaluation mode, with all below them.

    A frozen batch norm would else go on adapting its statistics, and a frozen dropout draw. A part without parameters
    of its own, dropout for instance, follows the one that it belongs to.

    Returns:
        names of the parts that rest, each with its dotted path, without those below them.
    """
    model.train()
    resting: list[str] = []
    for name, part in model.named_modules():
        parameters = list(part.parameters())
        if parameters and not any(value.requires_grad for value in parameters) and not is_below(name, resting):
            part.eval()
            resting.append(name)
    return resting


def is_below(name: str, parts: list[str]) -> bool:
    """Whether a module is one of these parts, or below one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
