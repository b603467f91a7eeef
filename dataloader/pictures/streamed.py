"""Splits of pictures that can only be read one after the other: the first ones are held out of the training.

Every process reads what it is judged by once at the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from config.schema import ConfigError, PictureData
from dataloader.pictures.groups import neighbours, show_the_same
from dataloader.pictures.plan import Plan
from dataloader.pictures.siblings import FILES
from dataloader.pictures.sources import build_stream
from dataloader.pictures.stream_training import StreamOrder, TrainingDecoded
from dataloader.pictures.streams import Decoded, Encoded, Stream, mark_of
from dataloader.splits import Part, Splits


def build_part(plan: Plan, data: PictureData, split: str) -> Part:
    """Of a split that is evaluated: its first pictures, or all."""
    part, _ = _first(plan, build_stream(data, split, plan.classes), plan.config.evaluation.items)
    return part


def build_training(plan: Plan) -> Splits:
    """Of the training split; where its groups are, is not known before all is read."""
    data, evaluation = plan.data, plan.config.evaluation
    if plan.siblings:
        raise ConfigError(
            f"a stream's pictures have no siblings, and data.name is {data.name!r}; expected folder, shapes or "
            f"hfds/NAME, with {FILES}"
        )
    if evaluation.split == "held_out":
        raise ConfigError(f"evaluation.split is held_out, which data.name={data.name} cannot do; expected val")
    stream = build_stream(data, data.train_split, plan.classes)
    known = _least_known(stream.total, data)
    calibration, marks = _first(plan, stream, min(evaluation.calibration_items, known // 5))
    size = data.train_samples or known
    if stream.total is not None:
        size = min(size, stream.total - len(marks))
    dataset = TrainingDecoded(plan.random, data.broken_limit, plan.seed)
    loader = plan.loader(dataset, partial(StreamOrder, stream, size, frozenset(marks)))
    return plan.training(size, stream.total or size, train=loader, calibration=calibration, evaluated={})


def _first(plan: Plan, stream: Stream, items: int | None) -> tuple[Part, list[bytes]]:
    """So many pictures from the beginning, or all, but no group of which a part would be left; and their marks."""
    names: list[str] = []
    marks: list[bytes] = []
    for picture in stream.pictures():
        if items is not None and len(names) >= items and not show_the_same(names[-1], picture.name):
            break
        names.append(picture.name)
        marks.append(mark_of(picture))
    if not names:
        raise ValueError(f"{stream.title} has no pictures")
    groups = neighbours(names)
    dataset = Decoded(plan.plain, plan.data.broken_limit)
    return plan.part(dataset, groups, groups.members, partial(Walk, stream)), marks


def _least_known(total: int | None, config: PictureData) -> int:
    """Pictures of a stream, of which an epoch and a fifth for the temperature are taken."""
    known = total or config.train_samples
    if known is None:
        raise ConfigError(
            f"{config.name} ({config.train_split}) does not say how many pictures it has; expected the pictures of an "
            "epoch in data.train_samples"
        )
    if known < 5:
        raise ConfigError(f"the training split has {known} pictures; too few to hold a fifth out of them")
    return known


class Walk:
    """Batches of pictures by their numbers in a stream, which is read once for all of them, and no further.

    Args:
        stream: the pictures.
        batches: numbers that rise, except for neighbours: what came too early waits in the memory.
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
