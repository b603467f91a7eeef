"""The splits of a recipe on objects at many sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from config.scenarios import SCENARIOS
from config.schema import Config, ConfigError, StirData
from dataloader.order import BatchOrder, Indexed
from dataloader.splits import Part, Splits, batches_of
from dataloader.stir.container import SIDES, Container, read
from dataloader.stir.items import Objects
from dataloader.stir.make import make

ORDER_SEED = 0  # of all runs: they are judged by the same items


@dataclass(frozen=True)
class Sizes:
    """Of every item its object's side in pixels, and the number of the object, which is the same at all sizes.

    Args:
        scales: (N,), the sides.
        of_item: (N,), the numbers.
        corners: (N, 2), left and top of the objects' boxes.
        trained: the sides that the scenario trains on.
    """

    scales: np.ndarray
    of_item: np.ndarray
    corners: np.ndarray
    trained: tuple[int, ...]


def count_classes(config: Config) -> int:
    """Of the container."""
    return len(_container(_section(config)).names)


def build_splits(
    config: Config, seed: int, share: tuple[int, int], description: object, *, trains: bool, siblings: bool = False
) -> Splits:
    """See ``dataloader.build``. Images of one split of the container are shown in no other.

    The items of the sizes that the scenario tests are judged, in an order that mixes sizes and classes, for some trials
    take the first ones; and after them all items of the split at all sizes, for curves. Validation has the sizes of
    training: it is watched, and the temperature is fitted on it unless it is what is judged. Siblings have the
    middle one of these sizes.
    """
    data, evaluation = _section(config), config.evaluation
    container, scenario = _container(data), SCENARIOS[data.scenario]
    if container.channels != data.channels:
        raise ConfigError(
            f"data.channels is {data.channels}; expected {container.channels}, which {data.file or data.name} has"
        )
    split = evaluation.split

    def part(split: str, sides: Sequence[int], items: int | None = None, *, at_sizes: bool = False) -> Part:
        selection = container.select(split, sides)
        found = selection.sides.astype(float), selection.instances, selection.positions, scenario.trained
        sizes = Sizes(*found) if at_sizes else None
        chosen = np.random.default_rng(ORDER_SEED).permutation(len(selection.labels))[:items].tolist()
        batches = batches_of([[item] for item in chosen], evaluation.batch_size)
        dataset = Indexed(Objects(selection))
        return Part(kind=data.kind, dataset=dataset, batches=batches, workers=data.workers, groups=sizes)

    tested, is_judged = (scenario.tested, False) if split == "test" else (scenario.trained, True)
    return Splits(
        num_classes=len(container.names),
        train=_loader(config, container, seed, share, siblings) if trains else None,
        watched=part("validation", scenario.trained) if trains and config.train.patience is not None else None,
        calibration=None if is_judged else part("validation", scenario.trained, evaluation.calibration_items),
        evaluated={split: part(split, tested, evaluation.items), "sizes": part(split, SIDES[::-1], at_sizes=True)},
        report=(f"{data.name}: {container.metadata.get('title', '')} {container.checksum()}",),
    )


def _loader(config: Config, container: Container, seed: int, share: tuple[int, int], siblings: bool) -> DataLoader:
    data = _section(config)
    objects = Objects(container.select("train", SCENARIOS[data.scenario].trained), data.rescale, seed)
    order = BatchOrder(list(range(len(objects))), config.train.batch_size, seed, *share)
    indexed = Indexed(objects, *([objects.sibling, objects.place] if siblings else []))
    return DataLoader(indexed, batch_sampler=order, num_workers=data.workers)


def _section(config: Config) -> StirData:
    assert isinstance(config.data, StirData)
    return config.data


def _container(data: StirData) -> Container:
    try:
        return _made(data.name, data.file, data.seed, data.root)
    except (ValueError, OSError) as error:
        raise ConfigError(f"data: {error}") from error


@lru_cache(maxsize=2)
def _made(name: str, file: str | None, seed: int, root: str) -> Container:
    return read(Path(file)) if file is not None else make(name.removeprefix("stir/"), seed, root)
