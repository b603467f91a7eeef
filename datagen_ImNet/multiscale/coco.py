"""Boxes and masks that people drew, in COCO's format, in the place of a detector and a segmenter."""

from __future__ import annotations

import json
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


class Annotations:
    """An annotation file; every object that is not a crowd is a source of its own.

    Args:
        path: of the JSON file.
    """

    def __init__(self, path: Path):
        try:
            content = json.loads(path.read_text("utf-8"))
            self.images: dict[int, dict[str, Any]] = {image["id"]: image for image in content["images"]}
            self.objects: dict[int, dict[str, Any]] = {item["id"]: item for item in content["annotations"]}
            self.labels = {category["id"]: _folder_name(category["name"]) for category in content["categories"]}
            lost = [key for key, item in self.objects.items() if item["image_id"] not in self.images]
            lost += [key for key, item in self.objects.items() if item["category_id"] not in self.labels]
        except FileNotFoundError:
            raise NoPictures(f"there is no annotation file {path}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{path} is not in COCO's format, with images, annotations and categories: {error!r}"
            ) from error
        if lost:
            raise SettingsError(f"{path}: the annotation {lost[0]} belongs to no image or no category of the file")
        if twice := [label for label, count in Counter(self.labels.values()).items() if count > 1]:
            raise SettingsError(f"{path}: several categories would share the folder '{twice[0]}'; rename them")

    def sources(self) -> list[Source]:
        """All objects but crowds, in order of their files."""
        found = []
        for key, item in self.objects.items():
            if not item.get("iscrowd"):
                image = self.images[item["image_id"]]
                name = f"{Path(image['file_name']).stem}_{key}"
                size = (image["width"], image["height"])
                found.append(Source(image["file_name"], self.labels[item["category_id"]], name, key, size))
        return sorted(found, key=lambda source: (source.file, source.name))

    def of(self, source: Source) -> dict[str, Any]:
        """The annotation of a source."""
        assert source.object_id is not None
        return self.objects[source.object_id]


class CocoDetector:
    """The annotated box.

    Args:
        annotations: of the sources.
    """

    def __init__(self, annotations: Annotations):
        self.annotations = annotations

    def __call__(self, pictures: Sequence[Picture]) -> list[Detection | None]:
        boxes = (self.annotations.of(picture.source)["bbox"] for picture in pictures)
        return [Detection((left, top, left + width, top + height), 1.0) for left, top, width, height in boxes]


class CocoSegmenter:
    """The annotated mask.

    Args:
        annotations: of the sources.
    """

    def __init__(self, annotations: Annotations):
        self.annotations = annotations

    def __call__(self, pictures: Sequence[Picture]) -> list[Segmentation]:
        return [Segmentation(self.mask(picture), 1.0) for picture in pictures]

    def mask(self, picture: Picture) -> np.ndarray:
        """(H, W) bool."""
        H, W = picture.image.shape[:2]
        outline = self.annotations.of(picture.source)["segmentation"]
        if isinstance(outline, list):  # polygons, one for each part
            encoded = coco_mask.merge(coco_mask.frPyObjects(outline, H, W)) if outline else None
        else:  # counts of a run-length code, as a list or as compressed text
            encoded = coco_mask.frPyObjects(outline, H, W) if isinstance(outline["counts"], list) else outline
        return coco_mask.decode(encoded).astype(bool) if encoded else np.zeros((H, W), bool)


def _folder_name(category: str) -> str:
    return re.sub(r"[^\w.-]+", "_", category)
