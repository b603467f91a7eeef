"""Pictures decoded in worker processes: in RGB, of any kind; what cannot be read is reported and counted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")  # others need programs beside PIL

Transform = Callable[[Image.Image], Tensor]


class BrokenPictures(ValueError):
    """Pictures that a run cannot go on with."""


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
    with suppress(Exception):  # of any kind: after a damaged EXIF block, sound pixels stay as they lie
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
