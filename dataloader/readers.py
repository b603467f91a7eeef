"""Shards and Hugging Face sets, opened by timm's readers: pictures by their numbers, or one after the other."""

from __future__ import annotations

import io
import json
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import chain
from tarfile import TarError
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from config.imagenet import ImageDataConfig
from config.schema import ConfigError
from dataloader.groups import SCALED
from dataloader.pictures import decode

EXTRA = 'pip install ".[shards]"'
PACKAGES = {"wds": "webdataset", "hfds": "datasets", "hfids": "datasets"}
STREAMS = ("wds", "hfids")
PICTURE_KEYS = ("jpg", "jpeg", "png", "webp")  # in a shard; the class is cls, or the split's field of json
NAME_COLUMNS = ("file_name", "filename")  # of Hugging Face sets that keep the names of their files
IMAGE, LABEL = "image", "label"


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
        num_classes: that labels are below.
    """

    def __init__(self, title: str, total: int | None, numbered: Callable[[Any], int], num_classes: int):
        self.title, self.total, self.numbered, self.num_classes = title, total, numbered, num_classes

    def pictures(self, seed: int | None = None) -> Iterator[Encoded]:
        """All of them: as they lie there, or with their shards in an order drawn by the seed."""
        for picture in self.read(seed):
            if picture.problem:
                yield picture
                continue
            try:
                number = self.numbered(picture.label)
            except ValueError as error:
                raise ConfigError(f"{picture.place}: {picture.name}: {error}") from error
            yield picture._replace(label=number)

    @abstractmethod
    def read(self, seed: int | None) -> Iterator[Encoded]:
        """The same with the labels of the data."""


class ShardStream(Stream):
    """Tar files in the WebDataset layout."""

    def __init__(self, reader: Any, title: str, numbered: Callable[[Any], int], num_classes: int):
        super().__init__(title, reader.num_samples or None, numbered, num_classes)
        self.shards = [os.path.join(reader.root, name) for name in reader.split_info.filenames]
        self.field, self.name_key = reader.split_info.alt_label, reader.filename_key

    def read(self, seed: int | None) -> Iterator[Encoded]:
        import webdataset

        for shard in _ordered(self.shards, seed):
            try:
                for sample in webdataset.tarfile_to_samples()([{"url": shard}]):
                    yield from self._encoded(shard, sample)
            except (OSError, TarError) as error:
                reason = getattr(error, "strerror", None) or (error.args or [type(error).__name__])[0]
                raise ConfigError(f"{shard} cannot be read ({reason})") from error

    def _encoded(self, shard: str, sample: Mapping[str, Any]) -> Iterator[Encoded]:
        key = sample["__key__"]
        data = next((sample[ending] for ending in PICTURE_KEYS if ending in sample), None)
        fields, problem = _fields(sample.get("json", b"{}"))
        label: Any = fields.get(self.field) if self.field else sample.get("cls")
        if data is None or (label is None and not problem):
            missing = f"picture ({', '.join(PICTURE_KEYS)})" if data is None else f"class ({self.field or 'cls'})"
            has = sorted(name for name in sample if not name.startswith("__"))
            raise ConfigError(f"{shard}: {key} has no {missing}, only {', '.join(has)}; a key ends at its first dot")
        number = _integer(label) if self.field else 0
        if problem or number is None:
            problem = problem or f"its {self.field} is {label!r:.80}; expected a number"
            yield Encoded(shard, key, data, 0, problem)  # under its key, by which it is found
        elif number >= 0:  # or else it is without this other label: so timm's sets mark that
            yield Encoded(shard, str(fields.get(self.name_key) or key), data, label)


class HubStream(Stream):
    """A Hugging Face set that is not brought to the disk."""

    def __init__(self, reader: Any, title: str, numbered: Callable[[Any], int], num_classes: int):
        splits = reader.builder.info.splits or {}
        total = splits[reader.split].num_examples if reader.split in splits else None
        super().__init__(title, total or None, numbered, num_classes)
        self.rows = _undecoded(reader.dataset, title)

    def read(self, seed: int | None) -> Iterator[Encoded]:
        # not by its own shuffle, whose order differs from version to version
        parts = [self.rows.shard(self.rows.num_shards, part) for part in _ordered(range(self.rows.num_shards), seed)]
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
            raise ConfigError(f"{title}: {error}") from error
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


def kind_of(config: ImageDataConfig) -> str:
    """wds, hfds or hfids; or folder, or shapes."""
    return config.name.partition("/")[0]


def build_stream(config: ImageDataConfig, split: str, classes: Mapping[str, int]) -> Stream:
    """A split that is read from its beginning."""
    reader, title = _reader(config, split), _title(config, split)
    numbered = _numbering(_class_names(reader), classes)
    return (ShardStream if kind_of(config) == "wds" else HubStream)(reader, title, numbered, len(classes))


def build_hub_source(config: ImageDataConfig, split: str, classes: Mapping[str, int]) -> HubSource:
    """A split on the disk."""
    reader = _reader(config, split)
    return HubSource(reader, _title(config, split), _numbering(_class_names(reader), classes))


def build_class_names(config: ImageDataConfig) -> Sequence[str]:
    """That the data itself gives, or numbers, where ``data.num_classes`` says how many."""
    names = _class_names(_reader(config, config.train_split))
    if not names and config.num_classes is None:
        raise ConfigError(
            f"data.class_map is null, but {_title(config, config.train_split)} names no classes; expected a file of "
            "their names, or their number in data.num_classes"
        )
    return names or [str(number) for number in range(config.num_classes or 0)]


def _reader(config: ImageDataConfig, split: str) -> Any:
    kind, _, name = config.name.partition("/")
    if find_spec(PACKAGES[kind]) is None:
        raise ConfigError(f"data.name is {config.name!r}, which needs the package {PACKAGES[kind]}: {EXTRA}")
    if kind == "wds":
        from timm.data.readers.reader_wds import ReaderWds

        if config.root is None:
            raise ConfigError("data.root is null; expected the folder of the shards: --data_dir DIR, or data.root=DIR")
        try:
            return ReaderWds(os.path.expanduser(config.root), name, split)
        except (RuntimeError, KeyError) as error:
            raise ConfigError(
                f"{config.root} has no split {split!r} ({error}); expected one of its _info.json, or shards with the "
                "number of pictures, such as train-{0000..0099}.tar|100000"
            ) from error
    # not by timm's create_reader, which makes names lower case in older versions
    try:
        if kind == "hfds":
            from timm.data.readers.reader_hfds import ReaderHfds

            return ReaderHfds(name, config.root, split)
        from timm.data.readers.reader_hfids import ReaderHfids

        # it refuses a set of unknown length where it is told none
        reader: Any = ReaderHfids(name, config.root, split, num_samples=1)
        reader.dataset = reader.builder.as_streaming_dataset(split=split)  # as the other one has
        return reader
    except (KeyError, ValueError, ConnectionError) as error:
        raise ConfigError(f"{_title(config, split)} cannot be opened ({error})") from error


def _title(config: ImageDataConfig, split: str) -> str:
    name = f"{config.root}" if kind_of(config) == "wds" else config.name.partition("/")[2]
    return f"{name} ({split})"


def _class_names(reader: Any) -> Sequence[str]:
    """Of a Hugging Face set that has them."""
    features = getattr(getattr(reader, "dataset", None), "features", None) or {}
    return getattr(features.get(LABEL), "names", None) or ()


def _numbering(names: Sequence[str], classes: Mapping[str, int]) -> Callable[[Any], int]:
    """By the names of the classes, where the class map knows them; where it knows none, a label is the number."""
    unknown = [name for name in names if name not in classes]
    if unknown and (len(unknown) < len(names) or len(names) != len(classes)):
        raise ConfigError(
            f"the data names {len(names)} classes, of which the class map with its {len(classes)} does not know "
            f"{len(unknown)}, {unknown[0]!r} for instance; name another with data.class_map=FILE, or take those of the "
            "data with data.class_map=null"
        )
    return partial(_number_of, range(len(classes)) if unknown or not names else [classes[name] for name in names])


def _number_of(table: Sequence[int], label: Any) -> int:
    number = _integer(label)
    if number is None or not 0 <= number < len(table):
        raise ValueError(f"the label is {label!r}; expected 0 to {len(table) - 1}, as there are {len(table)} classes")
    return table[number]


def _integer(label: Any) -> int | None:
    try:
        return int(label)
    except (TypeError, ValueError, OverflowError):  # the last of Infinity, which JSON may hold
        return None


def _fields(content: bytes) -> tuple[dict[str, Any], str]:
    """Of a picture's JSON, and what is wrong with that."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        return {}, f"its json is damaged: {error}"
    return (fields, "") if isinstance(fields, dict) else ({}, "its json is no mapping of names to values")


def _ordered(shards: Sequence[Any], seed: int | None) -> Sequence[Any]:
    return shards if seed is None else random.Random(seed).sample(shards, len(shards))


def _undecoded(rows: Any, title: str) -> Any:
    import datasets

    if rows.features is not None and not {IMAGE, LABEL} <= rows.features.keys():
        raise ConfigError(f"{title} has the columns {', '.join(rows.features)}; expected {IMAGE} and {LABEL}")
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
