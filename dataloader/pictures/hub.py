"""Hugging Face sets: on the disk, or read one after the other without being brought there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image

from dataloader.pictures.groups import SCALED
from dataloader.pictures.streams import Encoded, Stream, ordered

NAME_COLUMNS = ("file_name", "filename")  # of sets that keep the names of their files
IMAGE, LABEL = "image", "label"


class HubStream(Stream):
    """A Hugging Face set that is not brought to the disk."""

    def __init__(self, reader: Any, title: str, numbered: Callable[[Any], int]):
        splits = reader.builder.info.splits or {}
        total = splits[reader.split].num_examples if reader.split in splits else None
        super().__init__(title, total or None, numbered)
        self.rows = _undecoded(reader.dataset, title)

    def read(self, seed: int | None) -> Iterator[Encoded]:
        # not by its own shuffle, whose order differs from version to version
        parts = [self.rows.shard(self.rows.num_shards, part) for part in ordered(range(self.rows.num_shards), seed)]
        for number, row in enumerate(chain.from_iterable(parts)):
            name = next((row[column] for column in NAME_COLUMNS if row.get(column)), None)
            name = name or (row[IMAGE] or {}).get("path") or f"picture {number}"
            try:
                data = _content(row[IMAGE])
            except (OSError, ValueError):  # counted where it is decoded
                data = b""
            yield Encoded(self.title, str(name), data, row[LABEL])


class HubSource:
    """A Hugging Face set on the disk."""

    def __init__(self, reader: Any, title: str, numbered: Callable[[Any], int]):
        self.title, self.rows = title, _undecoded(reader.dataset, title)
        # a table that is mapped into the memory: no picture is read from the disk
        labels = self.rows.with_format("arrow")[:].column(LABEL).to_pylist()
        try:
            of_label = {label: numbered(label) for label in set(labels)}
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        self.labels = np.array([of_label[label] for label in labels], np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, number: int) -> str:
        return f"picture {number} of {self.title}"

    def read(self, number: int) -> Image.Image:
        return Encoded("", "", _content(self.rows[number][IMAGE]), 0).decoded()

    def names(self) -> list[str]:
        """To group the pictures by; one without a scale in its name gets a name of its own."""
        import pyarrow.compute

        table = self.rows.with_format("arrow")[:]
        column = next((name for name in NAME_COLUMNS if name in table.column_names), None)
        found = table.column(column) if column else pyarrow.compute.struct_field(table.column(IMAGE), "path")
        names = [(name or "").rpartition("/")[2] for name in found.to_pylist()]
        return [
            f"{label}/{name}" if SCALED.fullmatch(name) else str(number)
            for number, (label, name) in enumerate(zip(self.labels, names, strict=True))
        ]


def class_names(reader: Any) -> Sequence[str]:
    """That a set gives, if it does."""
    features = getattr(getattr(reader, "dataset", None), "features", None) or {}
    return getattr(features.get(LABEL), "names", None) or ()


def _undecoded(rows: Any, title: str) -> Any:
    import datasets

    if rows.features is not None and not {IMAGE, LABEL} <= rows.features.keys():
        raise ValueError(f"{title} has the columns {', '.join(rows.features)}; expected {IMAGE} and {LABEL}")
    return rows.cast_column(IMAGE, datasets.Image(decode=False))


def _content(image: Mapping[str, Any] | None) -> bytes:
    """Of a picture's file."""
    import fsspec

    if not image or not (image["bytes"] or image["path"]):
        raise ValueError("there is no picture")
    if image["bytes"]:
        return image["bytes"]
    with fsspec.open(image["path"], "rb") as file:
        return file.read()
