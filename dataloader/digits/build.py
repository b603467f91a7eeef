"""The splits of a recipe on digits: disjoint, and the same ones for a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from config.schema import Config, ConfigError, DigitsData
from dataloader.digits.items import ScaledDigits
from dataloader.digits.single import embedded_digits, read_mnist
from dataloader.order import BatchOrder, Indexed
from dataloader.split import split_ring
from dataloader.splits import Part, Splits, batches_of


def count_classes(config: Config) -> int:
    """One for every number that the digits of an item can show."""
    return 10 ** _section(config).n_digits


def build_splits(
    config: Config, seed: int, share: tuple[int, int], description: object, *, trains: bool, siblings: bool = False
) -> Splits:
    """See ``dataloader.build``. The temperature is fitted at the scales of the test."""
    return splits_of(ScaledDigits, config, seed, share, trains, siblings)


def splits_of(
    kind: type[ScaledDigits], config: Config, seed: int, share: tuple[int, int], trains: bool, siblings: bool
) -> Splits:
    """The splits of a recipe, whose items this class composes. No item held out shows a digit that is trained on.

    The items that are evaluated are the first ones of the test split, or items of the training split at the scales of
    the test.
    """
    data, evaluation = _section(config), config.evaluation

    def part(digits: ScaledDigits, items: Sequence[int]) -> Part:
        batches = batches_of([[item] for item in items], evaluation.batch_size)
        return Part(kind=data.kind, dataset=Indexed(digits), batches=batches, workers=data.workers, composed=digits)

    source = _source(data, is_training=True)
    trained, calibration, validation = _items(config, len(source[0]), seed)
    held_out = _digits(kind, data, seed, source, at_test_scales=True)
    if evaluation.split == "validation":
        evaluated = part(held_out, validation)
    else:
        test = _digits(kind, data, seed, _source(data, is_training=False), at_test_scales=True)
        if (evaluation.items or 0) > len(test):
            raise ConfigError(f"evaluation.items is {evaluation.items}; the test split has {len(test)}")
        evaluated = part(test, range(evaluation.items or len(test)))
    return Splits(
        num_classes=held_out.num_classes,
        train=_loader(config, _digits(kind, data, seed, source), trained, seed, share, siblings) if trains else None,
        calibration=part(held_out, calibration),
        evaluated={evaluation.split: evaluated},
    )


def _section(config: Config) -> DigitsData:
    assert isinstance(config.data, DigitsData)
    return config.data


def _items(config: Config, count: int, seed: int) -> list[list[int]]:
    """Numbers of the items of the training split that are trained on, held out for the temperature, and evaluated."""
    data, evaluation = _section(config), config.evaluation
    wanted = (evaluation.items or data.train_items) if evaluation.split == "validation" else 0
    sizes = (data.train_items, evaluation.calibration_items, wanted)
    try:
        return [part.tolist() for part in split_ring(count, seed, data.n_digits, *sizes)]
    except ValueError as error:
        raise ConfigError(
            "data.train_items, evaluation.calibration_items and the validation items are too many: "
            f"{error}; the training split of {data.name} has {count}"
        ) from error


def _loader(
    config: Config, digits: ScaledDigits, items: list[int], seed: int, share: tuple[int, int], siblings: bool
) -> DataLoader:
    digits.prepare(items)
    order = BatchOrder(items, config.train.batch_size, seed, *share)
    indexed = Indexed(digits, *([digits.sibling] if siblings else []))
    return DataLoader(indexed, batch_sampler=order, num_workers=_section(config).workers)


def _source(data: DigitsData, *, is_training: bool) -> tuple[np.ndarray, np.ndarray]:
    if data.name.endswith("digits"):
        return embedded_digits(is_training)
    if data.download and data.root != DigitsData.root and not Path(data.root).expanduser().is_dir():
        raise ConfigError(
            f"data.root is {data.root}, which is no folder; expected one with MNIST's files, or an empty one, into "
            "which they are downloaded"
        )
    return read_mnist(data.root, is_training, download=data.download)


def _digits(
    kind: type[ScaledDigits],
    data: DigitsData,
    seed: int,
    source: tuple[np.ndarray, np.ndarray],
    *,
    at_test_scales: bool = False,
) -> ScaledDigits:
    return kind(
        *source,
        n_digits=data.n_digits,
        scales=data.test_scales if at_test_scales else data.scales,
        cell_size=data.cell_size,
        layout=data.layout,
        channels=data.channels,
        standardize=data.standardize,
        fresh_scales=data.fresh_scales and not at_test_scales,
        seed=seed,
    )
