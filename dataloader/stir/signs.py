"""Procedural traffic signs on textured ground: a stand-in for photographs of signs, which cannot be passed on.

16 classes: a disc, a triangle, an octagon or a square, each in a colour of its own, with one of four glyphs. Everything
is drawn four times as large and averaged, so that a small sign has the edges that a camera would see.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from dataloader.stir.container import SIDE, Container
from dataloader.stir.drawing import drawn

FINE = 4  # times
SHAPES = ("disc", "triangle", "octagon", "square")
GLYPHS = ("bar", "cross", "ring", "arrow")
COLOURS = {"disc": (190, 30, 45), "triangle": (235, 180, 20), "octagon": (25, 80, 170), "square": (30, 130, 70)}
COUNT, NOISE_SEED = 25, 1


def signs(seed: int = 0, *, count: int = COUNT) -> Container:
    """``count`` instances of every class, each in a light and on a ground of its own, and other ones in every split.

    An instance is one object: its sizes differ in its place on the ground, and in nothing else that is drawn by chance.
    """

    def draw(split: int, label: int, side: int, positions: np.ndarray) -> np.ndarray:
        own = [np.random.default_rng([NOISE_SEED, seed, split, label, instance]) for instance in range(len(positions))]
        return np.stack([scene(label, side, place, one) for place, one in zip(positions, own, strict=True)])

    names = [f"{shape}-{glyph}" for shape, glyph in product(SHAPES, GLYPHS)]
    text = "procedural signs at 17 to 64 pixels, a stand-in for photographs"
    return drawn(draw, names, count, seed, {"title": "signs-synth", "description": text, "version": str(seed)})


def scene(label: int, side: int, place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """uint8 (64, 64, 3): one sign of this side with its left and top at ``place``."""
    shape, glyph = SHAPES[label // len(GLYPHS)], GLYPHS[label % len(GLYPHS)]
    canvas = ground(generator)
    outline, mark = averaged(outlines(shape, side * FINE)), averaged(marks(glyph, side * FINE))
    light = generator.uniform(0.6, 1.2)
    colour = light * np.array(COLOURS[shape], float)
    sign = (1 - mark[..., None]) * colour + mark[..., None] * min(255.0, 245 * light)
    left, top = map(int, place)
    part = canvas[top : top + side, left : left + side]
    part[:] = (1 - outline[..., None]) * part + outline[..., None] * sign
    return canvas.clip(0, 255).astype(np.uint8)


def ground(generator: np.random.Generator) -> np.ndarray:
    """float64 (64, 64, 3): noise whose power falls with frequency as that of photographs does, in a random tint."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(generator.standard_normal((3, SIDE, SIDE))) / frequency
    spectrum[:, 0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    noise = noise / noise.std((1, 2), keepdims=True)
    mixed = 0.8 * noise.mean(0) * 3**0.5 + 0.4 * noise  # channels vary together for the most part
    tint = generator.uniform(60, 160, 3)
    return (tint[:, None, None] + 30 * mixed).transpose(1, 2, 0).copy()


def outlines(shape: str, size: int) -> np.ndarray:
    """bool (size, size): the inside of a sign as wide as its box."""
    x, y = _coordinates(size)
    if shape == "disc":
        return np.hypot(x, y) <= 1
    if shape == "triangle":
        return 2 * np.abs(x) <= y + 1
    if shape == "octagon":
        return np.abs(x) + np.abs(y) <= 2**0.5
    return np.ones((size, size), bool)


def marks(glyph: str, size: int) -> np.ndarray:
    """bool (size, size): what stands on a sign, in the middle that all outlines have."""
    x, y = _coordinates(size)
    y = y - 0.2  # a triangle's middle lies below its box's
    if glyph == "bar":
        return (np.abs(x) <= 0.4) & (np.abs(y) <= 0.12)
    if glyph == "cross":
        return np.minimum(np.abs(x), np.abs(y)) + 10 * (np.maximum(np.abs(x), np.abs(y)) > 0.36) <= 0.11
    if glyph == "ring":
        return np.abs(np.hypot(x, y) - 0.27) <= 0.09
    return (2 * np.abs(x) <= y + 0.36) & (y <= 0.34) & ~((np.abs(x) <= 0.1) & (y >= 0.1))


def averaged(fine: np.ndarray) -> np.ndarray:
    """The share of every pixel that is covered."""
    size = len(fine) // FINE
    return fine.reshape(size, FINE, size, FINE).mean((1, 3))


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of pixels' middles, from -1 to 1."""
    line = (np.arange(size) + 0.5) / size * 2 - 1
    return line[None, :], line[:, None]
