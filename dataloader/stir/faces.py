"""36 faces of a font, drawn anew at every size: objects whose details grow with them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloader.stir.container import Container
from dataloader.stir.drawing import drawn, placed

DEJAVU = tuple(range(0x1F600, 0x1F624))
FA6 = (
    *(0xF556, 0xF567, 0xF579, 0xF119, 0xF57A, 0xF57F, 0xF580, *range(0xF582, 0xF58C), 0xF581, 0xF58C),
    *(*range(0xF596, 0xF59D), 0xF11A, 0xF5A4, 0xF5A5, 0xF5B3, 0xF5B4, 0xF118, 0xF5B8, 0xF4DA, 0xF5C2, 0xF5C8),
)
LARGE = 1024  # size of the font that a face is drawn in at first


def emoji(seed: int = 0, *, font: str = "dejavu") -> Container:
    """One instance of every face; splits differ in the place of faces alone.

    Args:
        seed: of the places.
        font: "dejavu", which matplotlib brings along, or "fa6": Font Awesome of the package ``fontawesomefree``. The
            published faces are of an older version of that, so numbers cannot be compared face by face.
    """
    path, codes = (_dejavu(), DEJAVU) if font == "dejavu" else (_awesome(), FA6)

    def draw(split: int, label: int, side: int, positions: np.ndarray) -> np.ndarray:
        return placed(face(path, codes[label], side)[None].repeat(len(positions), 0), positions)

    title = f"emoji-{font}"
    described = {"title": title, "description": f"36 faces of {path.name} at 17 to 64 pixels", "version": str(seed)}
    return drawn(draw, [f"{code:x}" for code in codes], 1, seed, described)


@cache
def face(font: Path, code: int, side: int) -> np.ndarray:
    """uint8 (side, side): white on black, the longer side of the ink as long as the box, in its middle.

    The face is drawn large, and every pixel is the mean of what it covers. Were it drawn small at once, hinting would
    round its size, and some sizes would not occur.
    """
    ink = _ink(font, code)
    wanted = [max(1, round(length * side / max(ink.size))) for length in ink.size]
    small = ink.resize((wanted[0], wanted[1]), Image.Resampling.BOX)
    canvas = Image.new("L", (side, side))
    canvas.paste(small, ((side - wanted[0]) // 2, (side - wanted[1]) // 2))
    return np.asarray(canvas)


@cache
def _ink(font: Path, code: int) -> Image.Image:
    """The face alone, large, without the empty rows and columns around it."""
    canvas = Image.new("L", (3 * LARGE, 3 * LARGE))
    ImageDraw.Draw(canvas).text((LARGE, LARGE), chr(code), 255, ImageFont.truetype(str(font), LARGE))
    box = canvas.getbbox()
    assert box is not None
    return canvas.crop(box)


def _dejavu() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _awesome() -> Path:
    try:
        import fontawesomefree
    except ImportError as error:
        raise ValueError("emoji-fa6 needs Font Awesome's font; install it: pip install fontawesomefree") from error
    found = sorted(Path(fontawesomefree.__path__[0]).rglob("fa-regular-400.ttf"))
    if not found:
        raise ValueError("fontawesomefree has no fa-regular-400.ttf; install a version 6 of it")
    return found[0]
