"""The splits of a recipe: disjoint, the same for a seed, and without the test split where it must not be seen."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import dataloader.build
from config.load import load_recipes
from config.schema import ConfigError, DataConfig, EvaluationConfig
from dataloader.build import Data, build_data, build_train_loader, loader_of

INTERVALS = ((0.5, 1.5), (0.5, 1.5))
DIGITS: dict[str, Any] = {"name": "digits", "n_digits": 2, "cell_size": 56, "channels": 1, "workers": 0}
CONFIG = DataConfig(**DIGITS, scales=INTERVALS, test_scales=((1.0, 1.0), (1.0, 1.0)), train_items=50)
TEST = EvaluationConfig(items=20, calibration_items=30)
VALIDATION = EvaluationConfig(split="validation", items=20, calibration_items=30)


def test_the_parts_are_disjoint() -> None:
    data = build_data(CONFIG, VALIDATION, 1)
    parts = [data.train_items, data.calibration_items, data.evaluated_items]
    assert [len(part) for part in parts] == [50, 30, 20]
    assert len({item for part in parts for item in part}) == 100
    assert max(item for part in parts for item in part) < len(data.train) == len(data.held_out)
    assert data.evaluated is data.held_out
    everything = EvaluationConfig(split="validation", calibration_items=30)
    assert len(build_data(CONFIG, everything, 1).evaluated_items) == 50  # as many as are trained on


def test_the_test_split_is_another_one_and_is_measured_from_its_start() -> None:
    data = build_data(CONFIG, TEST, 1)
    assert data.evaluated_items == list(range(20))
    assert (len(data.train), len(data.evaluated)) == (1437, 360)
    assert build_data(CONFIG, EvaluationConfig(calibration_items=30), 1).evaluated_items == list(range(360))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_validation_never_reads_the_test_split(monkeypatch, split: str) -> None:
    asked = []
    original = dataloader.build.embedded_digits

    def digits(is_training: bool) -> Any:
        asked.append(is_training)
        return original(is_training)

    monkeypatch.setattr(dataloader.build, "embedded_digits", digits)
    build_data(CONFIG, VALIDATION if split == "validation" else TEST, 1)
    assert asked == ([True] if split == "validation" else [True, False])


def test_the_scales_of_the_test_serve_all_but_training() -> None:
    data = build_data(CONFIG, VALIDATION, 1)
    item = data.train_items[0]
    assert data.held_out.scales_of(item) == (1.0, 1.0)
    assert all(0.5 <= scale <= 1.5 and scale != 1 for scale in data.train.scales_of(item))
    fresh = DataConfig(**DIGITS, scales=INTERVALS, test_scales=INTERVALS, train_items=50, fresh_scales=True)
    data = build_data(fresh, TEST, 1)
    assert (data.train.fresh_scales, data.held_out.fresh_scales, data.evaluated.fresh_scales) == (True, False, False)


def test_the_items_belong_to_the_seed_alone() -> None:
    first = build_data(CONFIG, VALIDATION, 1)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    again, other = build_data(CONFIG, VALIDATION, 1), build_data(CONFIG, VALIDATION, 2)
    for name in ("train_items", "calibration_items", "evaluated_items"):
        assert getattr(first, name) == getattr(again, name)
        assert getattr(first, name) != getattr(other, name)
    item = first.train_items[3]
    assert torch.equal(first.train[item][0], again.train[item][0])
    more = DataConfig(**DIGITS, scales=INTERVALS, test_scales=INTERVALS, train_items=80)
    assert build_data(more, VALIDATION, 1).train_items[:50] == first.train_items  # a larger set holds the smaller one


def digits_of(items: list[int], data: Data) -> set[int]:
    """Places of the digits that items show."""
    return {(item + k) % len(data.train) for item in items for k in range(data.train.n_digits)}


@pytest.mark.parametrize("recipe", ["quickstart_base", "small_base", "deit_tiny_base", "vit_data_augmentation"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_digit_that_is_trained_on_is_held_out(monkeypatch, recipe: str, split: str) -> None:
    """Neighbours share digits, so items that are not the same are not enough."""
    ((_, config),) = load_recipes("config_1.yaml", recipe, ["model.pretrained=false"])
    blank = np.zeros((60000, 28, 28), np.uint8), np.zeros(60000, np.int64)
    monkeypatch.setattr(dataloader.build, "read_mnist", lambda *args, **options: blank)
    evaluation = replace(config.evaluation, split=split, items=100)
    if recipe == "quickstart_base" and split == "validation":  # its training items fill the split
        config = replace(config, data=replace(config.data, train_items=1000))
    data = build_data(config.data, evaluation, 70)
    trained, calibration = digits_of(data.train_items, data), digits_of(data.calibration_items, data)
    assert len(data.calibration_items) == evaluation.calibration_items
    assert len(data.train_items) == len(set(data.train_items)) == config.data.train_items
    assert not trained & calibration
    if split == "validation":
        validation = digits_of(data.evaluated_items, data)
        assert len(data.evaluated_items) == 100 and not validation & (trained | calibration)


@pytest.mark.parametrize(
    ("train_items", "evaluation", "expected"),
    [
        (1420, TEST, r"are too many: .* need 1452 items, with 1 left out .*; the training split of digits has 1437"),
        (1400, VALIDATION, r"sizes \[1400, 30, 20\] need 1453 items"),
        (1406, TEST, r"need 1438 items"),
        (50, EvaluationConfig(items=361, calibration_items=1), r"evaluation.items is 361; the test split has 360"),
    ],
)
def test_more_items_than_there_are_is_refused(train_items: int, evaluation: EvaluationConfig, expected: str) -> None:
    config = DataConfig(**DIGITS, scales=INTERVALS, test_scales=INTERVALS, train_items=train_items)
    with pytest.raises(ConfigError, match=expected):
        build_data(config, evaluation, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_training_loader_gives_every_item_once(workers: int) -> None:
    config = DataConfig(**{**DIGITS, "workers": workers}, scales=INTERVALS, test_scales=INTERVALS, train_items=21)
    data = build_data(config, TEST, 1)
    loader = build_train_loader(data, config, 8, 1, (0, 1))
    found = list(loader)
    assert [len(label) for _, label, _ in found] == [8, 8, 5]
    assert sorted(int(item) for _, _, index in found for item in index) == sorted(data.train_items)
    image, label, index = found[1]
    expected, expected_label = data.train[int(index[3])]
    assert torch.equal(image[3], expected) and int(label[3]) == expected_label
    assert image.shape == (8, 1, 112, 112) and 0 <= image.min() < image.max() <= 1


def test_the_evaluation_loader_keeps_the_order() -> None:
    data = build_data(CONFIG, TEST, 1)
    found = [label for _, label in loader_of(data.evaluated, [5, 3, 9], 2)]
    assert [len(part) for part in found] == [2, 1]
    assert torch.cat(found).tolist() == [data.evaluated[item][1] for item in (5, 3, 9)]
