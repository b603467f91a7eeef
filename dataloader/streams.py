"""Training on and evaluating pictures that can only be read one after the other.

Every process reads the whole stream in one order, keeps its part, and lets its workers decode that: the order is the
same for any number of processes and workers. The cost: P processes read everything P times, undecoded and in their
main thread, a run that goes on within an epoch first reads to its place, and every process reads val once at the start.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from dataloader.groups import SCALED, ScaleGroups, first_of
from dataloader.order import BatchOrder
from dataloader.pictures import BrokenPictures, Decoding, Transform
from dataloader.readers import Encoded, Stream
from dataloader.seeded import seeded
from layers.seeds import seed_of

SHUFFLED = 2048  # pictures that one is drawn from; encoded ones of ImageNet take 110 KB each
SPARES = 5  # pictures of an epoch that stand in for those that cannot be read
SLOTS = 2**18  # of flags for broken pictures, so many that two rarely share one


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


class Part(NamedTuple):
    """One process's part of a batch.

    Args:
        epoch: of the batch.
        items: each with its number in the epoch.
        spares: the first pictures of the epoch.
    """

    epoch: int
    items: list[tuple[int, Encoded]]
    spares: list[Encoded]


class TrainingDecoded(Decoded):
    """Randomly transformed: what happens to a picture depends on (seed, epoch, its number in the epoch) alone."""

    def __init__(self, transform: Transform, broken_limit: int, seed: int):
        super().__init__(transform, broken_limit)
        self.seed = seed

    def __getitems__(self, part: Part) -> list[tuple[Tensor, int, int]]:
        return [self._made(part, number, picture) for number, picture in part.items]

    def _made(self, part: Part, number: int, picture: Encoded) -> tuple[Tensor, int, int]:
        first = seed_of(self.seed, "replacement", part.epoch, number)
        others = (part.spares[(first + attempt) % len(part.spares)] for attempt in range(len(part.spares)))
        for candidate in chain([picture], others):
            image = self.read(candidate)
            if image is not None:
                with seeded(self.seed, "transform", part.epoch, number):
                    return self.transform(image), candidate.label, number
        raise BrokenPictures(f"none of {1 + len(part.spares)} pictures could be read; see the messages above")


class StreamTraining:
    """What is trained on of a stream.

    Args:
        stream: of the training split.
        pictures: decodes and transforms them.
        size: pictures of an epoch; where the split has more, every epoch takes others of them.
        held_out: marks of those that are not trained on.
    """

    def __init__(self, stream: Stream, pictures: TrainingDecoded, size: int, held_out: frozenset[bytes]):
        self.stream, self.pictures, self.size, self.held_out = stream, pictures, size, held_out

    def __len__(self) -> int:
        """Pictures of the split, as far as it says so."""
        return self.stream.total or self.size

    @property
    def num_classes(self) -> int:
        """That labels are below."""
        return self.stream.num_classes

    def check(self) -> None:
        """Raise where more pictures than the limit could not be read."""
        self.pictures.check()

    def epoch(self, seed: int, epoch: int) -> Iterator[Encoded]:
        """Its pictures; a stream that has fewer than an epoch takes begins anew, in another order."""
        for turn in count():
            draws = random.Random(seed_of(seed, "shuffle", epoch, turn))
            kept = (
                picture
                for picture in self.stream.pictures(seed_of(seed, "shards", epoch, turn))
                if mark_of(picture) not in self.held_out
            )
            is_empty = True
            for picture in shuffled(kept, draws):
                is_empty = False
                yield picture
            if is_empty:
                raise ValueError(f"{self.stream.title} has no pictures to train on")


class StreamOrder(BatchOrder):
    """Batches of pictures in the order of an epoch, undecoded; every process gets its part of each."""

    def __init__(self, train: StreamTraining, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        super().__init__(range(train.size), batch_size, seed, rank, world)  # type: ignore[arg-type]  # 50 MB as a list
        self.train = train

    def __iter__(self) -> Iterator[Part]:  # type: ignore[override]
        pictures = self.train.epoch(self.seed, self.epoch)
        spares = list(islice(pictures, min(SPARES, len(self.items))))
        pictures = chain(spares, pictures)
        for step in range(len(self)):
            batch = list(islice(pictures, self._size(step)))
            if step >= self.start:
                places = self._places(len(batch), self.rank) or [0]  # see BatchOrder
                first = step * self.batch_size
                yield Part(self.epoch, [(first + place, batch[place]) for place in places], spares)


class Walk:
    """Batches of pictures by their numbers in a stream, which is read once for all of them, and no further.

    Args:
        stream: the pictures.
        batches: numbers that rise, but for neighbours: what came too early waits in the memory.
    """

    def __init__(self, stream: Stream, batches: Sequence[Sequence[int]]):
        self.stream, self.batches = stream, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, Encoded]]]:
        wanted = {number for batch in self.batches for number in batch}
        waiting: dict[int, Encoded] = {}
        pictures = enumerate(self.stream.pictures())
        for batch in self.batches:
            while not waiting.keys() >= set(batch):
                try:
                    number, picture = next(pictures)
                except StopIteration:
                    raise ValueError(f"{self.stream.title} has become shorter since it was first read") from None
                if number in wanted:
                    waiting[number] = picture
            yield [(number, waiting.pop(number)) for number in batch]


class StreamPart(NamedTuple):
    """Pictures from the beginning of a stream that a model is judged by, in batches of whole groups.

    Args:
        stream: the pictures.
        pictures: decodes them.
        groups: of them.
        batches: of their numbers.
        marks: that they are known by.
        workers: that decode.
    """

    stream: Stream
    pictures: Decoded
    groups: ScaleGroups
    batches: list[list[int]]
    marks: frozenset[bytes]
    workers: int

    def first(self, count: int) -> DataLoader:
        """(image, label, number) of so many pictures at the beginning."""
        return self.loader(first_of(self.batches, count))

    def loader(self, batches: list[list[int]]) -> DataLoader:
        """(image, label, number) of these batches."""
        walk = Walk(self.stream, batches)
        return DataLoader(self.pictures, batch_sampler=walk, num_workers=min(self.workers, len(batches)))


def first_part(stream: Stream, pictures: Decoded, items: int | None, batch_size: int, workers: int) -> StreamPart:
    """So many pictures from the beginning of a stream, or all, but no group of which a part would be left."""
    names: list[str] = []
    marks: list[bytes] = []
    for picture in stream.pictures():
        if items is not None and len(names) >= items and not _shows_the_same(names[-1], picture.name):
            break
        names.append(picture.name)
        marks.append(mark_of(picture))
    if not names:
        raise ValueError(f"{stream.title} has no pictures")
    groups = neighbours(names)
    return StreamPart(stream, pictures, groups, groups.batches(batch_size), frozenset(marks), workers)


def neighbours(names: Iterable[str]) -> ScaleGroups:
    """Groups of the pictures of one object that arrive one after the other; any other is a group by itself."""
    members: list[list[int]] = []
    scales: list[float] = []
    last = ""
    for number, name in enumerate(names):
        match = SCALED.fullmatch(name.rpartition("/")[2])
        scales.append(float(match["scale"]) if match else np.nan)
        if not (number and _shows_the_same(last, name)):
            members.append([])
        members[-1].append(number)
        last = name
    found = np.array(scales)
    return ScaleGroups([sorted(group, key=lambda item: (found[item] != 1, found[item])) for group in members], found)


def _shows_the_same(name: str, other: str) -> bool:
    """Whether two files are one object at two scales."""
    (folder, _, file), (other_folder, _, other_file) = name.rpartition("/"), other.rpartition("/")
    match, other_match = SCALED.fullmatch(file), SCALED.fullmatch(other_file)
    if match is None or other_match is None:
        return False
    return (folder, match["stem"]) == (other_folder, other_match["stem"])


def mark_of(picture: Encoded) -> bytes:
    """What a picture is known by, in a stream whose order changes and that may have no names."""
    return hashlib.blake2b(picture.data, digest_size=16).digest()


def shuffled(pictures: Iterable[Encoded], draws: random.Random) -> Iterator[Encoded]:
    """Each drawn from the next ``SHUFFLED`` ones."""
    waiting: list[Encoded] = []
    for picture in pictures:
        if len(waiting) < SHUFFLED:
            waiting.append(picture)
            continue
        place = draws.randrange(SHUFFLED)
        drawn, waiting[place] = waiting[place], picture
        yield drawn
    draws.shuffle(waiting)
    yield from waiting
