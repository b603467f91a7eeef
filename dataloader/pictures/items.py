"""Labelled pictures that are found by their numbers, transformed; what cannot be read is replaced in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from dataloader.pictures.decoding import BrokenPictures, Decoding, Transform
from dataloader.pictures.groups import ScaleGroups
from dataloader.seeded import seeded
from layers.seeds import seed_of

ATTEMPTS = 10  # other files that are tried in the place of one that cannot be read


class Source(Protocol):
    """Where pictures come from: a folder, a Hugging Face set, or a generator of shapes."""

    labels: np.ndarray

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """For messages."""

    def names(self) -> list[str]:
        """To group the pictures by."""

    def read(self, number: int) -> Image.Image:
        """The decoded picture in RGB."""


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
        self.source, self.groups = source, groups

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


class TrainingPictures(Pictures):
    """Randomly transformed: what happens to a picture depends on (seed, epoch, its number) alone.

    Args:
        items: numbers of those that are trained on; others of them take the place of what cannot be read.
        seed: of the run.
        of_pictures: see ``Pictures``.
    """

    def __init__(self, *of_pictures: Any, items: Sequence[int], seed: int):
        super().__init__(*of_pictures)
        self.items, self.seed, self.epoch = items, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw afresh from here on."""
        self.epoch = epoch

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        number, (image,) = self.readable(number, lambda item: [item])
        return self.drawn(image, number), int(self.source.labels[number])

    def readable(self, number: int, files_of: Callable[[int], Sequence[int]]) -> tuple[int, list[Image.Image]]:
        """The number of an item, and its pictures; where one of them cannot be read, another item takes the place.

        Args:
            number: of the item.
            files_of: numbers of the pictures that an item needs.
        """
        for attempt in range(ATTEMPTS):
            images = [self.read(file) for file in files_of(number)]
            found = [image for image in images if image is not None]
            if len(found) == len(images):
                return number, found
            draw = seed_of(self.seed, "replacement", self.epoch, number, attempt)
            number = int(self.items[draw % len(self.items)])
        raise BrokenPictures(f"none of {ATTEMPTS} pictures in a row could be read; see the messages above")

    def drawn(self, image: Image.Image, number: int) -> Tensor:
        """A picture through the draw of this item."""
        with seeded(self.seed, "transform", self.epoch, number):
            return self.transform(image)
