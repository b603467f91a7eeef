"""The splits of a recipe whose labels are maps."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from config.schema import Config, DensePictureData
from dataloader.dense.digits import NAMES, AtScales, LabelledDigits
from dataloader.dense.pictures import build_source, picture_splits
from dataloader.digits.build import splits_of
from dataloader.order import Indexed
from dataloader.splits import Part, Splits, batches_of


def count_classes(config: Config) -> int:
    """The background, and one for every kind of object."""
    return len(class_names(config))


def class_names(config: Config) -> tuple[str, ...]:
    """Of all classes, in the order of their numbers."""
    data = config.data
    return build_source(data, data.train_split).names if isinstance(data, DensePictureData) else NAMES


def build_splits(
    config: Config, seed: int, share: tuple[int, int], description: object, *, trains: bool, siblings: bool = False
) -> Splits:
    """See ``dataloader.build``. Digits are drawn as for classification; no temperature is fitted on maps."""
    if isinstance(config.data, DensePictureData):
        return picture_splits(config, seed, share, trains)
    splits = splits_of(LabelledDigits, config, seed, share, trains, siblings)
    evaluated = dict(splits.evaluated)
    if config.evaluation.scales:
        evaluated["scales"] = _at_scales(config, *evaluated.values())
    return replace(splits, calibration=None, evaluated=evaluated)


def _at_scales(config: Config, judged: Part) -> Part:
    """The first items that are judged, with all digits at one scale after the other."""
    evaluation, items = config.evaluation, list(chain.from_iterable(judged.batches))
    dataset = AtScales(judged.composed, items, evaluation.local_scale_items, evaluation.scales)
    count = len(dataset.scales)
    groups = [list(range(first, first + count)) for first in range(0, len(dataset), count)]
    batches = batches_of(groups, evaluation.batch_size)
    return replace(judged, dataset=Indexed(dataset), batches=batches, groups=dataset.groups, composed=None)
