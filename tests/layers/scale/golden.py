"""Reads the golden numbers of the published implementations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[2] / "golden" / "zoo"


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a file, and the settings they were computed with."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        numbers = {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "fiu"}
        return numbers, json.loads(str(file["settings"]))


def weighting(settings: dict[str, Any], like: Tensor) -> Tensor:
    """R of the files: gradients are those of (y * R).sum()."""
    return torch.from_numpy(np.random.RandomState(settings["R_seed"]).standard_normal(tuple(like.shape)))
