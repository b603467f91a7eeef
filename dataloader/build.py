"""The data of a recipe. Each kind is a folder here, whose ``build.py`` has the same two functions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from config.schema import Config
from dataloader.splits import Splits


def count_classes(config: Config) -> int:
    """Number of classes, before any item is looked at."""
    return _kind(config).count_classes(config)


def build_splits(
    config: Config,
    seed: int,
    share: tuple[int, int] = (0, 1),
    description: Mapping[str, Any] | None = None,
    *,
    trains: bool = True,
    siblings: bool | None = None,
) -> Splits:
    """All parts of a recipe's data; which items they hold depends on the seed alone.

    Args:
        config: the recipe.
        seed: of the run.
        share: (rank, world): this process trains on its part of every batch.
        description: of the model's input, as ``timm.data.resolve_data_config`` gives it; pictures need it.
        trains: False leaves the loader of the training out.
        siblings: whether training items come with the same objects at scale 1; None: where a term of the loss asks.
    """
    siblings = config.needs_siblings if siblings is None else siblings
    return _kind(config).build_splits(config, seed, share, description, trains=trains, siblings=siblings)


def _kind(config: Config) -> Any:
    return import_module(f"dataloader.{config.data.kind}.build")
