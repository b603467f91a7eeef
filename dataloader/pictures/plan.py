"""What the steps of building a recipe's pictures share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset

from config.schema import AugmentationConfig, Config, PictureData
from dataloader.order import BatchOrder
from dataloader.pictures.classes import build_classes
from dataloader.pictures.decoding import Transform
from dataloader.pictures.groups import ScaleGroups
from dataloader.splits import Part, Splits, batches_of

MOST_WORKERS = 16


class Plan(NamedTuple):
    """A recipe with its classes and transforms, and what is made of them.

    Args:
        config: the recipe.
        data: its section.
        seed: of the run.
        share: (rank, world).
        trains: whether there is a loader of the training.
        siblings: whether it gives every picture's object at scale 1 too.
        classes: number of every class.
        random: transform of the pictures that are trained on.
        plain: transform of those that a model is judged by.
    """

    config: Config
    data: PictureData
    seed: int
    share: tuple[int, int]
    trains: bool
    siblings: bool
    classes: Mapping[str, int]
    random: Transform
    plain: Transform

    def loader(self, dataset: Dataset, order: Callable[..., BatchOrder]) -> DataLoader | None:
        """Of the training, in an order that is made of (batch_size, seed, rank, world)."""
        if not self.trains:
            return None
        batches = order(self.config.train.batch_size, self.seed, *self.share)
        is_pinned, workers = torch.cuda.is_available(), workers_of(self.data)
        return DataLoader(dataset, batch_sampler=batches, num_workers=workers, pin_memory=is_pinned)

    def part(
        self, dataset: Dataset, groups: ScaleGroups, members: Sequence[list[int]], sampler: Callable[..., Any] = list
    ) -> Part:
        """Of the members of these groups."""
        return Part(
            kind=self.data.kind,
            dataset=dataset,
            batches=batches_of(members, self.config.evaluation.batch_size),
            workers=workers_of(self.data),
            groups=groups,
            sampler=sampler,
        )

    def training(self, count: int, total: int, **parts: Any) -> Splits:
        """Of a training split, of which so many pictures are trained on."""
        line = f"training on {count} of {total} files, {len(self.classes)} classes"
        return Splits(num_classes=len(self.classes), report=(line,), **parts)


def build_plan(
    config: Config,
    seed: int,
    share: tuple[int, int],
    description: Mapping[str, Any],
    *,
    trains: bool,
    siblings: bool = False,
) -> Plan:
    """Of a recipe; see ``dataloader.build``."""
    data = config.data
    assert isinstance(data, PictureData)
    if data.side is not None:
        description = {**description, "input_size": (data.channels, data.side, data.side)}
    random, plain = _random_transform(config.augmentation, description), _plain_transform(description)
    needed = siblings and trains  # what is only judged needs none
    return Plan(config, data, seed, share, trains, needed, build_classes(data), random, plain)


def workers_of(config: PictureData) -> int:
    """Processes that prepare batches for this one."""
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _plain_transform(description: Mapping[str, Any]) -> Transform:
    names = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    return create_transform(**{name: description[name] for name in names})


def _random_transform(config: AugmentationConfig, description: Mapping[str, Any]) -> Transform:
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
