"""The splits of a recipe on rescaled pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from config.schema import Config, ConfigError, ScaledData
from dataloader.order import BatchOrder, Indexed
from dataloader.scaled.augment import Augment
from dataloader.scaled.draws import Draw, draws
from dataloader.scaled.items import Rescaled
from dataloader.scaled.laws import Law
from dataloader.scaled.sources import SOURCES, Pool
from dataloader.splits import Part, Splits, batches_of


@dataclass(frozen=True)
class Factors:
    """Of every item its factor; no two items show one object."""

    scales: np.ndarray
    of_item: np.ndarray


def count_classes(config: Config) -> int:
    """Of all sets that are known here."""
    return 10


def build_splits(
    config: Config, seed: int, share: tuple[int, int], description: object, *, trains: bool, siblings: bool = False
) -> Splits:
    """See ``dataloader.build``. No picture is in two splits, and the factors depend on the realisation alone.

    The items that are judged have their classes mixed, for some trials take the first ones; after them come the same
    items once more, by their factors. Validation is watched, and the temperature is fitted on its first items unless it
    is what is judged.
    """
    if siblings:
        raise ConfigError(
            "loss.sibling or loss.teach has a weight; pictures of scaled/ have no version at scale 1 beside them"
        )
    data, evaluation = _section(config), config.evaluation
    pool, chosen = _pool(data), _draws(data)
    split, channels = evaluation.split, 1 if pool.images.ndim == 3 else 3
    if data.channels != channels:
        raise ConfigError(f"data.channels is {data.channels}; expected {channels}, which {data.name} has")

    def items(name: str) -> Rescaled:
        return Rescaled(pool, chosen[name], _law(data), **_view(data, pool))

    def part(items: Rescaled, count: int | None, *, at_factors: bool = False) -> Part:
        numbers = range(len(items))[:count]
        batches = batches_of([[item] for item in numbers], evaluation.batch_size)
        groups = Factors(items.factors, np.arange(len(items))) if at_factors else None
        composed = None if at_factors else items
        options: dict[str, Any] = {"workers": data.workers, "groups": groups, "composed": composed}
        return Part(kind=data.kind, dataset=Indexed(items), batches=batches, **options)

    judged, validation = items(split), items("validation")
    if not len(judged):
        raise ConfigError(f"evaluation.split is {split}, which has no items; give data.validation_items")
    if not len(validation) and config.train.patience is not None:
        raise ConfigError("train.patience is given, but there is nothing to watch; give data.validation_items")
    has_others = split != "validation" and len(validation) > 0
    return Splits(
        num_classes=count_classes(config),
        train=_loader(config, pool, chosen["train"], seed, share) if trains else None,
        watched=part(validation, None) if trains and config.train.patience is not None else None,
        calibration=part(validation, evaluation.calibration_items) if has_others else None,
        evaluated={
            split: part(judged, evaluation.items),
            "factors": part(judged, evaluation.items, at_factors=True),
        },
        report=(f"{data.name}, realisation {data.realisation}: {checksum(data)}",),
    )


def checksum(data: ScaledData) -> str:
    """Of the images, labels and factors of all splits, as 16 hexadecimal digits."""
    pool, digest = _pool(data), hashlib.sha256()
    for draw in _draws(data).values():
        for part in Rescaled(pool, draw, _law(data), **_view(data, pool)).stored():
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _loader(config: Config, pool: Pool, draw: Draw, seed: int, share: tuple[int, int]) -> DataLoader:
    data = _section(config)
    augment = Augment(data.shift, data.flip, data.cutout)
    drawn: dict[str, Any] = {"fresh": data.fresh, "rescale": data.rescale, "augment": augment, "seed": seed}
    items = Rescaled(pool, draw, _law(data), **_view(data, pool), **drawn)
    order = BatchOrder(list(range(len(items))), config.train.batch_size, seed, *share)
    return DataLoader(Indexed(items), batch_sampler=order, num_workers=data.workers)


def _section(config: Config) -> ScaledData:
    assert isinstance(config.data, ScaledData)
    return config.data


def _view(data: ScaledData, pool: Pool) -> dict[str, Any]:
    return {"side": data.canvas or pool.images.shape[1], "resampling": data.resampling}


def _law(data: ScaledData) -> Law:
    return Law(data.law, *data.span, data.center, data.deviation, data.factors)


def _pool(data: ScaledData) -> Pool:
    try:
        return _read(data.name.removeprefix("scaled/"), data.root)
    except (ValueError, OSError) as error:
        raise ConfigError(f"data: {error}") from error


def _draws(data: ScaledData) -> dict[str, Draw]:
    try:
        sizes = data.train_items, data.validation_items
        return draws(_pool(data), data.realisation, *sizes, takes_first=data.draw == "first")
    except ValueError as error:
        raise ConfigError(f"data: {error}") from error


@lru_cache(maxsize=2)
def _read(name: str, root: str) -> Pool:
    return SOURCES[name](root)
