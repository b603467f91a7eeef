"""Measures how right a set of annotated photographs is, and how clean the rim of a pasted object.

    python measure_quality.py ANNOTATIONS PICTURES SPLIT

SPLIT was made of PICTURES by ``inpaint_imagenet.py --annotations ANNOTATIONS`` with the default settings. All figures
are found anew from photographs, outlines and files, but for the areas, which the program says of itself.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from multiscale.coco import CocoSegmenter, coco_sources
from multiscale.compositor import Cutout, hole_mask, paste
from multiscale.manifest import NAME, read_lines
from multiscale.picture import decode
from multiscale.settings import Settings

SCALES = Settings().scale_factors
FINER = 8  # samples per pixel and axis of a drawn disc
RIM = 3  # pixels on either side of an edge
MCU = 16  # pixels that a JPEG of halved colours codes together; a decoder smooths colours over two more
LEAST = 32  # pixels of a box whose area is held against the scale


@dataclass
class Figures:
    """Of some objects.

    Args:
        groups: with all scales.
        incomplete: without some.
        skipped: objects by the reason.
        at_one: largest difference of scale 1 and the photograph, both through JPEG, in levels.
        outside: the same of the other scales, where neither object nor hole can have changed the file.
        areas: of those that stay inside and are large enough, area over that of the mask and the scale's square.
    """

    groups: int = 0
    incomplete: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    at_one: int = 0
    outside: int = 0
    areas: list[float] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Those of other objects."""
        self.groups += other.groups
        self.incomplete += other.incomplete
        self.skipped += other.skipped
        self.at_one, self.outside = max(self.at_one, other.at_one), max(self.outside, other.outside)
        self.areas += other.areas

    def report(self) -> dict[str, Any]:
        """For people."""
        deviations = [abs(area - 1) for area in self.areas]
        return {
            "groups": self.groups,
            "incomplete groups": self.incomplete,
            "skipped": dict(self.skipped),
            "scale 1 against the photograph, largest difference": self.at_one,
            "outside of object and hole, largest difference": self.outside,
            "areas measured": len(deviations),
            "area, largest deviation from the scale's square": round(max(deviations, default=0), 4),
            "the same, in the mean": round(float(np.mean(deviations)), 4) if deviations else None,
        }


def measure(annotations: Path, pictures: Path, split: Path, workers: int = 1) -> Figures:
    """All objects of a split."""
    lines = [record for _, record in read_lines(split / NAME) if "source" in record]
    work = partial(of_objects, annotations, pictures, split)
    total = Figures()
    if workers == 1:
        total.add(work(lines))
        return total
    with ProcessPoolExecutor(workers) as pool:
        for found in pool.map(work, [lines[start::workers] for start in range(workers)]):
            total.add(found)
    return total


def of_objects(annotations: Path, pictures: Path, split: Path, lines: list[dict[str, Any]]) -> Figures:
    """Those of some lines of a manifest."""
    sources = {source.object_id: source for source in coco_sources(annotations)}
    segmenter, total = CocoSegmenter(), Figures()
    for line in lines:
        if "skipped" in line:
            total.skipped[line["skipped"]] += 1
            continue
        image = decode((pictures / line["source"]).read_bytes())
        mask = segmenter.mask(sources[line["object"]].outline, *image.shape[:2])
        total.add(of_object(image, mask, line, split))
    return total


def of_object(image: np.ndarray, mask: np.ndarray, line: dict[str, Any], split: Path) -> Figures:
    """One group against its photograph."""
    scales = {f"{scale:g}" for scale in SCALES}
    full = line["files"].keys() == scales
    figures = Figures(groups=int(full), incomplete=int(not full))
    hole, original = hole_mask(mask, 5, 2) > 0, through_jpeg(image)
    for text, entry in line["files"].items():
        scale, made = float(text), decode((split / entry["file"]).read_bytes())
        difference = abs(made.astype(int) - original)
        if scale == 1:
            figures.at_one = int(difference.max())
            continue
        changed = coded_with(hole | scaled_mask(mask, line["box"], scale))
        figures.outside = max(figures.outside, int(difference[~changed].max(initial=0)))
        if stays_inside(line["box"], scale, image.shape) and shorter_side(line["box"]) >= LEAST:
            figures.areas.append(entry["area"] / (scale**2 * mask.sum()))
    return figures


def through_jpeg(image: np.ndarray) -> np.ndarray:
    """What a JPEG of the set's quality leaves of an image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return decode(file.getvalue())


def scaled_mask(mask: np.ndarray, box: list[float], scale: float) -> np.ndarray:
    """Where an object may be seen at a scale, a little wider than its soft edge."""
    x, y = (box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5  # of pixels' middles
    matrix = np.array([[scale, 0, x * (1 - scale)], [0, scale, y * (1 - scale)]])
    warped = cv2.warpAffine(mask.astype(np.float32), matrix, mask.shape[::-1])
    return cv2.dilate((warped > 0).astype(np.uint8), np.ones((9, 9))).astype(bool)


def coded_with(changed: np.ndarray) -> np.ndarray:
    """Pixels that a change may reach in a JPEG: all blocks that it touches, and two pixels more."""
    H, W = changed.shape
    padded = np.pad(changed, ((0, -H % MCU), (0, -W % MCU)))
    blocks = padded.reshape(padded.shape[0] // MCU, MCU, -1, MCU).any((1, 3))
    reached = blocks.repeat(MCU, 0).repeat(MCU, 1)[:H, :W]
    return cv2.dilate(reached.astype(np.uint8), np.ones((5, 5))).astype(bool)


def stays_inside(box: list[float], scale: float, shape: tuple[int, ...]) -> bool:
    """Whether a box scaled about its middle lies in a picture."""
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 * scale
    return bool((middle - half >= 0).all() and (middle + half <= [shape[1], shape[0]]).all())


def shorter_side(box: list[float]) -> float:
    """Of a box, in pixels."""
    return min(box[2] - box[0], box[3] - box[1])


def cover_of_disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """The share of each pixel that lies in a disc, (H, W); ``size`` is width and height."""
    x, y = ((np.arange(side * FINER) + 0.5) / FINER for side in size)
    inside = np.hypot(x - centre[0], y[:, None] - centre[1]) <= radius
    return inside.reshape(size[1], FINER, size[0], FINER).mean((1, 3))


def blended(cover: np.ndarray, front: float, back: float) -> np.ndarray:
    """A grey picture (H, W, 3) uint8."""
    return np.rint(back + (front - back) * cover)[..., None].repeat(3, 2).astype(np.uint8)


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float, front: float, back: float) -> Cutout:
    """A drawn disc, its mask of the pixels that it covers at least by half."""
    cover = cover_of_disc(size, centre, radius)
    box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    return Cutout(blended(cover, front, back), cover >= 0.5, box)


def rim_against_clean(pasted: np.ndarray, cutout: Cutout, scale: float, front: float, back: float) -> float:
    """How much brighter the rim is in the mean than that of a disc drawn at the scale, with the area of the mask."""
    H, W = cutout.mask.shape
    centre = ((cutout.box[0] + cutout.box[2]) / 2, (cutout.box[1] + cutout.box[3]) / 2)
    radius = np.sqrt(cutout.mask.sum() / np.pi) * scale
    clean = blended(cover_of_disc((W, H), centre, radius), front, back)
    band = abs(np.hypot(np.arange(W) + 0.5 - centre[0], np.arange(H)[:, None] + 0.5 - centre[1]) - radius) <= RIM
    return float(pasted[band].mean() - clean[band].mean())


def rims() -> Iterator[float]:
    """Of discs of several sizes, places, colours and scales."""
    for front, back in ((200, 50), (50, 200), (255, 0), (0, 255)):
        for radius in (16, 30.3, 45):
            for centre in ((80, 70), (80.37, 69.6)):
                cutout = disc((160, 140), centre, radius, front, back)
                for scale in SCALES:
                    pasted, _ = paste(np.full_like(cutout.image, back), cutout, scale)
                    yield rim_against_clean(pasted, cutout, scale, front, back)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    figures = measure(options.annotations, options.pictures, options.split, options.workers).report()
    figures["rim of 168 discs, largest difference of its mean luminance"] = round(max(map(abs, rims())), 2)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
