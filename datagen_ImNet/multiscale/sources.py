"""Which pictures there are, and which of them are taken, in which order."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from multiscale.errors import NoPictures
from multiscale.picture import Source

Sampling = Literal["uniform", "balanced"]


def read_synsets(path: Path) -> frozenset[str]:
    """The classes of a text file with one per line; what follows its first word is left aside."""
    if not path.is_file():
        raise NoPictures(f"there is no file {path}; expected one with a class per line")
    return frozenset(line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip())


def folder_sources(folder: Path) -> list[Source]:
    """What lies in ``folder/class/`` and is not hidden, in order of its names; a run says what is no picture."""
    if not folder.is_dir():
        beside = ", ".join(sorted(path.name for path in folder.parent.glob("*/"))) or "none"
        raise NoPictures(f"there is no folder {folder}; folders beside it: {beside}")
    sources = []
    for label in sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        files = sorted(name for name in os.listdir(folder / label) if name[0] != ".")
        stems = [os.path.splitext(file)[0] for file in files]
        names = stems if len({*stems}) == len(stems) else files  # a.jpg and a.png must not write to the same files
        sources += [Source(f"{label}/{file}", label, name) for file, name in zip(files, names, strict=True)]
    if not sources:
        raise NoPictures(f"{folder} has no pictures; expected {folder}/CLASS/NAME.JPEG")
    return sources


def sampled(sources: Sequence[Source], sampling: Sampling, seed: int, count: int) -> list[Source]:
    """At most ``count`` sources in random order; a larger count begins with the same ones.

    Args:
        sources: to choose from.
        sampling: ``uniform`` over pictures, or ``balanced``: one of each class in turn.
        seed: of the order.
        count: of those that are taken.
    """
    order = list(sources)
    random.Random(seed).shuffle(order)
    if sampling == "balanced":
        of_class = defaultdict(list)
        for source in order:
            of_class[source.label].append(source)
        rounds = zip_longest(*(of_class[label] for label in sorted(of_class)))
        order = [source for one_of_each in rounds for source in one_of_each if source is not None]
    return order[:count]
