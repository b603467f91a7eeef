"""Masks: files of class numbers, outlines of COCO's annotations, and what of them is refused."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.path import Path as Outline
from PIL import Image

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
        objects: annotations in COCO's format, of which ``fault_of`` found none wrong.
        numbers: class of every category's id.
    """
    mask = np.zeros(size, np.uint8)
    painted = [(outlined(size, item["segmentation"]), numbers[item["category_id"]]) for item in objects]
    for where, number in sorted(painted, key=lambda pair: -pair[0].sum()):
        mask[where] = number
    return mask


def outlined(size: tuple[int, int], shape: Any) -> np.ndarray:
    """bool (H, W), the pixels of one object: whose middles lie inside its polygons, or in the runs of a crowd."""
    if isinstance(shape, Mapping):  # counts of pixels outside and inside in turn, column by column
        flat = np.repeat(np.arange(len(shape["counts"])) % 2 == 1, shape["counts"])
        return flat.reshape(size[1], size[0]).T
    mask = np.zeros(size, bool)
    for polygon in shape:
        corners = np.asarray(polygon, float).reshape(-1, 2)
        (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        columns, rows = np.arange(max(left, 0), min(right, size[1])), np.arange(max(top, 0), min(bottom, size[0]))
        x, y = np.meshgrid(columns + 0.5, rows + 0.5)
        inside = Outline(corners).contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(x.shape)
        mask[np.ix_(rows, columns)] |= inside
    return mask


def fault_of(item: Mapping[str, Any], size: tuple[int, int], categories: Container[Any]) -> str | None:
    """What is wrong with an annotation in COCO's format, and what was expected; None where it can be painted."""
    if item.get("category_id") not in categories:
        return f"has the category_id {item.get('category_id')!r}; expected the id of a category of the file"
    shape = item.get("segmentation")
    if isinstance(shape, Mapping):
        return _fault_of_runs(shape, size)
    if not isinstance(shape, list) or not shape:
        return "has no segmentation, and a box alone gives no mask; expected an outline, or remove the annotation"
    for polygon in shape:
        if not (isinstance(polygon, list) and polygon and len(polygon) % 2 == 0 and all(map(_is_number, polygon))):
            return "has a polygon that is no list of x and y in turn; expected [[x, y, x, y, ...], ...]"
    return None


def _fault_of_runs(shape: Mapping[str, Any], size: tuple[int, int]) -> str | None:
    counts, expected = shape.get("counts"), size[0] * size[1]
    if isinstance(counts, str | bytes):
        return "has runs of compressed text; expected a list of counts, into which pycocotools.mask.decode opens it"
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return "has runs that are no list of whole numbers from 0 on"
    if sum(counts) != expected or list(shape.get("size", size)) != list(size):
        told = f"{sum(counts)} pixels and the size {shape.get('size')}"
        return f"has runs of {told}; expected {expected}, and [height, width] of the picture, {list(size)}"
    return None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
