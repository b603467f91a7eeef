"""A picture on its way through the stages, from its file to the background without the object."""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")  # others need programs beside PIL
LONGEST_SIDE = 65500  # of a JPEG that libjpeg writes
LONGEST_NAME = 220  # bytes of a file's 255, of which "_scale_S.JPEG" takes some

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; pixel i spans [i, i + 1]."""


@dataclass(frozen=True)
class Source:
    """One labelled object of one file.

    Args:
        file: path below the folder of the pictures, with "/" between folders.
        label: class, and name of the folder that takes its scales.
        name: what the names of its scales begin with; unique within its class.
        object_id: of the annotation, where there are annotations.
        size: width and height of the picture that was annotated.
        box: left, top, width and height, as annotated.
        outline: polygons or run lengths, as annotated.
    """

    file: str
    label: str
    name: str
    object_id: int | None = None
    size: tuple[int, int] | None = None
    box: Any = field(default=None, repr=False)
    outline: Any = field(default=None, repr=False)


@dataclass
class Picture:
    """What the stages have found out about a source so far; a stage that reads too early meets an AttributeError.

    Args:
        number: its place in the order of the run.
        source: where it comes from.
        checksum: SHA-256 of the file, once it is read.
        size: width and height.
        box_score: of the detector.
        mask_score: of the segmenter.
        mask_area: in pixels.
        skipped: why nothing is made of it, in one word; None while all is well.
        reason: the same at length.
    """

    number: int
    source: Source
    checksum: str | None = None
    size: tuple[int, int] | None = None
    box_score: float | None = None
    mask_score: float | None = None
    mask_area: int | None = None
    skipped: str | None = None
    reason: str | None = None
    image: np.ndarray = field(init=False, repr=False)  # (H, W, 3) uint8, RGB, upright
    box: Box = field(init=False, repr=False)
    mask: np.ndarray = field(init=False, repr=False)  # (H, W) bool, the object
    hole: np.ndarray = field(init=False, repr=False)  # (H, W) float32 in [0, 1], how much of the background is new
    background: np.ndarray = field(init=False, repr=False)  # (H, W, 3) uint8, without the object

    def skip(self, word: str, reason: str) -> None:
        """Make nothing of it."""
        self.skipped, self.reason = word, reason
        self.forget_pixels()

    def forget_pixels(self) -> None:
        """Let go of what is large."""
        for name in ("image", "mask", "hole", "background"):
            self.__dict__.pop(name, None)


def decode(content: bytes) -> np.ndarray:
    """A picture of any kind as (H, W, 3) uint8: RGB, upright, without its transparency.

    Raises:
        Exception: of any kind, for PIL's plugins raise whatever they meet in a damaged file.
    """
    with Image.open(io.BytesIO(content), formats=KINDS) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I", "F"):
            raise ValueError("32 bits per pixel, of no known range")
        if upright.mode.startswith("I;16"):  # which PIL would cut off at 255: nearly all white
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.array(upright.convert("RGB"))  # a copy, as torch wants arrays that it could write to


def stays_below(name: str) -> bool:
    """Whether a path that stands in data cannot leave the folder that it is meant below; links lead where they will."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


class Read:
    """Decodes the files.

    Args:
        folder: of the pictures.
        classes: that are known; None for any.
    """

    def __init__(self, folder: Path, classes: frozenset[str] | None):
        self.folder, self.classes = folder, classes

    def __call__(self, pictures: list[Picture]) -> list[Picture]:
        for picture in pictures:
            self.read(picture)
        return pictures

    def read(self, picture: Picture) -> None:
        """Decode one, or say why that cannot be."""
        source = picture.source
        if self.classes is not None and source.label not in self.classes:
            return picture.skip("unknown_class", f"'{source.label}' is none of the {len(self.classes)} classes")
        if len(os.fsencode(source.name)) > LONGEST_NAME:
            return picture.skip("name_too_long", f"no room for a scale behind more than {LONGEST_NAME} bytes")
        if not stays_below(source.file):
            return picture.skip("outside_folder", f"'{source.file}' lies outside of the folder of the pictures")
        try:
            content = (self.folder / source.file).read_bytes()
            picture.checksum = hashlib.sha256(content).hexdigest()
            picture.image = decode(content)
        except Exception as error:  # of any kind, see `decode`
            return picture.skip("unreadable", explained(error))
        picture.size = (picture.image.shape[1], picture.image.shape[0])
        if source.size not in (None, picture.size):
            picture.skip("wrong_size", f"annotated at {source.size} pixels, but the file has {picture.size}")
        elif max(picture.size) > LONGEST_SIDE:
            picture.skip("too_large", f"{picture.size} pixels; a JPEG has at most {LONGEST_SIDE} on a side")


def explained(error: Exception) -> str:
    """What an error says, in one line, without addresses and folders: the same on every machine."""
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(KINDS)}"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = (said.strip().splitlines() or ["no reason is known"])[0]
    return re.sub(r"0x[0-9a-f]+", "...", f"{type(error).__name__}: {first}")
