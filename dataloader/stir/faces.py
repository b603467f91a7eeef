"""36 faces of a font, drawn anew at every size: objects whose details grow with them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloader.stir.container import Container
from dataloader.stir.drawing import drawn, placed

DEJAVU = tuple(range(0x1F600, 0x1F624))
FA6 = tuple(
    int(code, 16)
    for code in (
        "f556 f567 f579 f119 f57a f57f f580 f582 f583 f584 f585 f586 f587 f588 f589 f58a f58b f581 f58c f596 f597 f598 "
        "f599 f59a f59b f59c f11a f5a4 f5a5 f5b3 f5b4 f118 f5b8 f4da f5c2 f5c8"
    ).split()
)
LARGE = 512  # size of font at which the extent of a face is measured


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


@lru_cache(maxsize=None)
def face(font: Path, code: int, side: int) -> np.ndarray:
    """uint8 (side, side): white on black, the longer side of the ink as long as the box, in its middle."""
    left, top, right, bottom = ImageFont.truetype(str(font), LARGE).getbbox(chr(code))
    size = LARGE * side / max(right - left, bottom - top)
    for _ in range(64):  # hinting and whole pixels: the ink is measured, and the size corrected until it fits
        ink = _ink(font, code, size)
        longer = max(ink.shape)
        if longer == side:
            break
        size *= 1 + 0.5 * (side - longer) / side if abs(side - longer) > 1 else 1 + 0.2 * (side - longer) / side
    canvas = np.zeros((side, side), np.uint8)
    ink = ink[:side, :side]
    top, left = ((side - length) // 2 for length in ink.shape)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas


def _ink(font: Path, code: int, size: float) -> np.ndarray:
    """The face alone, without the empty rows and columns around it."""
    room = int(3 * size) + 8
    canvas = Image.new("L", (room, room))
    ImageDraw.Draw(canvas).text((room // 3, room // 3), chr(code), 255, ImageFont.truetype(str(font), size))
    box = canvas.getbbox()
    assert box is not None
    return np.asarray(canvas.crop(box))


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
