"""The splits of a recipe on pictures; which pictures they hold depends on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from config.schema import Config, PictureData
from dataloader.mixing import build_mixing
from dataloader.pictures import indexed, streamed
from dataloader.pictures.classes import build_classes
from dataloader.pictures.folders import class_folders
from dataloader.pictures.plan import build_plan
from dataloader.pictures.sources import is_stream, root_of
from dataloader.splits import Part, Splits


def count_classes(config: Config) -> int:
    """Of the class map, or of the data, which is opened for that."""
    assert isinstance(config.data, PictureData)
    return len(build_classes(config.data))


def check_folders(config: Config, *, trains: bool) -> None:
    """Refuse folders of pictures that are not there, before weights are fetched for a model."""
    data = config.data
    assert isinstance(data, PictureData)
    is_held_out = config.evaluation.split == "held_out"
    needed = [("train", data, data.train_split)] if trains or is_held_out else []
    for _, part, split in [*needed, *(() if is_held_out else _sets(data))]:
        if part.name == "folder":
            class_folders(root_of(part) / split)


def build_splits(
    config: Config,
    seed: int,
    share: tuple[int, int],
    description: Mapping[str, Any],
    *,
    trains: bool,
    siblings: bool = False,
) -> Splits:
    """See ``dataloader.build``. Where nothing is to be trained, the folder of the training split may be absent.

    With siblings the training batches are (image, label, number, sibling): the same object at scale 1, through the
    same crop and flip.
    """
    plan = build_plan(config, seed, share, description, trains=trains, siblings=siblings)
    data = plan.data
    if trains or data.name != "folder" or (root_of(data) / data.train_split).exists():
        found = _builders(data).build_training(plan)
    else:
        line = "there is no training split: nothing is tempered"
        found = Splits(num_classes=len(plan.classes), evaluated={}, report=(line,))
    evaluated = dict(found.evaluated) or {
        name: _builders(part).build_part(plan, part, split) for name, part, split in _sets(data)
    }
    judged = {"calibration": found.calibration} | evaluated if found.calibration else evaluated
    return replace(
        found,
        evaluated=evaluated,
        mix=build_mixing(config.augmentation, len(plan.classes), seed),
        report=(*found.report, *(_line(name, part) for name, part in judged.items())),
    )


def _builders(data: PictureData) -> ModuleType:
    return streamed if is_stream(data) else indexed


def _sets(data: PictureData) -> Iterator[tuple[str, PictureData, str]]:
    """Name, root and folder of what is evaluated; one set may be both."""
    yield "val", data, data.val_split
    if data.multi_scale_root is not None:
        other = replace(data, name="folder", root=data.multi_scale_root)
        folder = (root_of(other) / data.multi_scale_split).resolve()
        if data.name != "folder" or folder != (root_of(data) / data.val_split).resolve():
            yield "multi_scale", other, data.multi_scale_split


def _line(name: str, part: Part) -> str:
    """Of the report."""
    groups: Any = part.groups
    text = f"{name}: {sum(map(len, part.batches))} files"
    return f"{text}; {groups.report()}" if groups.has_scales else text
