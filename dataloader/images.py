"""Image data sets and loaders from recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset

from config.imagenet import AugmentationConfig, ImageDataConfig, ImageEvaluationConfig
from config.schema import ConfigError
from dataloader.folder import read_classes, read_folder
from dataloader.groups import ScaleGroups, batches_of, first_of, scale_groups
from dataloader.order import BatchOrder, Indexed
from dataloader.pictures import FolderSource, Pictures, Source, TrainingPictures, Transform
from dataloader.readers import PACKAGES, STREAMS, Stream, build_class_names, build_hub_source, build_stream, kind_of
from dataloader.shapes import CLASSES, ShapesSource
from dataloader.split import split_indices
from dataloader.streams import Decoded, StreamOrder, StreamPart, StreamTraining, TrainingDecoded, first_part

Group = list[int]
MOST_WORKERS = 16
HELD_OUT_ITEMS = 1000  # that are evaluated where the recipe states no number


class Evaluated(NamedTuple):
    """Pictures that a model is judged by, in batches of whole groups."""

    pictures: Pictures
    batches: list[list[int]]
    workers: int

    @property
    def groups(self) -> ScaleGroups:
        """Of all pictures of the split."""
        return self.pictures.groups

    def first(self, count: int) -> DataLoader:
        """(image, label, number) of so many pictures at the beginning."""
        return self.loader(first_of(self.batches, count))

    def loader(self, batches: list[list[int]]) -> DataLoader:
        """(image, label, number) of these batches."""
        workers = min(self.workers, len(batches))
        return DataLoader(Indexed(self.pictures), batch_sampler=batches, num_workers=workers)


class ImageData(NamedTuple):
    """What a run trains on, fits its temperature on, and is judged by.

    Args:
        train: the training split; None where it is not there and nothing is to be trained.
        train_items: numbers of those that are trained on, in a stream of those of an epoch.
        calibration: groups of the training split of which none is trained on.
        evaluated: by name: val, and multi_scale where that is another set.
    """

    train: TrainingPictures | StreamTraining | None
    train_items: Sequence[int]
    calibration: Evaluated | StreamPart | None
    evaluated: Mapping[str, Evaluated | StreamPart]

    def check(self) -> None:
        """Raise where more pictures than the limit could not be read."""
        for part in self.parts():
            part.check()

    def parts(self) -> list[Pictures | Decoded]:
        """All that pictures are read by, each once."""
        judged = [*self.evaluated.values(), *([self.calibration] if self.calibration else [])]
        found = [part.pictures for part in judged] + ([self.train.pictures] if self.train else [])
        return list({id(part): part for part in found}.values())

    def report(self) -> list[str]:
        """What was found, line by line."""
        lines = ["there is no training split: nothing is tempered"]
        if self.train is not None:
            count, total = len(self.train_items), len(self.train)
            lines = [f"training on {count} of {total} files, {self.train.num_classes} classes"]
        named = {**({"calibration": self.calibration} if self.calibration else {}), **self.evaluated}
        for name, part in named.items():
            count = sum(map(len, part.batches))
            text = f"{name}: {count} files"
            lines.append(f"{text}; {part.groups.report()}" if part.groups.has_scales else text)
        return lines


def build_classes(config: ImageDataConfig) -> dict[str, int]:
    """The number of every class, before any picture is looked at."""
    if config.name == "shapes":
        return {name: number for number, name in enumerate(CLASSES)}
    is_read = kind_of(config) in PACKAGES
    if is_read and config.class_map is None:
        classes = {name: number for number, name in enumerate(build_class_names(config))}
    else:
        root = Path() if is_read and config.root is None else _root(config)  # a set from the hub needs none
        classes = read_classes(config.class_map, root / config.train_split)
    if config.num_classes is not None and config.num_classes != len(classes):
        raise ConfigError(f"data.num_classes is {config.num_classes}; the class map has {len(classes)}")
    return classes


def build_images(
    config: ImageDataConfig,
    augmentation: AugmentationConfig,
    evaluation: ImageEvaluationConfig,
    classes: Mapping[str, int],
    description: Mapping[str, Any],
    seed: int,
    *,
    trains: bool = True,
) -> ImageData:
    """All splits of a recipe; which files they hold depends on the seed alone.

    Args:
        config: of the data.
        augmentation: of the training.
        evaluation: its sizes.
        classes: number of every class.
        description: of the model's input, as ``timm.data.resolve_data_config`` gives it.
        seed: of the run.
        trains: False does without a training split where its folder is absent.
    """
    random, plain = _training_transform(augmentation, description), _plain_transform(description)
    workers = workers_of(config)

    def judged_by(pictures: Pictures, groups: list[Group]) -> Evaluated:
        return Evaluated(pictures, batches_of(groups, evaluation.batch_size), workers)

    def first_of(stream: Stream, items: int | None) -> StreamPart:
        return first_part(stream, Decoded(plain, config.broken_limit), items, evaluation.batch_size, workers)

    def judged_on(part: ImageDataConfig, split: str) -> Evaluated | StreamPart:
        if kind_of(part) in STREAMS:
            return first_of(build_stream(part, split, classes), evaluation.items)
        pictures = _pictures(part, split, classes, plain)
        return judged_by(pictures, _chosen(pictures.groups, evaluation.items))

    if kind_of(config) in STREAMS:
        if evaluation.split == "held_out":
            raise ConfigError(f"evaluation.split is held_out, which data.name={config.name} cannot do; expected val")
        stream = build_stream(config, config.train_split, classes)
        known = _least_known(stream.total, config)
        # where the groups are, is not known before all is read: the first ones are held out
        first = first_of(stream, min(evaluation.calibration_items, known // 5))
        size = config.train_samples or known
        if stream.total is not None:
            size = min(size, stream.total - len(first.groups.scales))
        streamed = StreamTraining(stream, TrainingDecoded(random, config.broken_limit, seed), size, first.marks)
        judged = {name: judged_on(part, split) for name, part, split in _splits(config)}
        return ImageData(streamed, range(size), first, judged)

    if not trains and config.name == "folder" and not (_root(config) / config.train_split).exists():
        judged = {name: judged_on(part, split) for name, part, split in _splits(config)}
        return ImageData(None, [], None, judged)

    training = _pictures(config, config.train_split, classes, random)
    held_in = Pictures(training.source, plain, training.groups, len(classes), config.broken_limit)
    calibration, held_out, pool = _parts(training.groups, evaluation, seed)
    if not (pool and calibration):
        raise ConfigError(f"the training split has {len(training)} files; too few to hold a fifth out of them")
    wanted = min(config.train_samples or len(pool), len(pool))
    train_items = [pool[place] for place in split_indices(len(pool), seed, wanted)[0]]
    evaluated: dict[str, Evaluated | StreamPart] = {"val": judged_by(held_in, held_out)}
    if evaluation.split == "val":
        evaluated |= {name: judged_on(part, split) for name, part, split in _splits(config)}
    return ImageData(
        TrainingPictures(training, train_items, seed), train_items, judged_by(held_in, calibration), evaluated
    )


def build_image_loader(
    data: ImageData, config: ImageDataConfig, batch_size: int, seed: int, share: tuple[int, int]
) -> DataLoader:
    """One process's share of the shuffled training batches, (image, label, number)."""
    order: BatchOrder
    dataset: Dataset
    assert data.train is not None
    if isinstance(data.train, StreamTraining):
        order, dataset = StreamOrder(data.train, batch_size, seed, *share), data.train.pictures
    else:
        order, dataset = BatchOrder(list(data.train_items), batch_size, seed, *share), Indexed(data.train)
    return DataLoader(
        dataset, batch_sampler=order, num_workers=workers_of(config), pin_memory=torch.cuda.is_available()
    )


def workers_of(config: ImageDataConfig) -> int:
    """Processes that prepare batches for this one."""
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _root(config: ImageDataConfig) -> Path:
    if config.root is None:
        raise ConfigError("data.root is null; expected the folder above the splits: --data_dir DIR, or data.root=DIR")
    return Path(config.root).expanduser()


def _pictures(config: ImageDataConfig, split: str, classes: Mapping[str, int], transform: Transform) -> Pictures:
    source: Source
    if config.name == "shapes":
        source = ShapesSource(split)
        names = [source.name(number) for number in range(len(source))]
    elif kind_of(config) == "hfds":
        source = hub = build_hub_source(config, split, classes)
        names = hub.names()
    else:
        files = read_folder(_root(config) / split, classes)
        source, names = FolderSource(files), [files.name(number) for number in range(len(files.labels))]
    return Pictures(source, transform, scale_groups(names), len(classes), config.broken_limit)


def _splits(config: ImageDataConfig) -> Iterator[tuple[str, ImageDataConfig, str]]:
    """Name, root and folder of what is evaluated; one set may be both."""
    yield "val", config, config.val_split
    if config.multi_scale_root is not None:
        other = replace(config, name="folder", root=config.multi_scale_root)
        folder = (_root(other) / config.multi_scale_split).resolve()
        if config.name != "folder" or folder != (_root(config) / config.val_split).resolve():
            yield "multi_scale", other, config.multi_scale_split


def _parts(groups: ScaleGroups, config: ImageEvaluationConfig, seed: int) -> tuple[list[Group], list[Group], list[int]]:
    """Groups for the temperature, groups to try settings out on, and all other items."""
    order = [groups.members[number] for number in split_indices(len(groups.members), seed, len(groups.members))[0]]
    most = len(groups.scales) // 5
    calibration = _taken(order, min(config.calibration_items, most))
    wanted = min(config.items or HELD_OUT_ITEMS, most) if config.split == "held_out" else 0
    held_out = _taken(order[len(calibration) :], wanted)
    rest = order[len(calibration) + len(held_out) :]
    return calibration, held_out, sorted(item for group in rest for item in group)


def _least_known(total: int | None, config: ImageDataConfig) -> int:
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


def _taken(groups: Sequence[Group], items: int) -> list[Group]:
    """The first groups, until there are so many items."""
    taken, count = [], 0
    for group in groups:
        if count >= items:
            break
        taken.append(group)
        count += len(group)
    return taken


def _chosen(groups: ScaleGroups, items: int | None) -> list[Group]:
    """Groups with so many items together, or all; not the first ones, which are of one class."""
    if items is None:
        return groups.members
    order = split_indices(len(groups.members), 0, len(groups.members))[0]
    return _taken([groups.members[place] for place in order], items)


def _plain_transform(description: Mapping[str, Any]) -> Transform:
    return create_transform(
        **{name: description[name] for name in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")}
    )


def _training_transform(config: AugmentationConfig, description: Mapping[str, Any]) -> Transform:
    return create_transform(
        **{name: description[name] for name in ("input_size", "mean", "std")},
        is_training=True,
        scale=config.scale,
        ratio=config.ratio,
        hflip=config.flip,
        interpolation=config.interpolation,
        auto_augment=config.auto_augment,
        color_jitter=config.color_jitter or 0.0,
        re_prob=config.erase,
        re_mode="pixel",
    )
