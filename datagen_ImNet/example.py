"""Draws annotated pictures to try things on: ``python example.py FOLDER``.

Writes FOLDER/pictures, a bright disc on a dark texture in each, and FOLDER/instances.json, a file in COCO's format.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measure_quality import cover_of_disc

CLASSES = ("disc", "ball")
SIZE = (96, 72)


def scene(seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, tuple[float, float], float]:
    """A picture (H, W, 3) uint8, and the centre and radius of its disc; ``size`` is width and height."""
    draws = np.random.default_rng(seed)
    unit = size[0] / SIZE[0]
    radius = draws.uniform(10, 16) * unit
    centre = (draws.uniform(30 * unit, size[0] - 30 * unit), draws.uniform(25 * unit, size[1] - 25 * unit))
    texture = draws.integers(0, 60, (size[1], size[0], 3))
    cover = cover_of_disc(size, centre, radius)[..., None]
    return np.rint(texture + cover * 150).astype(np.uint8), centre, radius


def annotated_disc(
    key: int, image: int, centre: tuple[float, float], radius: float, category: int = 1
) -> dict[str, Any]:
    """An annotation whose outline is a polygon."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    outline = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], 1)
    return {
        "id": key,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "bbox": [centre[0] - radius, centre[1] - radius, 2 * radius, 2 * radius],
        "segmentation": [outline.ravel().tolist()],
    }


def write_coco(
    path: Path, images: Sequence[dict], annotations: Sequence[dict], categories: Sequence[dict[str, Any]]
) -> Path:
    """An annotation file."""
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_annotated(folder: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    """Scenes and the file of their boxes and outlines, which is returned."""
    (folder / "pictures").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        image, centre, radius = scene(number, size)
        name = f"scene_{number:03d}.png"
        Image.fromarray(image).save(folder / "pictures" / name)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        annotations.append(annotated_disc(1000 + number, number, centre, radius, category=1 + number % len(CLASSES)))
    categories = [{"id": 1 + number, "name": name} for number, name in enumerate(CLASSES)]
    return write_coco(folder / "instances.json", images, annotations, categories)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="which must not hold pictures/ yet")
    parser.add_argument("--count", type=int, default=16, help="of the pictures (16)")
    options = parser.parse_args()
    print(write_annotated(options.folder, options.count, (4 * SIZE[0], 4 * SIZE[1])))


if __name__ == "__main__":
    main()
