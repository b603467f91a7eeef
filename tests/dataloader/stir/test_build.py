"""The splits of objects at many sizes: what is trained on, what is watched, and what is judged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from config.scenarios import SCENARIOS
from config.schema import Config, ConfigError, EvaluationConfig, ModelConfig, StirData
from dataloader.build import build_splits, count_classes
from dataloader.splits import Part, Splits
from dataloader.stir.container import SIDE, SIDES, SPLITS, Container, Selection
from dataloader.stir.items import Objects, rescaled
from tests.dataloader.stir.bars import COUNT, NAMES, bars, recipe_on, written

every_scenario = pytest.mark.parametrize("number", SCENARIOS)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("bars"))


def images_of(part: Part) -> list[bytes]:
    """In the order that they are shown in."""
    return [bytes((255 * one).round().byte().numpy()) for batch, *_ in part.loader(part.batches) for one in batch]


def trained_on(splits: Splits) -> list[bytes]:
    assert splits.train is not None
    return [bytes((255 * one).round().byte().numpy()) for batch, *_ in splits.train for one in batch]


def known(container: Container) -> dict[bytes, tuple[str, int]]:
    """Split and side of every image."""
    return {
        bytes(image): (split, int(side))
        for number, split in enumerate(SPLITS)
        for image, side in zip(container.images[number].reshape(-1, 64, 64), container.sides[number].flat, strict=True)
    }


@every_scenario
def test_every_part_shows_its_split_at_its_sizes(file: Path, number: int) -> None:
    container, scenario = bars(), SCENARIOS[number]
    place = known(container)
    assert len(place) == container.labels.size  # else an image could stand for another one
    splits = build_splits(recipe_on(file, patience=3, scenario=number), seed=0)
    judged, sizes = splits.evaluated.values()
    assert [*splits.evaluated] == ["test", "sizes"] and splits.calibration and splits.watched
    shown = {
        "train": (trained_on(splits), "train", scenario.trained),
        "watched": (images_of(splits.watched), "validation", scenario.trained),
        "calibration": (images_of(splits.calibration), "validation", scenario.trained),
        "test": (images_of(judged), "test", scenario.tested),
        "sizes": (images_of(sizes), "test", SIDES),
    }
    for name, (images, split, sides) in shown.items():
        assert len(images) == len(set(images)) == len(sides) * len(NAMES) * COUNT, name
        assert {place[image] for image in images} == {(split, side) for side in sides}, name


def test_the_first_items_are_of_all_sizes_and_classes(file: Path) -> None:
    """Those that are warped: a container lists size after size."""
    part = build_splits(recipe_on(file), seed=0).evaluated["test"]
    image, label, _ = next(iter(part.loader(part.batches[:1])))
    place = known(bars())
    sides = {place[bytes((255 * one).round().byte().numpy())][1] for one in image}
    assert len(image) == 50 and min(sides) < 24 and max(sides) > 56 and len(sides) > 15
    assert set(label.tolist()) == {0, 1, 2}


def test_some_items_are_the_first_of_all_for_any_seed(file: Path) -> None:
    whole = build_splits(recipe_on(file), seed=0).evaluated["test"]
    few = recipe_on(file, evaluation=EvaluationConfig(items=20, calibration_items=7))
    for seed in (0, 1):
        splits = build_splits(few, seed)
        assert images_of(splits.evaluated["test"]) == images_of(whole)[:20]
        assert splits.calibration is not None and len(images_of(splits.calibration)) == 7
        assert len(images_of(splits.evaluated["sizes"])) == len(SIDES) * len(NAMES) * COUNT


def test_sizes_tell_the_side_and_the_object_of_every_item(file: Path) -> None:
    part, container = build_splits(recipe_on(file), seed=0).evaluated["sizes"], bars()
    groups, place = part.groups, known(container)
    assert groups is not None
    label_of: dict[int, int] = {}
    for image, label, number in part.loader(part.batches):
        for one, kind, item in zip(image, label.tolist(), number.tolist(), strict=True):
            assert groups.scales[item] == place[bytes((255 * one).round().byte().numpy())][1]
            assert label_of.setdefault(int(groups.of_item[item]), kind) == kind
    assert len(label_of) == len(NAMES) * COUNT
    for one in label_of:
        assert sorted(groups.scales[groups.of_item == one]) == sorted(SIDES)


def test_validation_is_judged_at_the_sizes_of_training_and_calibrates_nothing(file: Path) -> None:
    config = recipe_on(file, patience=3, scenario=3, evaluation=EvaluationConfig(split="validation"))
    splits, place = build_splits(config, seed=0), known(bars())
    judged, sizes = splits.evaluated.values()
    assert [*splits.evaluated] == ["validation", "sizes"] and splits.calibration is None
    assert {place[image] for image in images_of(judged)} == {("validation", side) for side in range(49, 65)}
    assert {place[image] for image in images_of(sizes)} == {("validation", side) for side in SIDES}


def test_nothing_is_watched_where_nothing_would_end_by_it(file: Path) -> None:
    assert build_splits(recipe_on(file), seed=0).watched is None
    measured = build_splits(recipe_on(file, patience=3), seed=0, trains=False)
    assert measured.watched is None and measured.train is None


def test_processes_train_on_the_same_batches(file: Path) -> None:
    loaders = [build_splits(recipe_on(file), 5, share).train for share in ((0, 1), (0, 2), (1, 2))]
    whole, *halves = ([sorted(number.tolist()) for _, _, number in loader] for loader in loaders if loader)
    assert whole == [sorted(one + other) for one, other in zip(*halves, strict=True)]


def test_colour_has_three_channels(tmp_path: Path) -> None:
    file = written(tmp_path, channels=3)
    config = recipe_on(file, channels=3)
    image, *_ = next(iter(build_splits(config, seed=0).evaluated["test"].loader([[0, 1]])))
    assert image.shape == (2, 3, 64, 64) and image.max() <= 1
    with pytest.raises(ConfigError, match=r"data.channels is 1; expected 3, which \S+bars3.npz has"):
        build_splits(recipe_on(file), seed=0)


def objects(seed: int = 0, epoch: int = 0) -> Objects:
    found = Objects(bars().select("train", [20, 40]), (0.5, 2.0), seed)
    found.set_epoch(epoch)
    return found


def drawn(dataset: Objects, items: list[int]) -> list[Tensor]:
    return [dataset[item][0] for item in items]


def test_rescaling_depends_on_seed_epoch_and_item_alone() -> None:
    first, items = drawn(objects(), [0, 1, 2]), [0, 1, 2]
    torch.manual_seed(9)
    again = drawn(objects(), [2, 1, 0])[::-1]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for other in (objects(seed=1), objects(epoch=1)):
        assert not any(torch.equal(one, two) for one, two in zip(first, drawn(other, items), strict=True))
    widths = [float(image.sum()) / float(objects().images[0].sum() / 255) for image in drawn(objects(), [0] * 2)]
    assert widths[0] == widths[1]
    same = Objects(bars().select("train", [20, 20]), (0.5, 2.0))  # the same object under two numbers
    assert not torch.equal(same[0][0], same[len(same) // 2][0])


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_an_object_is_enlarged_about_the_centre(factor: float) -> None:
    """A blob off the centre: its own centre moves away from it by the factor, and its width grows by it."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")

    def moments(image: Tensor) -> tuple[float, float, float]:
        total = image.sum()
        at = [(image * axis).sum() / total - 31.5 for axis in (x, y)]
        return float(at[0]), float(at[1]), float(((image * (x - 31.5 - at[0]) ** 2).sum() / total).sqrt())

    for left, top in ((0.0, 0.0), (5.0, -8.0)):
        blob = torch.exp(-((x - 31.5 - left) ** 2 + (y - 31.5 - top) ** 2) / (2 * 4.0**2))
        found = moments(rescaled(blob[None], factor)[0])
        assert found == pytest.approx((factor * left, factor * top, factor * 4.0), abs=0.1)


def test_factors_are_uniform_in_their_logarithm_and_spare_what_is_judged(file: Path) -> None:
    """Of the square objects, whose light tells the factor, as long as they stay on the canvas."""
    selection = bars().select("train", [17] * 200)
    lit, labels = selection.images.astype(float).sum((1, 2)), selection.labels
    dataset = Objects(selection, (0.5, 1.0))
    factors = [
        math.sqrt(float(dataset[item][0].sum()) * 255 / lit[item]) for item in np.flatnonzero(labels == 0).tolist()
    ]
    assert min(factors) > 0.45 and max(factors) < 1.05
    assert np.mean(np.log(factors)) == pytest.approx(math.log(0.5) / 2, abs=0.05)
    plain, other = (build_splits(recipe_on(file, rescale=rescale), seed=0) for rescale in (None, (0.5, 2.0)))
    assert images_of(plain.evaluated["test"]) == images_of(other.evaluated["test"])
    assert set(trained_on(plain)).isdisjoint(trained_on(other))


def test_workers_hear_of_the_epoch(file: Path) -> None:
    found = []
    for workers in (0, 1):
        loader = build_splits(recipe_on(file, rescale=(0.5, 2.0), workers=workers), seed=0).train
        assert loader is not None
        data: Any = loader.dataset
        data.set_epoch(1)
        found.append(torch.cat([image for image, *_ in loader]))
    assert torch.equal(*found)


def at(**data: Any) -> Config:
    return Config(model=ModelConfig(backbone="stir2_standard", pretrained=False), data=StirData(**data))


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    for name, content in (("text.npz", b"no archive"), ("torn.npz", b"PK\x03\x04 no archive"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "single.npy", np.zeros(3))
    wrong = {
        "absent.npz": r"cannot be read \(No such file or directory\)",
        "": r"cannot be read \(Is a directory\)",
        "text.npz": "",
        "torn.npz": "it is no .npz file, or a broken one",
        "empty.npz": "it is no .npz file, or a broken one",
        "single.npy": "it is no .npz file",
    }
    for name, words in wrong.items():
        with pytest.raises(ConfigError, match=rf"^data: {tmp_path}/?{name}.*{words}") as error:
            count_classes(at(name="stir/FILE", file=str(tmp_path / name)))
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"data: .*are in none of .*data.name=stir/digits, which needs no download"):
        count_classes(at(name="stir/mnist", root=str(tmp_path)))


@pytest.mark.parametrize("rescale", [None, (0.5, 1.2)])
def test_siblings_have_the_middle_size_and_stand_where_their_items_do(rescale: tuple[float, float] | None) -> None:
    sides = np.array([20, 30, 33, 24])
    corners = np.array([[5, 30], [17, 17], [20, 11], [30, 8]])  # none is cut off at 1.2
    images = np.zeros((4, SIDE, SIDE), np.uint8)
    for image, side, (left, top) in zip(images, sides, corners, strict=True):
        image[top : top + side, left : left + side] = 255
    objects = Objects(Selection(images, np.zeros(4, int), sides, corners, np.arange(4)), rescale, seed=3)
    for epoch in range(3):
        objects.set_epoch(epoch)
        for index in range(4):
            item, sibling = box_of(objects[index][0]), box_of(objects.sibling(index))
            assert sibling[2:] == pytest.approx((30, 30), abs=0.3)  # the middle one of 20, 24, 30 and 33
            assert sibling[:2] == pytest.approx(item[:2], abs=0.3)
            scale, offset = objects.place(index)  # of positions of 0 to 1 from the first to the last pixel's centre
            assert torch.tensor(item[2:]) / torch.tensor(sibling[2:]) == pytest.approx(scale, abs=0.02)
            shown = scale * (torch.tensor(sibling[:2]) - 0.5) / (SIDE - 1) + offset
            assert shown * (SIDE - 1) + 0.5 == pytest.approx(torch.tensor(item[:2]), abs=0.3)


def test_a_sibling_shows_the_whole_object_where_it_stands_in_a_corner_or_is_cut_off() -> None:
    sides, corners = np.array([20, 20, 33]), np.array([[0, 44], [10, 2], [20, 25]])
    images = np.zeros((3, SIDE, SIDE), np.uint8)
    for image, side, (left, top) in zip(images, sides, corners, strict=True):
        image[top : top + side, left : left + side] = 255
    objects = Objects(Selection(images, np.zeros(3, int), sides, corners, np.arange(3)))
    assert objects.middle == 33
    assert box_of(objects.sibling(0)) == pytest.approx((16.5, SIDE - 16.5, 33, 33), abs=0.3)
    assert box_of(objects.sibling(1)) == pytest.approx((20, 16.5, 33, 33), abs=0.3)
    twice = Objects(objects.selection, (2.0, 2.0))
    for index in range(3):
        scale, offset = twice.place(index)
        assert box_of(twice.sibling(index))[2:] == pytest.approx((33, 33), abs=0.3)
        middle = torch.tensor(box_of(twice.sibling(index))[:2])
        shown = scale * (middle - 0.5) / (SIDE - 1) + offset
        own = (
            torch.from_numpy(corners[index] + sides[index] / 2 - SIDE / 2) * 2 + SIDE / 2
        )  # the item is twice as large
        assert shown * (SIDE - 1) + 0.5 == pytest.approx(own.float(), abs=0.5)


def box_of(image: Tensor) -> tuple[float, float, float, float]:
    """Of a white rectangle on black: its middle, x and y, and its width and height."""
    across, down = image[0].amax(0), image[0].amax(1)
    place = torch.arange(SIDE) + 0.5
    middle = [float((line * place).sum() / line.sum()) for line in (across, down)]
    return middle[0], middle[1], float(across.sum()), float(down.sum())


def test_siblings_come_last_where_they_are_asked_for(file: Path) -> None:
    splits = build_splits(recipe_on(file, rescale=(0.5, 2.0)), seed=0, siblings=True)
    assert splits.train is not None
    image, _, index, sibling, place = next(iter(splits.train))
    objects = splits.train.dataset.dataset  # type: ignore[attr-defined]
    assert sibling.shape == image.shape
    assert torch.equal(sibling[0], objects.sibling(int(index[0])))
    assert torch.equal(place[0], objects.place(int(index[0])))


def test_classes_are_those_of_the_container(file: Path) -> None:
    assert count_classes(recipe_on(file)) == build_splits(recipe_on(file), seed=0).num_classes == len(NAMES)
