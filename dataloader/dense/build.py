"""The splits of a recipe whose labels are maps."""

from __future__ import annotations

from dataclasses import replace

from config.schema import Config
from dataloader.dense.digits import NAMES, LabelledDigits
from dataloader.digits.build import splits_of
from dataloader.splits import Splits


def count_classes(config: Config) -> int:
    """The background, and one for every kind of object."""
    return len(NAMES)


def build_splits(
    config: Config, seed: int, share: tuple[int, int], description: object, *, trains: bool, siblings: bool = False
) -> Splits:
    """See ``dataloader.build``. Digits are drawn as for classification; no temperature is fitted on maps."""
    return replace(splits_of(LabelledDigits, config, seed, share, trains, siblings), calibration=None)
