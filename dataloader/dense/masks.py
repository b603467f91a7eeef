"""Masks: files of class numbers, outlines of COCO's annotations, and what of them is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from config.dense import VOID
from config.errors import ConfigError

GREYS = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # of one channel; a palette's numbers are the classes


def read_mask(path: Path, size: tuple[int, int], classes: int) -> np.ndarray:
    """uint8 (H, W) class numbers of a mask's file, 255 for void.

    Args:
        path: of a picture with one channel of 1, 8 or 16 bits, or with a palette.
        size: (H, W) of the picture that it is of.
        classes: that there are.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a mask ({error}); expected a PNG of class numbers") from error
    if mode not in GREYS:
        raise ConfigError(
            f"{path} is a mask of mode {mode}, {values.shape[-1]} channels; expected one channel of class numbers, or "
            "a palette: save the number of every colour's class"
        )
    if values.shape != size:
        raise ConfigError(
            f"{path} has {values.shape[1]} x {values.shape[0]} pixels and its picture {size[1]} x {size[0]}; expected "
            "a mask of the picture's size"
        )
    checked(values, classes, str(path))
    return values.astype(np.uint8)


def checked(values: np.ndarray, classes: int, name: str) -> None:
    """Refuse labels out of range."""
    wrong = values[(values != VOID) & ((values < 0) | (values >= classes))]
    if wrong.size:
        raise ConfigError(
            f"{name} has the label {int(wrong[0])} at {wrong.size} pixels; expected 0 to {classes - 1}, or {VOID} for "
            "void: set data.num_classes, or correct the mask"
        )


def semantic(size: tuple[int, int], objects: Iterable[Mapping[str, Any]], numbers: Mapping[int, int]) -> np.ndarray:
    """uint8 (H, W) class numbers of annotated objects; where some overlap, the smallest one lies on top.

    Args:
        size: (H, W) of the picture.
        objects: annotations in COCO's format.
        numbers: class of every category's id.
    """
    mask = np.zeros(size, np.uint8)
    for item in sorted(objects, key=lambda item: -float(item["area"])):
        mask[outlined(size, item)] = numbers[item["category_id"]]
    return mask


def outlined(size: tuple[int, int], item: Mapping[str, Any]) -> np.ndarray:
    """bool (H, W), the pixels of one object: inside its polygons, or in the runs of a crowd."""
    shape = item.get("segmentation")
    if isinstance(shape, Mapping):
        return _of_runs(size, shape, item.get("id"))
    image = Image.new("1", (size[1], size[0]))
    for polygon in shape or ():
        if len(polygon) >= 6:  # less is no area
            ImageDraw.Draw(image).polygon([float(value) - 0.5 for value in polygon], fill=1)
    return np.asarray(image)


def _of_runs(size: tuple[int, int], shape: Mapping[str, Any], number: object) -> np.ndarray:
    """Counts of pixels outside and inside in turn, column by column."""
    counts = shape.get("counts")
    if not isinstance(counts, list) or sum(counts) != size[0] * size[1]:
        given = "compressed text" if isinstance(counts, str | bytes) else f"{sum(counts or [])} pixels"
        raise ConfigError(
            f"annotation {number} has runs of {given}; expected a list of counts that add up to {size[0] * size[1]}, "
            "the picture's pixels (pycocotools.mask.decode opens compressed ones)"
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size[1], size[0]).T
