"""Training on pictures that can only be read one after the other.

Every process reads the whole stream in one order, keeps its part, and lets its workers decode that: the order is the
same for any number of processes and workers. The cost: P processes read everything P times, undecoded and in their
main thread, and a run that goes on within an epoch first reads to its place.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from typing import NamedTuple

from torch import Tensor

from dataloader.order import BatchOrder
from dataloader.pictures.decoding import BrokenPictures, Transform
from dataloader.pictures.streams import Decoded, Encoded, Stream, mark_of
from dataloader.seeded import seeded
from layers.seeds import seed_of

SHUFFLED = 2048  # pictures that one is drawn from; encoded ones of ImageNet take 110 KB each
SPARES = 5  # pictures of an epoch that stand in for those that cannot be read


class Share(NamedTuple):
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

    def __getitems__(self, share: Share) -> list[tuple[Tensor, int, int]]:
        return [self._made(share, number, picture) for number, picture in share.items]

    def _made(self, share: Share, number: int, picture: Encoded) -> tuple[Tensor, int, int]:
        first = seed_of(self.seed, "replacement", share.epoch, number)
        others = (share.spares[(first + attempt) % len(share.spares)] for attempt in range(len(share.spares)))
        for candidate in chain([picture], others):
            image = self.read(candidate)
            if image is not None:
                with seeded(self.seed, "transform", share.epoch, number):
                    return self.transform(image), candidate.label, number
        raise BrokenPictures(f"none of {1 + len(share.spares)} pictures could be read; see the messages above")


class StreamOrder(BatchOrder):
    """Batches of pictures in the order of an epoch, undecoded; every process gets its part of each.

    Args:
        stream: of the training split.
        size: pictures of an epoch; where the split has more, every epoch takes others of them.
        held_out: marks of those that are not trained on.
        of_batches: see ``BatchOrder``.
    """

    def __init__(self, stream: Stream, size: int, held_out: frozenset[bytes], *of_batches: int):
        super().__init__(range(size), *of_batches)  # type: ignore[arg-type]  # 50 MB as a list
        self.stream, self.held_out = stream, held_out

    def __iter__(self) -> Iterator[Share]:  # type: ignore[override]
        pictures = self._pictures()
        spares = list(islice(pictures, min(SPARES, len(self.items))))
        pictures = chain(spares, pictures)
        for step in range(len(self)):
            batch = list(islice(pictures, self._size(step)))
            if step >= self.start:
                places = self._places(len(batch), self.rank) or [0]  # see BatchOrder
                first = step * self.batch_size
                yield Share(self.epoch, [(first + place, batch[place]) for place in places], spares)

    def _pictures(self) -> Iterator[Encoded]:
        """Of an epoch; a stream that has fewer begins again, in another order."""
        for turn in count():
            draws = random.Random(seed_of(self.seed, "shuffle", self.epoch, turn))
            kept = (
                picture
                for picture in self.stream.pictures(seed_of(self.seed, "shards", self.epoch, turn))
                if mark_of(picture) not in self.held_out
            )
            is_empty = True
            for picture in shuffled(kept, draws):
                is_empty = False
                yield picture
            if is_empty:
                raise ValueError(f"{self.stream.title} has no pictures to train on")


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
