"""Where the pictures of a recipe lie: class folders, shapes, and what timm's readers open."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from config.schema import ConfigError, PictureData
from dataloader.pictures.folders import read_folder
from dataloader.pictures.hub import HubSource, HubStream, class_names
from dataloader.pictures.items import Source
from dataloader.pictures.shapes import ShapesSource
from dataloader.pictures.shards import ShardStream
from dataloader.pictures.streams import Stream, integer

EXTRA = 'pip install ".[shards]"'
PACKAGES = {"wds": "webdataset", "hfds": "datasets", "hfids": "datasets"}


def kind_of(config: PictureData) -> str:
    """wds, hfds or hfids; or folder, or shapes."""
    return config.name.partition("/")[0]


def is_stream(config: PictureData) -> bool:
    """Whether pictures can only be read one after the other."""
    return kind_of(config) in ("wds", "hfids")


def root_of(config: PictureData) -> Path:
    """The folder above the splits."""
    if config.root is None:
        raise ConfigError("data.root is null; expected the folder above the splits: --data_dir DIR, or data.root=DIR")
    return Path(config.root).expanduser()


def build_source(config: PictureData, split: str, classes: Mapping[str, int]) -> Source:
    """A split whose pictures are found by their numbers."""
    if config.name == "shapes":
        return ShapesSource(split)
    if config.name == "folder":
        return read_folder(root_of(config) / split, classes)
    reader = _reader(config, split)
    return HubSource(reader, _title(config, split), _numbering(class_names(reader), classes))


def build_stream(config: PictureData, split: str, classes: Mapping[str, int]) -> Stream:
    """A split that is read from its beginning."""
    reader, title = _reader(config, split), _title(config, split)
    numbered = _numbering(class_names(reader), classes)
    return (ShardStream if kind_of(config) == "wds" else HubStream)(reader, title, numbered)


def build_class_names(config: PictureData) -> Sequence[str]:
    """That the data itself gives, or numbers, where ``data.num_classes`` says how many."""
    names = class_names(_reader(config, config.train_split))
    if not names and config.num_classes is None:
        raise ConfigError(
            f"data.class_map is null, but {_title(config, config.train_split)} names no classes; expected a file of "
            "their names, or their number in data.num_classes"
        )
    return names or [str(number) for number in range(config.num_classes or 0)]


def _reader(config: PictureData, split: str) -> Any:
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


def _title(config: PictureData, split: str) -> str:
    name = f"{config.root}" if kind_of(config) == "wds" else config.name.partition("/")[2]
    return f"{name} ({split})"


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
    number = integer(label)
    if number is None or not 0 <= number < len(table):
        raise ValueError(f"the label is {label!r}; expected 0 to {len(table) - 1}, as there are {len(table)} classes")
    return table[number]
