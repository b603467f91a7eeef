"""Synthetic pictures with known objects, as folders and annotation files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inpaint_imagenet
from measure_quality import cover_of_disc
from multiscale.picture import Picture, Source

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "datagen_ImNet" / "inpaint_imagenet.py"
CLASSES = ("disc", "ball")


def picture_of(image: np.ndarray, number: int = 0, label: str = "disc") -> Picture:
    """A picture that has been read."""
    picture = Picture(number, Source(f"{label}/{number}.png", label, f"{number}"))
    picture.image, picture.size, picture.checksum = image, (image.shape[1], image.shape[0]), "0"
    return picture


def noisy_scene(seed: int, size: tuple[int, int] = (96, 72)) -> tuple[np.ndarray, tuple[float, float], float]:
    """A bright textured disc on a dark texture, its centre and its radius."""
    draws = np.random.default_rng(seed)
    radius = draws.uniform(10, 16)
    centre = (draws.uniform(30, size[0] - 30), draws.uniform(25, size[1] - 25))
    texture = draws.integers(0, 60, (size[1], size[0], 3))
    cover = cover_of_disc(size, centre, radius)[..., None]
    return np.rint(texture + cover * 150).astype(np.uint8), centre, radius


def write_annotated(root: Path, count: int) -> Path:
    """Pictures of a disc each in ``root/pictures``, and the file of their boxes and outlines, which is returned."""
    (root / "pictures").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        image, centre, radius = noisy_scene(number)
        name = f"scene_{number:03d}.png"
        Image.fromarray(image).save(root / "pictures" / name)
        images.append({"id": number, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
        annotations.append(annotated_disc(1000 + number, number, centre, radius, category=1 + number % len(CLASSES)))
    categories = [{"id": 1 + number, "name": name} for number, name in enumerate(CLASSES)]
    return write_coco(root / "instances.json", images, annotations, categories)


def annotated_disc(
    key: int, image: int, centre: tuple[float, float], radius: float, category: int = 1
) -> dict[str, object]:
    """An annotation, its outline a polygon."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    outline = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], 1)
    box = [centre[0] - radius, centre[1] - radius, 2 * radius, 2 * radius]
    return {
        "id": key,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "bbox": box,
        "segmentation": [outline.ravel().tolist()],
    }


def write_coco(path: Path, images: Sequence[dict], annotations: Sequence[dict], categories: Sequence[dict]) -> Path:
    """An annotation file."""
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


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


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records(folder: Path) -> list[dict]:
    """The lines of a manifest."""
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
