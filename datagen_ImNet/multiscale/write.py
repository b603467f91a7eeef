"""The last stage: pastes the object at every scale, and puts files in place whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image

from multiscale.compositor import Cutout, paste
from multiscale.errors import CannotWrite
from multiscale.manifest import Record
from multiscale.picture import Picture
from multiscale.preview import contact_sheet
from multiscale.settings import Job

PARTIAL = ".partial"  # in the split: takes files until they are whole


class Write:
    """Writes the scales of each picture, and says what became of it.

    Args:
        job: with the settings, the folder of the set, and what is to be drawn for people.
    """

    def __init__(self, job: Job):
        self.job, self.settings = job, job.settings

    def __call__(self, pictures: list[Picture]) -> list[Record]:
        records = []
        for picture in pictures:
            records.append(self.write(picture))
            picture.forget_pixels()
        return records

    def write(self, picture: Picture) -> Record:
        """Its line in the manifest."""
        record = described(picture)
        if picture.skipped is not None:
            return record | {"skipped": picture.skipped, "reason": picture.reason}
        scaled = self.scaled(picture)
        files = {f"{scale:g}": self.save(picture, scale, *shown) for scale, shown in scaled.items()}
        label, name = picture.source.label, picture.source.name
        if picture.number < self.job.preview:
            sheet = contact_sheet(picture, {scale: image for scale, (image, _) in scaled.items()})
            self.place(encoded(sheet, "PNG"), self.job.output / "preview" / self.job.subset, f"{label}/{name}.png")
        if self.job.debug:
            between = {"mask": picture.mask * 255, "hole": picture.hole * 255, "background": picture.background}
            for kind, pixels in between.items():
                content = encoded(np.asarray(pixels).astype(np.uint8), "PNG")
                self.place(content, self.job.output / "debug" / self.job.subset, f"{label}/{name}_{kind}.png")
        return record | {"files": files}

    def scaled(self, picture: Picture) -> dict[float, tuple[np.ndarray, float]]:
        """The picture with its object at every scale, and the object's area in it."""
        cutout = Cutout(picture.image, picture.mask, picture.box)
        shown = {}
        for scale in self.settings.scale_factors:
            if scale == 1 and self.settings.scale_one == "original":
                shown[scale] = picture.image, float(picture.mask.sum())
            else:
                shown[scale] = paste(picture.background, cutout, scale)
        return shown

    def save(self, picture: Picture, scale: float, image: np.ndarray, area: float) -> Record:
        """Puts a scale of a picture in place, and describes its file."""
        content = encoded(image, "JPEG", quality=self.settings.jpeg_quality)
        name = f"{picture.source.label}/{picture.source.name}_scale_{scale:g}.JPEG"
        self.place(content, self.job.split, name)
        checksum = hashlib.sha256(content).hexdigest()
        return {"file": name, "area": round(area, 2), "bytes": len(content), "sha256": checksum}

    def place(self, content: bytes, folder: Path, name: str) -> None:
        """Writes a file beside the set and moves it to its place below a folder: there is never a part of one."""
        path = folder / name
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise CannotWrite(f"{path} lies outside of {folder}; nothing is written there")
        partial = self.job.split / PARTIAL / uuid4().hex
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.parent.mkdir(exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError as error:
            raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error


def described(picture: Picture) -> Record:
    """What the stages found out, for the manifest."""
    source = picture.source
    record: Record = {"source": source.file, "class": source.label, "name": source.name}
    if source.object_id is not None:
        record["object"] = source.object_id
    record |= {"sha256": picture.checksum, "size": picture.size}
    if picture.box_score is not None:
        record |= {"box": [round(side, 2) for side in picture.box], "scores": {"box": round(picture.box_score, 4)}}
    if picture.mask_score is not None:
        record["scores"]["mask"] = round(picture.mask_score, 4)
        record["mask_area"] = picture.mask_area
    return record


def encoded(image: np.ndarray | Image.Image, kind: str, **options: int) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def sweep(split: Path) -> None:
    """Removes what a killed run left half written."""
    shutil.rmtree(split / PARTIAL, ignore_errors=True)
