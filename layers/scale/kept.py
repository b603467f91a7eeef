"""Tensors that take long to compute are kept on disk, beside what torch.hub keeps.

This is done as best it can be. Whatever is wrong with the disk, a model is built all the same, only later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard
from uuid import uuid4

import torch
from torch import Tensor


def kept(name: str, shape: tuple[int, ...], compute: Callable[[], Tensor]) -> Tensor:
    """The float64 tensor of this name and shape: read, or else computed, on the CPU, and written."""
    path = Path(torch.hub.get_dir()) / "local_scale_equivariance" / f"{name}.pt"
    with torch.device("cpu"):  # whatever device a model is built on: there are no numbers on "meta"
        found = _read(path)
        if _is_right(found, shape):
            return found
        computed = compute()
    if _is_right(computed, shape):
        _write(computed, path)
    return computed


def _is_right(found: object, shape: tuple[int, ...]) -> TypeGuard[Tensor]:
    """A file may be of another program, or of a process that died."""
    if not isinstance(found, Tensor) or found.dtype != torch.float64 or found.device.type != "cpu":
        return False
    return found.shape == shape and bool(found.isfinite().all())


def _read(path: Path) -> object:
    try:
        return torch.load(path, weights_only=True)
    except Exception:  # there is no end to what a broken file raises
        return None


def _write(found: Tensor, path: Path) -> None:
    """Written beside its place and then moved there, so that no other process reads half of it."""
    beside = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as file:  # with the usual mode: others of a shared folder may read it
            torch.save(found, file)
        os.replace(beside, path)
    except (OSError, RuntimeError):
        pass  # it will be computed again
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
