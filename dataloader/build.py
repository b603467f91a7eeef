"""Data sets and loaders from recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Subset

from config.schema import ConfigError, DataConfig, EvaluationConfig
from dataloader.mnist import ScaledDigits
from dataloader.order import BatchOrder, Indexed
from dataloader.sources import embedded_digits, read_mnist
from dataloader.split import split_ring


class Data(NamedTuple):
    """What a run trains on, fits its temperature on, and is judged by.

    Args:
        train: the training split, of which ``train_items`` are trained on.
        train_items: numbers of the items.
        held_out: the training split at the scales of the test.
        calibration_items: numbers of its items that the temperature is fitted on; none of them shows a digit that is
            trained on.
        evaluated: the test split, or ``held_out`` again.
        evaluated_items: numbers of its items that are measured.
    """

    train: ScaledDigits
    train_items: list[int]
    held_out: ScaledDigits
    calibration_items: list[int]
    evaluated: ScaledDigits
    evaluated_items: list[int]


def build_data(config: DataConfig, evaluation: EvaluationConfig, seed: int) -> Data:
    """All splits of a recipe; which items they hold depends on the seed alone."""
    source = _source(config, is_training=True)
    train = _digits(config, seed, source)
    held_out = _digits(config, seed, source, at_test_scales=True)
    has_validation = evaluation.split == "validation"
    wanted = (evaluation.items or config.train_items) if has_validation else 0
    sizes = (config.train_items, evaluation.calibration_items, wanted)
    try:
        parts = split_ring(len(train), seed, config.n_digits, *sizes)
    except ValueError as error:
        raise ConfigError(
            "data.train_items, evaluation.calibration_items and the validation items are too many: "
            f"{error}; the training split of {config.name} has {len(train)}"
        ) from error
    train_items, calibration_items, validation_items = (part.tolist() for part in parts)
    if has_validation:
        evaluated, evaluated_items = held_out, validation_items
    else:
        evaluated = _digits(config, seed, _source(config, is_training=False), at_test_scales=True)
        if (evaluation.items or 0) > len(evaluated):
            raise ConfigError(f"evaluation.items is {evaluation.items}; the test split has {len(evaluated)}")
        evaluated_items = list(range(evaluation.items or len(evaluated)))
    return Data(train, train_items, held_out, calibration_items, evaluated, evaluated_items)


def build_train_loader(
    data: Data, config: DataConfig, batch_size: int, seed: int, share: tuple[int, int]
) -> DataLoader:
    """One process's share of the shuffled training batches, (image, label, index)."""
    data.train.prepare(data.train_items)
    order = BatchOrder(data.train_items, batch_size, seed, *share)
    return DataLoader(Indexed(data.train), batch_sampler=order, num_workers=config.workers)


def loader_of(dataset: ScaledDigits, items: Sequence[int], batch_size: int, workers: int = 0) -> DataLoader:
    """These items in order, (image, label)."""
    return DataLoader(Subset(dataset, list(items)), batch_size=batch_size, num_workers=workers)


def _source(config: DataConfig, *, is_training: bool) -> tuple[np.ndarray, np.ndarray]:
    if config.name == "digits":
        return embedded_digits(is_training)
    return read_mnist(config.root, is_training, download=config.download)


def _digits(
    config: DataConfig, seed: int, source: tuple[np.ndarray, np.ndarray], *, at_test_scales: bool = False
) -> ScaledDigits:
    return ScaledDigits(
        *source,
        n_digits=config.n_digits,
        scales=config.test_scales if at_test_scales else config.scales,
        cell_size=config.cell_size,
        layout=config.layout,
        channels=config.channels,
        standardize=config.standardize,
        fresh_scales=config.fresh_scales and not at_test_scales,
        seed=seed,
    )
