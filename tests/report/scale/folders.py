"""Folders of runs on objects at many sizes, as a training script leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

DATA: dict[str, Any] = {"name": "stir/mnist", "file": None, "seed": 0, "scenario": 2, "rescale": None, "workers": 0}


def write_run(
    root: Path, recipe: str, seed: int, *, known: float, data: dict[str, Any] | None = None, **evaluation: Any
) -> Path:
    """A finished run that knows this share of the objects at every size, and half of it outside of 33 to 48 pixels."""
    folder = root / recipe / str(seed)
    folder.mkdir(parents=True)
    at = {side: known if 33 <= side <= 48 else known / 2 for side in range(17, 65)}
    metrics = {f"size_accuracy_at_{side}": share for side, share in at.items()}
    metrics |= {"accuracy": known / 2, "size_accuracy": float(np.mean([*at.values()])), "chance": 0.1}
    metrics |= {"multiply_adds": 2.5e7, "worst_size_accuracy": known / 2, "octave_drop": known / 2}
    summary = {"metrics": metrics, "seconds": 30.0, "epochs": 10 + seed, "parameters": 26250}
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {
        "data": DATA | (data or {}),
        "model": {"backbone": f"stir2_{recipe}"},
        "method": {"name": "none"},
        "evaluation": {"split": "test", "items": None} | evaluation,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({recipe: config}))
    return folder
