"""Tar files of pictures in the WebDataset layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from tarfile import TarError
from typing import Any

from dataloader.pictures.decoding import BrokenPictures
from dataloader.pictures.streams import Encoded, Stream, integer, ordered

PICTURE_KEYS = ("jpg", "jpeg", "png", "webp")  # in a shard; the class is cls, or the split's field of json


class ShardStream(Stream):
    """One split of them."""

    def __init__(self, reader: Any, title: str, numbered: Callable[[Any], int]):
        super().__init__(title, reader.num_samples or None, numbered)
        self.shards = [os.path.join(reader.root, name) for name in reader.split_info.filenames]
        self.field, self.name_key = reader.split_info.alt_label, reader.filename_key

    def read(self, seed: int | None) -> Iterator[Encoded]:
        import webdataset

        for shard in ordered(self.shards, seed):
            try:
                for sample in webdataset.tarfile_to_samples()([{"url": shard}]):
                    yield from self._encoded(shard, sample)
            except (OSError, TarError) as error:
                reason = getattr(error, "strerror", None) or (error.args or [type(error).__name__])[0]
                raise BrokenPictures(f"{shard} cannot be read ({reason})") from error

    def _encoded(self, shard: str, sample: Mapping[str, Any]) -> Iterator[Encoded]:
        key = sample["__key__"]
        data = next((sample[ending] for ending in PICTURE_KEYS if ending in sample), None)
        fields, problem = _fields(sample.get("json", b"{}"))
        label: Any = fields.get(self.field) if self.field else sample.get("cls")
        if data is None or (label is None and not problem):
            missing = f"picture ({', '.join(PICTURE_KEYS)})" if data is None else f"class ({self.field or 'cls'})"
            has = sorted(name for name in sample if not name.startswith("__"))
            raise BrokenPictures(f"{shard}: {key} has no {missing}, only {', '.join(has)}; a key ends at its first dot")
        number = integer(label) if self.field else 0
        if problem or number is None:
            problem = problem or f"its {self.field} is {label!r:.80}; expected a number"
            yield Encoded(shard, key, data, 0, problem)  # under its key, by which it is found
        elif number >= 0:  # or else it is without this other label: so timm's sets mark that
            yield Encoded(shard, str(fields.get(self.name_key) or key), data, label)


def _fields(content: bytes) -> tuple[dict[str, Any], str]:
    """Of a picture's JSON, and what is wrong with that."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        return {}, f"its json is damaged: {error}"
    return (fields, "") if isinstance(fields, dict) else ({}, "its json is no mapping of names to values")
