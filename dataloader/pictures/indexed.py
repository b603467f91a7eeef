"""Splits of pictures that are found by their numbers: whole groups, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from config.schema import ConfigError, EvaluationConfig, PictureData
from dataloader.order import BatchOrder, Indexed
from dataloader.pictures.groups import ScaleGroups, scale_groups
from dataloader.pictures.items import Pictures, TrainingPictures
from dataloader.pictures.plan import Plan
from dataloader.pictures.siblings import WithSiblings
from dataloader.pictures.sources import build_source
from dataloader.split import split_indices
from dataloader.splits import Part, Splits

Group = list[int]
HELD_OUT_ITEMS = 1000  # that are evaluated where the recipe states no number


def build_part(plan: Plan, data: PictureData, split: str) -> Part:
    """Of a split that is evaluated: so many pictures, or all; not the first ones, which are of one class."""
    pictures, items = _pictures(plan, data, split), plan.config.evaluation.items
    groups = pictures.groups
    return plan.part(Indexed(pictures), groups, groups.members if items is None else _taken(_drawn(groups, 0), items))


def build_training(plan: Plan) -> Splits:
    """Of the training split, of which a part is held out, and evaluated where the recipe says so."""
    data, evaluation = plan.data, plan.config.evaluation
    held_in = _pictures(plan, data, data.train_split)
    groups = held_in.groups
    calibration, held_out, pool = _cut(groups, evaluation, plan.seed)
    if not (pool and calibration):
        raise ConfigError(f"the training split has {len(held_in)} files; too few to hold a fifth out of them")
    wanted = min(data.train_samples or len(pool), len(pool))
    items = [pool[place] for place in split_indices(len(pool), plan.seed, wanted)[0]]
    options = held_in.source, plan.random, groups, len(plan.classes), data.broken_limit
    pictures = TrainingPictures(*options, items=items, seed=plan.seed)
    dataset = WithSiblings(pictures) if plan.siblings else Indexed(pictures)
    loader = plan.loader(dataset, partial(BatchOrder, items))
    judged = Indexed(held_in)
    return plan.training(
        len(items),
        len(held_in),
        train=loader,
        calibration=plan.part(judged, groups, calibration),
        evaluated={"val": plan.part(judged, groups, held_out)} if evaluation.split == "held_out" else {},
    )


def _pictures(plan: Plan, data: PictureData, split: str) -> Pictures:
    source = build_source(data, split, plan.classes)
    return Pictures(source, plan.plain, scale_groups(source.names()), len(plan.classes), data.broken_limit)


def _cut(groups: ScaleGroups, config: EvaluationConfig, seed: int) -> tuple[list[Group], list[Group], list[int]]:
    """Groups for the temperature, groups to try settings out on, and all other items."""
    order, most = _drawn(groups, seed), len(groups.scales) // 5
    calibration = _taken(order, min(config.calibration_items, most))
    wanted = min(config.items or HELD_OUT_ITEMS, most) if config.split == "held_out" else 0
    held_out = _taken(order[len(calibration) :], wanted)
    rest = order[len(calibration) + len(held_out) :]
    return calibration, held_out, sorted(item for group in rest for item in group)


def _drawn(groups: ScaleGroups, seed: int) -> list[Group]:
    """All groups in an order that the seed draws."""
    count = len(groups.members)
    return [groups.members[number] for number in split_indices(count, seed, count)[0]]


def _taken(groups: Sequence[Group], items: int) -> list[Group]:
    """The first groups, until there are so many items."""
    taken, count = [], 0
    for group in groups:
        if count >= items:
            break
        taken.append(group)
        count += len(group)
    return taken
