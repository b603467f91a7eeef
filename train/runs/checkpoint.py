"""What a run keeps on disk: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from report.runs import ITEMS
from train.runs.errors import RunError

STATE = "state.pt"
WEIGHTS = "model.safetensors"
VERSION = 1  # of the state's format


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and move it there, so that a reader finds the old one or the new one.

    Raises:
        RunError: on a full disk or a folder that cannot be written to; the old file is still there.
    """
    part = path.with_name(part_of(path.name))
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise RunError(f"{path} could not be written ({reason}); what was saved before is still there") from error


def part_of(name: str) -> str:
    """How the file is called that becomes this one once it is whole."""
    return f".{name}.part"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Save all that is needed to go on."""
    write_whole(folder / STATE, lambda file: torch.save({"version": VERSION, **state}, file))


def load_state(folder: Path) -> dict[str, Any] | None:
    """The last saved state of a run, if there is one."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken archive raises whatever its first wrong byte leads to
        raise RunError(f"{path} is broken or no state of a run; remove it to start this run again") from error
    if not isinstance(state, dict) or state.get("version") != VERSION or not state.keys() >= {"trainer", "log_size"}:
        raise RunError(f"{path} was not written by this version of the training; remove it to start this run again")
    return state


def save_weights(folder: Path, model: nn.Module) -> None:
    """Save a model's weights."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    seen: set[int] = set()
    for name, value in tensors.items():  # safetensors takes no memory twice, which what layers share would need
        tensors[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    write_whole(folder / WEIGHTS, lambda file: file.write(safetensors_bytes(tensors)))


def start_from(model: Any, weights: dict[str, Tensor], source: str, *, is_whole: bool = False) -> bool:
    """Take over another run's backbone, and its canonicalizer too where the model has an equal one.

    Where the canonicalizer is not taken over and reads a resting copy of the backbone, the copy is made anew.

    Args:
        model: takes them.
        weights: of the other run.
        source: how messages call it.
        is_whole: refuse weights without an equal canonicalizer.

    Returns:
        whether all was taken: False where the other run has a canonicalizer that this model has no place for.
    """
    own, weights = model.state_dict(), model.under_todays_names(weights)
    backbone = {name for name in own if model.is_of_backbone(name)}
    wrong = [name for name in backbone if name not in weights or weights[name].shape != own[name].shape]
    if wrong:
        raise RunError(
            f"{source} does not fit the backbone: of {len(backbone)} tensors {len(wrong)} are missing or of another "
            f"shape, {sorted(wrong)[0]} for instance"
        )
    rest = {name: value for name, value in weights.items() if name not in backbone}
    is_equal = rest.keys() == own.keys() - backbone and all(own[name].shape == rest[name].shape for name in rest)
    if is_whole and not is_equal:
        raise RunError(f"{source} does not fit the recipe: its canonicalizer is another one, or it has none")
    taken = weights if is_equal else {name: weights[name] for name in backbone}
    model.load_state_dict(taken, strict=False)
    if not is_equal and hasattr(model, "refresh_early_features"):
        model.refresh_early_features()  # the copy would go on showing features of the weights before
    return is_equal or not rest


def save_items(folder: Path, items: Mapping[str, Any]) -> None:
    """Save measured values per item, which a paired comparison of two runs needs."""
    write_whole(folder / ITEMS, lambda file: np.savez_compressed(file, **items))


def save_arrays(folder: Path, name: str, arrays: Mapping[str, Any]) -> None:
    """Save what a study found, from which figures are drawn."""
    write_whole(folder / f"{name}.npz", lambda file: np.savez_compressed(file, **arrays))
