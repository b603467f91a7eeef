"""The splits of rescaled pictures: what is trained on, watched and judged, and what is drawn when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config.schema import Config, ConfigError, EvaluationConfig, ModelConfig, ScaledData, TrainConfig
from dataloader.build import build_splits, count_classes
from dataloader.scaled.build import checksum
from dataloader.scaled.items import Rescaled
from dataloader.scaled.resampling import rescaled
from dataloader.splits import Part
from evaluation.scales import at_scales, model_input
from tests.dataloader.scaled.pools import cifar10_files, stl10_files

FEW: dict[str, Any] = {"train_items": 40, "validation_items": 20}


def recipe(*, patience: int | None = 3, evaluation: EvaluationConfig | None = None, **data: Any) -> Config:
    return Config(
        model=ModelConfig(backbone="mnist3_standard", pretrained=False, image_size=None),
        data=ScaledData(**{**FEW, **data}),
        train=TrainConfig(batch_size=16, patience=patience),
        evaluation=evaluation or EvaluationConfig(batch_size=50, items=60),
    )


def items_of(loader: Any) -> Rescaled:
    return loader.dataset.dataset


def shown(part: Part) -> tuple[torch.Tensor, list[int], list[int]]:
    found = list(part.loader(part.batches))
    images, labels, numbers = zip(*found, strict=True)
    return torch.cat(images), torch.cat(labels).tolist(), torch.cat(numbers).tolist()


def test_the_parts_of_a_recipe() -> None:
    splits = build_splits(recipe(), seed=0)
    assert count_classes(recipe()) == splits.num_classes == 10
    judged, factors = splits.evaluated.values()
    assert [*splits.evaluated] == ["test", "factors"] and splits.train and splits.watched and splits.calibration
    assert (judged.groups, factors.composed) == (None, None) and judged.composed is not None
    assert [len(shown(part)[2]) for part in (judged, factors, splits.watched, splits.calibration)] == [60, 60, 20, 20]
    assert sorted(number for *_, numbers in splits.train for number in numbers.tolist()) == list(range(40))
    pictures = [items_of(one).draw.numbers for one in (splits.train, splits.watched, judged)]
    assert len(np.unique(np.concatenate(pictures))) == sum(map(len, pictures))


def test_an_item_is_its_picture_at_its_factor_however_it_is_asked_for() -> None:
    part = build_splits(recipe(), seed=0).evaluated["factors"]
    data = items_of(part)
    images, labels, numbers = shown(part)
    assert part.groups is not None and len({*part.groups.of_item}) == len(data)
    for image, label, number in zip(images, labels, numbers, strict=True):
        picture = data.pool.images[data.draw.numbers[number]]
        expected = rescaled(picture[None], part.groups.scales[[number]], 28, "modern")[0]
        assert (
            np.array_equal((255 * image[0]).round(), expected) and label == data.pool.labels[data.draw.numbers[number]]
        )
        assert torch.equal(data[number][0], image) and np.array_equal(data.item(number)[0], expected)
    assert 0.3 <= part.groups.scales.min() < 0.35 and 0.95 < part.groups.scales.max() <= 1


def test_items_are_composed_at_a_factor_in_the_place_of_their_own() -> None:
    part = build_splits(recipe(), seed=0).evaluated["test"]
    picture = rescaled(part.composed.pool.images[part.composed.draw.numbers[[5]]], np.array([0.5]), 28, "modern")
    np.testing.assert_array_equal(part.composed.item(5, [0.5])[0], picture[0])
    seen: list[torch.Tensor] = []

    def predict(image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return image.flatten(1)[:, :10]

    found = at_scales(predict, part.composed, [5, 7], [0.5, 1.0], batch_size=2)
    assert found.logits.shape == (2, 2, 10) and found.labels.tolist() == part.composed.labels[[5, 7]].tolist()
    assert np.array_equal((255 * seen[0][0, 0]).round(), picture[0])


def test_colours_reach_the_model_as_the_loader_gives_them(tmp_path: Path) -> None:
    cifar10_files(tmp_path)
    config = recipe(name="scaled/cifar10", root=str(tmp_path), channels=3)
    part = build_splits(config, seed=0).evaluated["test"]
    images, *_ = shown(part)
    assert images.shape == (20, 3, 32, 32)
    pixels, _ = part.composed.item(3)
    torch.testing.assert_close(model_input(part.composed, pixels[None], "cpu")[0], images[3])
    with pytest.raises(ConfigError, match=r"data.channels is 1; expected 3, which scaled/cifar10 has"):
        build_splits(recipe(name="scaled/cifar10", root=str(tmp_path)), seed=0)


def test_the_first_items_of_the_files_are_those_of_a_recipe_that_asks_for_them() -> None:
    splits = build_splits(recipe(draw="first", train_items=1400), seed=0)
    chosen = [items_of(part).draw.numbers for part in (splits.train, splits.watched, splits.evaluated["test"])]
    assert [numbers[0] for numbers in chosen] == [0, 1400, 1437]


def test_pictures_that_keep_their_size_are_those_of_the_files(tmp_path: Path) -> None:
    images, labels = stl10_files(tmp_path)
    config = recipe(
        name="scaled/stl10", root=str(tmp_path), channels=3, interval=(1.0, 1.0), train_items=30, validation_items=0,
        patience=None,
    )  # fmt: skip
    splits = build_splits(config, seed=0)
    data = items_of(splits.evaluated["test"])
    found, known, _ = shown(splits.evaluated["test"])
    np.testing.assert_array_equal((255 * found).round().permute(0, 2, 3, 1), images[data.draw.numbers])
    assert known == labels[data.draw.numbers].tolist() and splits.calibration is None


def epochs_of(**data: Any) -> list[np.ndarray]:
    loader = build_splits(recipe(**data), seed=4).train
    items, found = items_of(loader), []
    for epoch in (0, 1, 0):
        items.set_epoch(epoch)
        found.append(items.shown(np.arange(40)))
    return found


def test_factors_stay_unless_they_are_to_be_fresh() -> None:
    first, second, _ = epochs_of()
    np.testing.assert_array_equal(first, second)
    for settings in ({"fresh": True}, {"rescale": (0.5, 2.0)}, {"shift": 3}, {"flip": True}, {"cutout": 9}):
        drawn, other, again = epochs_of(**settings)
        np.testing.assert_array_equal(drawn, again)
        assert (drawn != other).any((1, 2)).mean() > 0.3, settings
        assert (drawn != first).any((1, 2)).mean() > 0.3, settings


def test_what_is_drawn_for_an_item_does_not_depend_on_its_batch() -> None:
    items = items_of(build_splits(recipe(rescale=(0.5, 2.0), fresh=True), seed=4).train)
    whole = items.shown(np.arange(40))
    np.testing.assert_array_equal(items.shown(np.array([31, 2])), whole[[31, 2]])


def test_a_second_factor_enlarges_and_shrinks() -> None:
    items = items_of(build_splits(recipe(rescale=(0.5, 2.0), interval=(0.5, 0.5)), seed=4).train)
    before, after = (one.astype(float).sum((1, 2)) for one in (items.rescaled(np.arange(40), np.full(40, 0.5)),
                                                               items.shown(np.arange(40))))  # fmt: skip
    ratio = np.sqrt(after / before)
    assert 0.45 < ratio.min() < 0.75 and 1.6 < ratio.max() < 2.1


def test_validation_calibrates_nothing_where_it_is_judged() -> None:
    splits = build_splits(recipe(evaluation=EvaluationConfig(split="validation")), seed=0)
    assert [*splits.evaluated] == ["validation", "factors"] and splits.calibration is None
    assert build_splits(recipe(patience=None), seed=0).watched is None
    measured = build_splits(recipe(), seed=0, trains=False)
    assert measured.watched is None and measured.train is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"validation_items": 0}, "train.patience is given, but there is nothing to watch; give data.validation_items"),
        ({"train_items": 1778}, "data: 500 of test, 20 of validation, 1778 of train are 2298 items; there are 1797"),
        ({"name": "scaled/mnist", "root": "nowhere"}, "data: .*nothing is downloaded here: give a folder"),
        ({"name": "scaled/stl10", "root": "nowhere"}, "data: there is no nowhere/stl10_binary; expected the binary"),
        (
            {"validation_items": 0, "patience": None, "evaluation": EvaluationConfig(split="validation")},
            "evaluation.split is validation, which has no items",
        ),
    ],
)
def test_what_cannot_be_drawn_is_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_splits(recipe(**settings), seed=0)


def test_the_checksum_tells_realisations_apart_and_is_documented() -> None:
    config = recipe(train_items=None, validation_items=None)
    assert isinstance(config.data, ScaledData)
    found = checksum(config.data)
    assert build_splits(config, seed=7).report == (f"scaled/digits, realisation 0: {found}",)
    others = [ScaledData(realisation=1), ScaledData(interval=(0.3, 0.9)), ScaledData(resampling="published")]
    assert found not in [checksum(other) for other in others]
    assert found in Path("docs/zoo.md").read_text("utf-8")
