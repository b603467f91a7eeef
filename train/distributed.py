"""Several processes under torchrun, or one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.runs.errors import RunError


@dataclass(frozen=True)
class Process:
    """This process among ``world``, and the device that it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """(rank, world), as evaluation takes it."""
        return self.rank, self.world

    def say(self, text: str) -> None:
        """Print, once for all processes."""
        if self.is_first:
            print(text, flush=True)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """Add values up over all processes; all of them get the sum."""
        if self.world > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def gather(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """Values per item of all processes, one process after the other."""
        if self.world == 1:
            return columns
        parts: list = [None] * self.world
        dist.all_gather_object(parts, columns)
        return {name: torch.cat([part[name] for part in parts]) for name in columns}

    def all_have(self, value: object) -> bool:
        """Whether all processes have an equal value."""
        if self.world == 1:
            return True
        values: list = [None] * self.world
        dist.all_gather_object(values, value)
        return all(other == value for other in values)

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this process's device, with batch statistics over all processes where torch has them (CUDA)."""
        if self.world > 1 and self.device.type == "cuda":
            model = convert_sync_batchnorm(model)  # timm's, for torch's loses the activations inside timm's norms
        return model.to(self.device)

    def wrap(self, model: nn.Module, runs_whole: bool = True) -> nn.Module:
        """The model with gradients averaged over processes; to be called again when the set of what trains changes.

        Args:
            model: that is trained.
            runs_whole: whether all that trains of it takes part in every loss; else torch looks for the rest each time.
        """
        if self.world == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=not runs_whole)


def start(device: str = "auto") -> Process:
    """Join the processes that torchrun has started, if any, and choose the device."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise RunError("train.device is cuda, but torch sees no CUDA device; take auto or cpu")
    kind = "cuda" if device == "cuda" or (device == "auto" and has_cuda) else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise RunError(f"process {local} of this machine has no GPU of its own; it has {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    return Process(
        int(os.environ.get("RANK", "0")), world, torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    )


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process has gone away."""
    text = str(error).lower()
    signs = ("closed by peer", "connection reset", "broken pipe", "connection refused", "timed out", "nccl", "gloo")
    return dist.is_initialized() and any(sign in text for sign in signs)


def stop() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()
