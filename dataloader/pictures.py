"""Labelled pictures, decoded and transformed in worker processes; what cannot be read is reported and replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.folder import Files
from dataloader.groups import ScaleGroups
from dataloader.seeded import seeded
from layers.seeds import seed_of

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")  # others need programs beside PIL
ATTEMPTS = 10  # other files that are tried in the place of one that cannot be read

Transform = Callable[[Image.Image], Tensor]


class BrokenPictures(ValueError):
    """More pictures could not be read than a run puts up with."""


class Source(Protocol):
    """Where pictures come from: a folder, or one of timm's readers."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """For messages."""

    def read(self, number: int) -> Image.Image:
        """The decoded picture in RGB."""


class FolderSource:
    """Files of a folder."""

    def __init__(self, files: Files):
        self.files, self.labels = files, files.labels

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, number: int) -> str:
        return str(self.files.root / self.files.name(number))

    def read(self, number: int) -> Image.Image:
        return decode(self.name(number))


def decode(file: str | IO[bytes]) -> Image.Image:
    """A picture's file in RGB.

    Raises:
        Exception: of any kind, for PIL's plugins raise whatever they meet in a damaged file.
    """
    try:
        with Image.open(file, formats=KINDS) as image:
            return rgb(image)
    except UnidentifiedImageError:  # whose message would name an address
        raise ValueError(f"it is none of {', '.join(KINDS)}") from None


def rgb(image: Image.Image) -> Image.Image:
    """A picture of any kind in RGB, upright, without its transparency."""
    image.load()  # before the next lines, which would pass over damaged pixels: PIL complains of some but once
    with suppress(Exception):  # of any kind: behind a damaged EXIF block, sound pixels stay as they lie
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits, which PIL would cut off at 255: nearly all white
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


class Decoding(Dataset):
    """What decodes pictures: those that cannot be read are reported, and counted up to a limit.

    Args:
        transform: from a picture to a tensor.
        flags: pictures that are told apart in counting.
        broken_limit: pictures that cannot be read before ``check`` raises.
    """

    def __init__(self, transform: Transform, flags: int, broken_limit: int):
        self.transform, self.broken_limit = transform, broken_limit
        self.broken = torch.zeros(flags, dtype=torch.bool).share_memory_()  # workers write here too

    def decoded(self, flag: int, name: str, read: Callable[[], Image.Image]) -> Image.Image | None:
        """The picture, or None, reported and counted, if it cannot be read."""
        try:
            return read()
        except Exception as error:  # of any kind, see `decode`
            if not self.broken[flag]:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                print(f"{name} cannot be read ({reason})", file=sys.stderr, flush=True)
            self.broken[flag] = True
            return None

    def empty(self) -> Tensor:
        """What stands for a picture that cannot be read."""
        return torch.zeros_like(self.transform(Image.new("RGB", (64, 64))))

    def count_broken(self, summed: Callable[[Tensor], Tensor] = lambda values: values) -> int:
        """Pictures that could not be read so far, by any of the processes that ``summed`` sums over."""
        return int(summed(self.broken.int()).count_nonzero())

    def check(self) -> None:
        """Raise where more pictures than the limit could not be read."""
        if (count := self.count_broken()) > self.broken_limit:
            raise BrokenPictures(
                f"{count} pictures could not be read, {self.example()}; data.broken_limit allows {self.broken_limit}"
            )

    def example(self) -> str:
        """Where to look for one of them."""
        return "see the messages above"


class Pictures(Decoding):
    """(tensor, label) of every picture of a source.

    Args:
        source: of the pictures.
        transform: from a picture to a tensor.
        groups: which of them show one object.
        num_classes: that labels are below.
        broken_limit: pictures that cannot be read before ``check`` raises.
    """

    def __init__(
        self, source: Source, transform: Transform, groups: ScaleGroups, num_classes: int, broken_limit: int = 100
    ):
        if len(source) and not 0 <= source.labels.min() <= source.labels.max() < num_classes:
            raise ValueError(
                f"there are labels from {source.labels.min()} to {source.labels.max()}; expected 0 to "
                f"{num_classes - 1}, as there are {num_classes} classes"
            )
        super().__init__(transform, len(source), broken_limit)
        self.source, self.groups, self.num_classes = source, groups, num_classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """A picture that cannot be read is empty, with the label -1, which evaluation leaves out."""
        image = self.read(number)
        if image is None:
            return self.empty(), -1
        return self.transform(image), int(self.source.labels[number])

    def read(self, number: int) -> Image.Image | None:
        """The picture, or None, reported and counted, if it cannot be read."""
        return self.decoded(number, self.source.name(number), lambda: self.source.read(number))

    def example(self) -> str:
        return f"{self.source.name(int(self.broken.nonzero()[0, 0]))} for instance"


class TrainingPictures(Dataset):
    """Randomly transformed pictures: what happens to one depends on (seed, epoch, its number) alone.

    Args:
        pictures: with the transform of the training.
        items: numbers of those that are trained on; others of them take the place of what cannot be read.
        seed: of the run.
    """

    def __init__(self, pictures: Pictures, items: Sequence[int], seed: int):
        self.pictures, self.items, self.seed, self.epoch = pictures, items, seed, 0

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def num_classes(self) -> int:
        """That labels are below."""
        return self.pictures.num_classes

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from here on."""
        self.epoch = epoch

    def check(self) -> None:
        """Raise where more pictures than the limit could not be read."""
        self.pictures.check()

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        for attempt in range(ATTEMPTS):
            image = self.pictures.read(number)
            if image is not None:
                with seeded(self.seed, "transform", self.epoch, number):
                    return self.pictures.transform(image), int(self.pictures.source.labels[number])
            draw = seed_of(self.seed, "replacement", self.epoch, number, attempt)
            number = int(self.items[draw % len(self.items)])
        raise BrokenPictures(f"none of {ATTEMPTS} pictures in a row could be read; see the messages above")
