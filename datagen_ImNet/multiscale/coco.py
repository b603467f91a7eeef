"""Boxes and masks that people drew, in COCO's format, in the place of a detector and a segmenter."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from multiscale.errors import NoPictures, SettingsError
from multiscale.picture import Picture, Source
from multiscale.stages import Detection, Segmentation

FARTHEST = 10  # sides of a picture that an outline may lie away from it; COCO's code takes memory for all between


def coco_sources(path: Path) -> list[Source]:
    """All objects of an annotation file but crowds, each a source of its own, in order of their files.

    What is wrong with the box or the outline of one object, the run will say; the file itself must be sound.
    """
    if not path.is_file():
        raise NoPictures(f"there is no annotation file {path}")
    try:
        content = json.loads(path.read_text("utf-8"))
        images = by_id(content, "images")
        labels = {key: folder_name(str(item["name"])) for key, item in by_id(content, "categories").items()}
        sources = [
            source_of(item, images[item["image_id"]], labels[item["category_id"]])
            for item in by_id(content, "annotations").values()
            if not item.get("iscrowd")
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path} is not in COCO's format: {type(error).__name__}: {error}") from error
    if twice := [label for label, count in Counter(labels.values()).items() if count > 1]:
        raise SettingsError(f"{path}: several categories would share the folder '{twice[0]}'; rename them")
    if not sources:
        raise NoPictures(f"{path} has no object that is not a crowd")
    return sorted(sources, key=lambda source: (source.file, source.name))


def by_id(content: dict[str, Any], kind: str) -> dict[int, dict[str, Any]]:
    """Records of a kind by their number, each of which stands once."""
    found: dict[int, dict[str, Any]] = {}
    for item in content[kind]:
        if type(item["id"]) is not int:  # which becomes part of a file's name; True is an int of another type
            raise ValueError(f"an id in {kind} is {item['id']!r:.80}; expected an integer")
        if found.setdefault(item["id"], item) is not item:
            raise ValueError(f"the id {item['id']} stands twice")
    return found


def source_of(item: dict[str, Any], image: dict[str, Any], label: str) -> Source:
    """An annotation and its image's record."""
    return Source(
        file=image["file_name"],
        label=label,
        name=f"{Path(image['file_name']).stem}_{item['id']}",
        object_id=item["id"],
        size=(image["width"], image["height"]),
        box=item.get("bbox"),
        outline=item.get("segmentation"),
    )


def folder_name(category: str) -> str:
    """Letters, digits, "_" and "-" alone: a point could name a hidden folder, or one above."""
    return re.sub(r"[^\w-]+", "_", category) or "_"


class CocoDetector:
    """The annotated box; None where that is no box."""

    def __call__(self, pictures: Sequence[Picture]) -> list[Detection | None]:
        return [self.detect(picture.source.box) for picture in pictures]

    def detect(self, box: Any) -> Detection | None:
        """Of left, top, width and height."""
        if not are_numbers(box, 4):
            return None
        left, top, width, height = box
        return Detection((left, top, left + width, top + height), 1.0)


class CocoSegmenter:
    """The annotated mask; empty where the outline is none."""

    def __call__(self, pictures: Sequence[Picture]) -> list[Segmentation]:
        return [Segmentation(self.mask(p.source.outline, *p.image.shape[:2]), 1.0) for p in pictures]

    def mask(self, outline: Any, height: int, width: int) -> np.ndarray:
        """(H, W) bool."""
        farthest = FARTHEST * max(height, width)
        try:
            if isinstance(outline, dict):
                encoded = self.run_lengths(outline, height, width)
            elif outline and all(are_numbers(part, 6, at_least=True, farthest=farthest) for part in outline):
                encoded = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
            else:
                encoded = None
            mask = coco_mask.decode(encoded) if encoded else np.zeros((height, width), bool)
        except (KeyError, TypeError, ValueError):  # run lengths that fill no picture
            return np.zeros((height, width), bool)
        return mask.astype(bool)

    def run_lengths(self, outline: dict[str, Any], height: int, width: int) -> dict[str, Any] | None:
        """In the compressed form, if they are those of the picture."""
        counts = outline["counts"]
        if list(outline["size"]) != [height, width]:
            return None
        if not isinstance(counts, list):
            return outline
        fits = are_numbers(counts, 1, at_least=True) and min(counts) >= 0 and sum(counts) == height * width
        return coco_mask.frPyObjects(outline, height, width) if fits else None


def are_numbers(values: Any, count: int, at_least: bool = False, farthest: float = math.inf) -> bool:
    """Whether a list has so many finite numbers, or at least so many, none farther from 0 than allowed."""
    if not isinstance(values, list) or not (len(values) == count or (at_least and len(values) > count)):
        return False
    return all(isinstance(value, int | float) and math.isfinite(value) and abs(value) <= farthest for value in values)
