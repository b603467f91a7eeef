"""Pictures that can only be read one after the other, undecoded, and what decodes them."""

from __future__ import annotations

import hashlib
import io
import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from dataloader.pictures.decoding import BrokenPictures, Decoding, Transform, decode

SLOTS = 2**18  # of flags for broken pictures, so many that two rarely share one


class Encoded(NamedTuple):
    """A picture as it lies in the data, with its number of the class.

    Args:
        place: where it was found, for messages.
        name: of its file.
        data: the content of the file; empty where it could not be had.
        label: number of its class.
        problem: what else is wrong with it; it counts as broken then, and its label as nothing.
    """

    place: str
    name: str
    data: bytes
    label: int
    problem: str = ""

    def decoded(self) -> Image.Image:
        """In RGB."""
        if self.problem:
            raise ValueError(self.problem)
        return decode(io.BytesIO(self.data))


class Stream(ABC):
    """Pictures that can be read from the first to the last, and in no other way.

    Args:
        title: for messages.
        total: pictures in it; None where the data does not say so.
        numbered: from a label of the data to the number of its class; a ValueError says what is wrong with it.
    """

    def __init__(self, title: str, total: int | None, numbered: Callable[[Any], int]):
        self.title, self.total, self.numbered = title, total, numbered

    def pictures(self, seed: int | None = None) -> Iterator[Encoded]:
        """All of them: as they lie there, or with their shards in an order drawn by the seed."""
        for picture in self.read(seed):
            if picture.problem:
                yield picture
                continue
            try:
                number = self.numbered(picture.label)
            except ValueError as error:
                raise BrokenPictures(f"{picture.place}: {picture.name}: {error}") from error
            yield picture._replace(label=number)

    @abstractmethod
    def read(self, seed: int | None) -> Iterator[Encoded]:
        """The same with the labels of the data."""


class Decoded(Decoding):
    """(tensor, label, number) of pictures that the batch sampler hands over undecoded.

    Args:
        transform: from a picture to a tensor.
        broken_limit: pictures that cannot be read before ``check`` raises.
    """

    def __init__(self, transform: Transform, broken_limit: int):
        super().__init__(transform, SLOTS, broken_limit)

    def __getitem__(self, item: tuple[int, Encoded]) -> tuple[Tensor, int, int]:
        """A picture that cannot be read is empty, with the label -1, which evaluation leaves out."""
        number, picture = item
        image = self.read(picture)
        if image is None:
            return self.empty(), -1, number
        return self.transform(image), picture.label, number

    def read(self, picture: Encoded) -> Image.Image | None:
        """The picture, or None, reported and counted, if it cannot be read."""
        slot = zlib.crc32(picture.data, zlib.crc32(picture.name.encode(errors="surrogatepass"))) % SLOTS
        return self.decoded(slot, f"{picture.place}: {picture.name}", picture.decoded)


def mark_of(picture: Encoded) -> bytes:
    """What a picture is known by, in a stream whose order changes and that may have no names."""
    return hashlib.blake2b(picture.data, digest_size=16).digest()


def integer(label: Any) -> int | None:
    """Of whatever the data gives as a label, where it is one."""
    try:
        return int(label)
    except (TypeError, ValueError, OverflowError):  # the last of Infinity, which JSON may hold
        return None


def ordered(shards: Sequence[Any], seed: int | None) -> Sequence[Any]:
    """As they lie there, or in an order drawn by the seed."""
    return shards if seed is None else random.Random(seed).sample(shards, len(shards))
