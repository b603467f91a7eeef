"""Shapes over textures at several scales: a multi-scale set that is drawn on the spot and needs no download."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from layers.seeds import seed_of

CLASSES = ("cross", "disc", "drop", "ring", "square", "star", "stripe", "triangle")
SCALES = (1.0, 0.7, 0.85, 1.2, 1.4)
OBJECTS = {"train": 480, "val": 80}  # of all classes together
SIDE, RADIUS = 64, 12  # of the picture, and of the object at scale 1
DARK, BRIGHT = (20, 110), (140, 235)  # backgrounds and objects, so that a small network learns in a minute
FINER = 4  # drawn so many times larger, for smooth edges


class ShapesSource:
    """Pictures of one split, each object at all scales; the same ones whenever they are drawn."""

    def __init__(self, split: str):
        if split not in OBJECTS:
            raise ValueError(f"the drawn shapes have no split {split!r}; expected {' or '.join(OBJECTS)}")
        self.split = split
        self.labels = np.arange(OBJECTS[split]).repeat(len(SCALES)) % len(CLASSES)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, number: int) -> str:
        item, scale = divmod(number, len(SCALES))
        return f"{self.split}/{CLASSES[self.labels[number]]}/{item:04d}_scale_{SCALES[scale]:g}.png"

    def names(self) -> list[str]:
        return [self.name(number) for number in range(len(self))]

    def read(self, number: int) -> Image.Image:
        item, scale = divmod(number, len(SCALES))
        return draw(CLASSES[self.labels[number]], SCALES[scale], seed_of("shapes", self.split, item))


def write_shapes(root: Path, splits: tuple[str, ...] = ("train", "val")) -> None:
    """Write the set as a multi-scale folder."""
    for split in splits:
        source = ShapesSource(split)
        for number in range(len(source)):
            path = root / source.name(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            source.read(number).save(path)


def draw(name: str, scale: float, seed: int) -> Image.Image:
    """One object over its background; except for its size, it depends on the seed alone."""
    generator = np.random.RandomState([seed >> 32, seed & 0xFFFFFFFF])
    background, inside = _texture(generator, *DARK), _texture(generator, *BRIGHT)
    margin = RADIUS * max(SCALES) + 1
    centre = generator.uniform(margin, SIDE - margin, 2)
    turn = generator.uniform(-0.3, 0.3)
    mask = Image.new("L", (SIDE * FINER,) * 2)
    pen = ImageDraw.Draw(mask)
    for outline, value in _outlines(name):
        points = np.array(outline) @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        pen.polygon([tuple(point) for point in (centre + RADIUS * scale * points) * FINER], fill=value)
    return Image.composite(inside, background, mask.resize((SIDE, SIDE), Image.Resampling.BOX))


def _texture(generator: np.random.RandomState, low: float, high: float) -> Image.Image:
    """Coarse noise around a colour."""
    colour = generator.uniform(low, high, 3)
    noise = generator.normal(0, 12, (8, 8, 3))
    return Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).resize((SIDE,) * 2, Image.Resampling.BICUBIC)


def _outlines(name: str) -> list[tuple[list[tuple[float, float]], int]]:
    """Polygons in the unit disc, filled (255) or cut out (0) one after the other."""
    if name == "disc":
        return [(_regular(48), 255)]
    if name == "ring":
        return [(_regular(48), 255), ([(0.55 * x, 0.55 * y) for x, y in _regular(48)], 0)]
    if name == "drop":
        return [
            ([(0.6 * x, 0.6 * y + 0.35) for x, y in _regular(48)], 255),
            ([(-0.55, 0.1), (0, -1), (0.55, 0.1)], 255),
        ]
    if name == "square":
        return [([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 255)]
    if name == "star":
        return [([(r * x, r * y) for r, (x, y) in zip([1, 0.42] * 5, _regular(10), strict=True)], 255)]
    if name == "triangle":
        return [(_regular(3), 255)]
    bar = [(-1.0, -0.3), (1.0, -0.3), (1.0, 0.3), (-1.0, 0.3)]
    upright = [(y, x) for x, y in bar]
    return [(bar, 255), (upright, 255)] if name == "cross" else [(upright, 255)]


def _regular(corners: int) -> list[tuple[float, float]]:
    angles = [2 * math.pi * k / corners - math.pi / 2 for k in range(corners)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]
