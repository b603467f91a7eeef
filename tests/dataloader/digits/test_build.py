"""The splits of a recipe: disjoint, the same for a seed, and without the test split where it must not be seen."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import dataloader.digits.build
from config.load import load_recipes
from config.schema import Config, ConfigError, DigitsData, EvaluationConfig, ModelConfig, TrainConfig
from dataloader.build import build_splits, count_classes
from dataloader.splits import Splits

INTERVALS = ((0.5, 1.5), (0.5, 1.5))
DIGITS: dict[str, Any] = {"name": "digits", "n_digits": 2, "cell_size": 56, "channels": 1, "workers": 0}
DATA = DigitsData(**DIGITS, scales=INTERVALS, test_scales=((1.0, 1.0), (1.0, 1.0)), train_items=50)
TEST = EvaluationConfig(items=20, calibration_items=30)
VALIDATION = EvaluationConfig(split="validation", items=20, calibration_items=30)


class Built:
    """The splits, and numbers of the items in them."""

    def __init__(self, config: Config, seed: int, **options: Any):
        self.splits: Splits = build_splits(config, seed, **options)
        loader: Any = self.splits.train
        assert self.splits.calibration is not None
        (self.part,) = self.splits.evaluated.values()
        self.train, self.order, self.train_items = (
            loader.dataset.dataset,
            loader.batch_sampler,
            loader.batch_sampler.items,
        )
        self.held_out, self.calibration_items = self.splits.calibration.composed, of(self.splits.calibration.batches)
        self.evaluated, self.evaluated_items = self.part.composed, of(self.part.batches)


def of(batches: list[list[int]]) -> list[int]:
    return [item for batch in batches for item in batch]


def built(data: DigitsData, evaluation: EvaluationConfig, seed: int = 1, **options: Any) -> Built:
    model, train = ModelConfig(backbone="test_vit", pretrained=False), TrainConfig(batch_size=8)
    return Built(Config(data=data, model=model, train=train, evaluation=evaluation), seed, **options)


def test_the_parts_are_disjoint() -> None:
    data = built(DATA, VALIDATION)
    parts = [data.train_items, data.calibration_items, data.evaluated_items]
    assert [len(part) for part in parts] == [50, 30, 20]
    assert len({item for part in parts for item in part}) == 100
    assert max(item for part in parts for item in part) < len(data.train) == len(data.held_out)
    assert list(data.splits.evaluated) == ["validation"] and data.evaluated is data.held_out
    everything = EvaluationConfig(split="validation", calibration_items=30)
    assert len(built(DATA, everything).evaluated_items) == 50  # as many as are trained on


def test_the_test_split_is_another_one_and_is_measured_from_its_start() -> None:
    data = built(DATA, TEST)
    assert list(data.splits.evaluated) == ["test"] and data.evaluated_items == list(range(20))
    assert (len(data.train), len(data.evaluated)) == (1437, 360)
    assert built(DATA, EvaluationConfig(calibration_items=30)).evaluated_items == list(range(360))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_validation_never_reads_the_test_split(monkeypatch, split: str) -> None:
    asked = []
    original = dataloader.digits.build.embedded_digits

    def digits(is_training: bool) -> Any:
        asked.append(is_training)
        return original(is_training)

    monkeypatch.setattr(dataloader.digits.build, "embedded_digits", digits)
    built(DATA, VALIDATION if split == "validation" else TEST)
    assert asked == ([True] if split == "validation" else [True, False])


def test_the_scales_of_the_test_serve_all_but_training() -> None:
    data = built(DATA, VALIDATION)
    item = data.train_items[0]
    assert data.held_out.scales_of(item) == (1.0, 1.0)
    assert all(0.5 <= scale <= 1.5 and scale != 1 for scale in data.train.scales_of(item))
    fresh = DigitsData(**DIGITS, scales=INTERVALS, test_scales=INTERVALS, train_items=50, fresh_scales=True)
    data = built(fresh, TEST)
    assert (data.train.fresh_scales, data.held_out.fresh_scales, data.evaluated.fresh_scales) == (True, False, False)


def test_the_items_belong_to_the_seed_alone() -> None:
    first = built(DATA, VALIDATION)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    again, other = built(DATA, VALIDATION), built(DATA, VALIDATION, seed=2)
    for name in ("train_items", "calibration_items", "evaluated_items"):
        assert getattr(first, name) == getattr(again, name)
        assert getattr(first, name) != getattr(other, name)
    item = first.train_items[3]
    assert torch.equal(first.train[item][0], again.train[item][0])
    more = DigitsData(**DIGITS, scales=INTERVALS, test_scales=INTERVALS, train_items=80)
    assert built(more, VALIDATION).train_items[:50] == first.train_items  # a larger set holds the smaller one


def digits_of(items: list[int], data: Built) -> set[int]:
    """Places of the digits that items show."""
    return {(item + k) % len(data.train) for item in items for k in range(data.train.n_digits)}


@pytest.mark.parametrize("recipe", ["quickstart_base", "small_base", "deit_tiny_base", "vit_data_augmentation"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_digit_that_is_trained_on_is_held_out(monkeypatch, recipe: str, split: str) -> None:
    """Neighbours share digits, so items that are not the same are not enough."""
    ((_, config),) = load_recipes("config_1.yaml", recipe, ["model.pretrained=false"])
    blank = np.zeros((60000, 28, 28), np.uint8), np.zeros(60000, np.int64)
    monkeypatch.setattr(dataloader.digits.build, "read_mnist", lambda *args, **options: blank)
    monkeypatch.setattr(dataloader.digits.build.ScaledDigits, "prepare", lambda *args: None)
    config = replace(config, evaluation=replace(config.evaluation, split=split, items=100))
    if recipe == "quickstart_base" and split == "validation":  # its training items fill the split
        config = replace(config, data=replace(config.data, train_items=1000))
    data = Built(config, 70)
    trained, calibration = digits_of(data.train_items, data), digits_of(data.calibration_items, data)
    assert len(data.calibration_items) == config.evaluation.calibration_items
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
    with pytest.raises(ConfigError, match=expected):
        built(replace(DATA, train_items=train_items), evaluation)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_training_loader_gives_every_item_once(workers: int) -> None:
    data = built(replace(DATA, workers=workers, train_items=21), TEST)
    assert data.splits.train is not None
    found = list(data.splits.train)
    assert [len(label) for _, label, _ in found] == [8, 8, 5]
    assert sorted(int(item) for _, _, index in found for item in index) == sorted(data.train_items)
    image, label, index = found[1]
    expected, expected_label = data.train[int(index[3])]
    assert torch.equal(image[3], expected) and int(label[3]) == expected_label
    assert image.shape == (8, 1, 112, 112) and 0 <= image.min() < image.max() <= 1


def test_every_process_gets_its_share_of_the_training_and_the_whole_evaluation() -> None:
    one, *parts = (built(DATA, TEST, share=share) for share in ((0, 1), (0, 2), (1, 2)))
    batches, *shares = (list(part.order) for part in (one, *parts))
    for whole, *divided in zip(batches, *shares, strict=True):
        assert set(whole) == {item for share in divided for item in share}
        assert len(divided[0]) < len(whole) or len(whole) == 2  # a pair stays together
    assert all(part.part.batches == one.part.batches for part in parts)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_part_is_read_in_its_order_and_in_batches_of_the_evaluation(workers: int) -> None:
    data = built(replace(DATA, workers=workers), replace(TEST, batch_size=8))
    part = data.part
    assert (part.kind, part.groups, [len(batch) for batch in part.batches]) == ("digits", None, [8, 8, 4])
    found = list(part.loader(part.batches[1:]))
    assert [index.tolist() for _, _, index in found] == part.batches[1:]
    assert torch.cat([label for _, label, _ in found]).tolist() == [data.evaluated[item][1] for item in range(8, 20)]
    assert torch.equal(found[0][0][2], data.evaluated[10][0])
    data.splits.check()
    assert data.splits.count_broken() == 0


def test_without_a_training_the_rest_is_the_same(monkeypatch) -> None:
    monkeypatch.setattr(dataloader.digits.build.ScaledDigits, "prepare", lambda *args: pytest.fail("nothing is drawn"))
    model = ModelConfig(backbone="test_vit", pretrained=False)
    config = Config(data=DATA, model=model, evaluation=VALIDATION)
    splits = build_splits(config, 1, trains=False)
    monkeypatch.undo()
    data = built(DATA, VALIDATION)
    assert splits.train is None and splits.calibration is not None and splits.mix is None and splits.report == ()
    assert splits.evaluated["validation"].batches == data.part.batches
    assert of(splits.calibration.batches) == data.calibration_items
    assert count_classes(config) == splits.num_classes == 100
