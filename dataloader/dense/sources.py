"""Where pictures and their masks come from: Pascal VOC's folders, COCO's instance files, and generated sets."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from config.dense import VOID
from config.errors import ConfigError
from dataloader.dense.masks import fault_of, read_mask, semantic
from dataloader.pictures.decoding import decode
from dataloader.pictures.groups import ScaleGroups, scale_groups

UPRIGHT = 1  # the orientation of EXIF that turns nothing
VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class Source(ABC):
    """Pictures with a mask each, numbered from 0.

    Args:
        names: of the classes, the background first.
        files: of the pictures.
    """

    groups: ScaleGroups | None = None
    """Which of them show one object at several scales."""

    def __init__(self, names: Sequence[str], files: Sequence[Path]):
        if len(names) > VOID:
            raise ConfigError(f"there are {len(names)} classes; expected at most {VOID}, for the number {VOID} is void")
        self.names, self.files = tuple(names), list(files)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The (H, W, 3) uint8 picture and its (H, W) uint8 mask."""
        path = self.files[number]
        try:
            picture, turn = np.asarray(decode(str(path))), turn_of(path)
        except Exception as error:  # of any kind, for plugins raise whatever they meet in a damaged file
            raise ConfigError(f"{path} cannot be read ({error}); remove it from the split, or mend it") from error
        if turn != UPRIGHT:
            raise ConfigError(
                f"{path} is turned by its EXIF block (orientation {turn}), and nothing tells whether its mask is; "
                "expected a picture without that, stored as its mask is"
            )
        return picture, self.mask(number, (picture.shape[0], picture.shape[1]))

    @abstractmethod
    def mask(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """uint8 class numbers for a picture of this (H, W)."""


def turn_of(path: Path) -> int:
    """How a picture's EXIF block says that it is to be turned."""
    with Image.open(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)


class Voc(Source):
    """Pascal VOC's layout: ``JPEGImages``, ``SegmentationClass``, and the split's names in ``ImageSets``."""

    def __init__(self, root: Path, split: str, num_classes: int | None):
        listed = [root / "ImageSets" / folder / f"{split}.txt" for folder in ("Segmentation", "")]
        file = next((path for path in listed if path.is_file()), None)
        if file is None:
            raise ConfigError(f"there is no {listed[0]}; expected a text file with the name of a picture per line")
        try:
            names = [line.split()[0] for line in file.read_text("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file} is no text in UTF-8; expected the name of a picture per line") from error
        pictures = [root / "JPEGImages" / f"{name}.jpg" for name in names]
        self.masks = [root / "SegmentationClass" / f"{name}.png" for name in names]
        absent = [path for pair in zip(pictures, self.masks, strict=True) for path in pair if not path.is_file()]
        if absent or not names:
            what = f"names {absent[0].stem}, but there is no {absent[0]}" if absent else "is empty"
            raise ConfigError(f"{file} {what}; expected pictures that are there, with a mask each")
        count = num_classes or len(VOC_NAMES)
        super().__init__(VOC_NAMES if count == len(VOC_NAMES) else [*map(str, range(count))], pictures)
        with ThreadPoolExecutor() as pool:  # before training: one of them may first be met hours later
            list(pool.map(self._check, range(len(self))))

    def _check(self, number: int) -> None:
        """Read a mask, of its picture no more than the header; a picture that cannot be read is told later."""
        with suppress(OSError, SyntaxError), Image.open(self.files[number]) as image:
            if turn_of(self.files[number]) == UPRIGHT:
                self.mask(number, (image.height, image.width))

    def mask(self, number: int, size: tuple[int, int]) -> np.ndarray:
        return read_mask(self.masks[number], size, len(self.names))


class Coco(Source):
    """An instance file, whose objects are painted by their categories, numbered from 1 in the order of their ids."""

    def __init__(self, file: Path, folder: Path):
        try:
            content = json.loads(file.read_text("utf-8"))
            categories = {int(item["id"]): str(item["name"]) for item in content["categories"]}
            self.records = sorted(content["images"], key=lambda item: item["file_name"])
            sizes = {item["id"]: (int(item["height"]), int(item["width"])) for item in self.records}
            self.objects: dict[int, list[dict[str, Any]]] = {number: [] for number in sizes}
            for item in content["annotations"]:
                self.objects[item["image_id"]].append(item)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{file} is not in COCO's format ({reason}); data.annotations names another") from error
        if len(sizes) != len(self.records) or not sizes:
            what = "has images of one id" if sizes else "has no images"
            raise ConfigError(f"{file} {what}; expected images with an id of their own each")
        for number, objects in self.objects.items():
            for item in objects:
                if fault := fault_of(item, sizes[number], categories):
                    raise ConfigError(f"{file}: annotation {item.get('id')} of image {number} {fault}")
        self.numbers = {key: place + 1 for place, key in enumerate(sorted(categories))}
        super().__init__(
            ["background", *(categories[key] for key in sorted(categories))],
            [folder / record["file_name"] for record in self.records],
        )
        if absent := [path for path in self.files if not path.is_file()]:
            raise ConfigError(f"{file} names {absent[0].name}, but there is no {absent[0]}; data.images names a folder")

    def mask(self, number: int, size: tuple[int, int]) -> np.ndarray:
        record = self.records[number]
        if (record["height"], record["width"]) != size:
            told = f"{record['width']} x {record['height']}"
            raise ConfigError(f"{self.files[number]} has {size[1]} x {size[0]} pixels; its annotations are for {told}")
        return semantic(size, self.objects[record["id"]], self.numbers)


class MultiScale(Source):
    """What ``datagen_ImNet`` writes with ``--debug``: objects at several scales, and the mask of each at scale 1.

    An object at another scale has the mask that the compositor gave it: scaled about the middle of its box.
    """

    def __init__(self, root: Path, split: str, names: Sequence[str] | None = None):
        file = root / split / "manifest.jsonl"
        if not file.is_file():
            raise ConfigError(f"there is no {file}; expected a set that datagen_ImNet/inpaint_imagenet.py has made")
        try:
            lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        except ValueError as error:
            raise ConfigError(f"{file} has a line that is no JSON ({error}); make the set again") from error
        shown = [line for line in lines if "files" in line]
        if not shown:
            raise ConfigError(f"{file} names no pictures; expected a set with some")
        known = names or ["background", *sorted({line["class"] for line in shown})]
        if unknown := sorted({line["class"] for line in shown} - set(known)):
            raise ConfigError(f"{file} has the class {unknown[0]}, which the training split does not know")
        self.entries = [(line, float(scale)) for line in shown for scale in line["files"]]
        files = [root / split / line["files"][f"{scale:g}"]["file"] for line, scale in self.entries]
        super().__init__(known, files)
        self.masks = [root / "debug" / split / line["class"] / f"{line['name']}_mask.png" for line, _ in self.entries]
        if absent := [path for path in (*self.files, *self.masks) if not path.is_file()]:
            raise ConfigError(f"there is no {absent[0]}; make the set with --debug, which keeps the masks")
        self.groups = scale_groups([path.relative_to(root / split).as_posix() for path in self.files])

    def mask(self, number: int, size: tuple[int, int]) -> np.ndarray:
        line, scale = self.entries[number]
        at_one = read_mask(self.masks[number], size, 256) > 127
        left, top, right, bottom = line["box"]
        y, x = (
            np.floor(centre + (np.arange(n) + 0.5 - centre) / scale).astype(int)
            for centre, n in (((top + bottom) / 2, size[0]), ((left + right) / 2, size[1]))
        )
        inside = ((y >= 0) & (y < size[0]))[:, None] & ((x >= 0) & (x < size[1]))
        mask = at_one[np.ix_(y.clip(0, size[0] - 1), x.clip(0, size[1] - 1))] & inside
        return mask.astype(np.uint8) * self.names.index(line["class"])
