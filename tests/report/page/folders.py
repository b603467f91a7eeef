"""Run folders for pages: numbers that are made up here, and members of orbits as the study writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

CENTRES = np.array([(x, y) for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75)])
STRENGTHS = np.array([0.5, 1.0, 2.0])
SIDE = 24


def write_run(root: Path, recipe: str, seed: int = 70, quality: float = 0.5, sites: tuple[str, ...] = ()) -> Path:
    """A finished run with all that a page can show."""
    folder = root / recipe / str(seed)
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    metrics = {"accuracy": quality, "warp_accuracy": quality - 0.1, "residual": 0.0123}
    metrics |= {f"warp_accuracy_at_{strength:g}": quality - strength for strength in (0.1, 0.25)}
    metrics |= {f"{name}_after_{k}": quality / k for name in ("accuracy", "residual") for k in (1, 2)}
    summary = {"recipe": recipe, "seed": seed, "seconds": 12.0, "epochs": 3, "parameters": 10, "metrics": metrics}
    origin = {"commit": "abc1234", "hardware": "a machine", "versions": {"torch": "2.14"}}
    (folder / "summary.json").write_text(json.dumps(summary | origin))
    settings = {
        recipe: {"model": {"backbone": "net"}, "train": {"epochs": 3, "backbone_lr": quality}, "output_dir": "w"}
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    logged = [{"epoch": epoch, "train_loss": quality / epoch, "train_task": seed / epoch} for epoch in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    np.savez(folder / "items.npz", index=np.arange(20), correct=draw.random(20) < quality)
    np.savez(folder / "members.npz", **members(quality, sites))
    return folder


def members(quality: float, sites: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Of two images: squares in another place for every centre, so that one picture is not taken for another."""
    shape = (2, len(CENTRES), len(STRENGTHS))
    labels = np.array([3, 1])
    probabilities = np.random.default_rng(1).dirichlet(np.ones(5), shape).astype(np.float32) * (1 - quality)
    for sample, label in enumerate(labels):
        probabilities[sample, ..., label] += quality
    pictures = np.zeros((*shape, 1, SIDE, SIDE), np.uint8)
    for centre, (x, y) in enumerate(CENTRES):
        for strength in range(len(STRENGTHS)):
            row, column, size = round(y * 16), round(x * 16), 2 + 2 * strength
            pictures[:, centre, strength, :, row : row + size, column : column + size] = 255
    arrays = {
        "labels": labels,
        "centres": CENTRES,
        "strengths": STRENGTHS,
        "probabilities": probabilities,
        "pictures": pictures,
        "sites": np.array(sites, dtype=str),
        "residuals": np.full((*shape, len(sites)), 0.01, np.float32),
    }
    along = np.linspace(0, 1, 5, dtype=np.float32)
    for place in range(len(sites)):
        arrays[f"grid_{place}"] = np.broadcast_to(np.stack(np.meshgrid(along, along)), (*shape, 2, 5, 5))
        arrays[f"form_{place}"] = 255 - pictures
    return arrays
