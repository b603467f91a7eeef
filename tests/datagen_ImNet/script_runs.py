"""Runs of the script, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inpaint_imagenet
from multiscale.picture import Picture, Source

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "datagen_ImNet" / "inpaint_imagenet.py"


def picture_of(image: np.ndarray, number: int = 0, label: str = "disc") -> Picture:
    """A picture that has been read."""
    picture = Picture(number, Source(f"{label}/{number}.png", label, f"{number}"))
    picture.image, picture.size, picture.checksum = image, (image.shape[1], image.shape[0]), "0"
    return picture


def generate(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs the script in a process of its own."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Runs the script in this process."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    return inpaint_imagenet.main()


def on_annotations(annotations: Path, output: Path, *more: object, pictures: str = "pictures") -> list[object]:
    """Arguments that make a set of annotated pictures, which lie beside their annotations."""
    return [
        *("--dataset_path", annotations.parent / pictures, "--annotations", annotations),
        *("--output_path", output, "--subset", "val", *more),
    ]


def save_png(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, "PNG", **options)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder: Path) -> list[dict]:
    """The lines of a manifest."""
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
