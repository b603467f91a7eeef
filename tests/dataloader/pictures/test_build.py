"""Pictures from a recipe: what is cut out of them and erased in them, and what is held out of the training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import resolve_data_config

from config.schema import AugmentationConfig, Config, EvaluationConfig, ModelConfig, PictureData
from dataloader.build import build_splits, count_classes
from dataloader.splits import Splits

SEED, SIDE = 3, 16
RED, GREEN, BLUE = np.eye(3)
STRIPES = np.repeat([RED, GREEN, GREEN, BLUE], SIDE // 2, axis=0)  # colours from left to right, twice as wide as high
SHAPES = PictureData(name="shapes", workers=0)
SHAPES_ITEMS = 2400  # of the training split, in groups of five


def built(config: PictureData, *, seed: int = SEED, erase: float = 0.0, trains: bool = True, **settings: Any) -> Splits:
    """The splits, with these settings of the evaluation or of the description of the input."""
    own = {name: settings.pop(name) for name in ("calibration_items", "items", "split") if name in settings}
    description = resolve_data_config({"img_size": SIDE, "crop_pct": 1.0, **settings})
    return build_splits(
        recipe(config, AugmentationConfig(flip=0, erase=erase), **own), seed, (0, 1), description, trains=trains
    )


def recipe(data: PictureData, augmentation: AugmentationConfig, **evaluation: Any) -> Config:
    model = ModelConfig(backbone="test_vit", pretrained=False)
    judged = EvaluationConfig(**({"split": "val", "batch_size": 100} | evaluation))
    return Config(data=data, model=model, augmentation=augmentation, evaluation=judged)


def folder_of(root: Path, pixels: np.ndarray) -> PictureData:
    """A set of one class, in whose splits all pictures are this one, (height, width, 3) from 0 to 1."""
    for split, count in (("train", 5), ("val", 1)):
        (root / split / "a").mkdir(parents=True)
        for number in range(count):
            Image.fromarray((255 * pixels).astype(np.uint8)).save(root / split / "a" / f"{number}.png")
    return PictureData(root=str(root), class_map=None, workers=0)


def loaded(splits: Splits) -> Any:
    """The loader of the training."""
    return splits.train


def part_of(splits: Splits, name: str) -> Any:
    """The data set of a part."""
    part: Any = {"train": splits.train, "calibration": splits.calibration, **splits.evaluated}[name]
    return part.dataset


def items_of(batches: list[list[int]]) -> list[int]:
    return [item for batch in batches for item in batch]


@pytest.mark.parametrize(
    ("crop_mode", "left", "top"),
    [("center", GREEN, GREEN), ("squash", RED, GREEN), ("border", RED, np.zeros(3))],
)
def test_pictures_are_cut_as_the_backbones_description_says(
    tmp_path, crop_mode: str, left: np.ndarray, top: np.ndarray
) -> None:
    """Of a wide picture: its middle, all of it squeezed into a square, or all of it within a border."""
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear"}
    data = built(folder_of(tmp_path, np.tile(STRIPES, (SIDE, 1, 1))), crop_mode=crop_mode, **plain)
    for part in (data.evaluated["val"], data.calibration):
        assert part is not None
        image, *_ = part.dataset[0]
        assert image.shape == (3, SIDE, SIDE)
        np.testing.assert_allclose(image[:, SIDE // 2, 0], left, atol=0.02)
        np.testing.assert_allclose(image[:, 0, SIDE // 2], top, atol=0.02)


def test_pictures_come_at_the_side_that_the_recipe_asks_for(tmp_path) -> None:
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "crop_mode": "squash", "interpolation": "bilinear"}
    config = folder_of(tmp_path, np.tile(STRIPES, (SIDE, 1, 1)))
    own, same, wide = (built(replace(config, side=side), **plain) for side in (None, SIDE, 3 * SIDE))
    for name in ("train", "calibration", "val"):
        image, equal, larger = (part_of(splits, name)[0][0] for splits in (own, same, wide))
        assert torch.equal(image, equal)
        assert image.shape == (3, SIDE, SIDE) and larger.shape == (3, 3 * SIDE, 3 * SIDE)
    np.testing.assert_allclose(larger[:, 0, 0], RED, atol=0.02)  # all of the picture, and not a part of it
    np.testing.assert_allclose(larger[:, -1, -1], BLUE, atol=0.02)


def test_what_is_erased_is_noise_of_its_own_in_every_pixel(tmp_path) -> None:
    config = folder_of(tmp_path, np.full((SIDE, SIDE, 3), 0.8))
    whole, erased = (loaded(built(config, erase=erase)).dataset for erase in (0.0, 1.0))
    for number in range(5):
        image, plain = erased[number][0], whole[number][0]
        assert len(plain.flatten(1).unique(dim=1).T) == 1  # one colour
        noise = image[(image != plain).all(0).expand(3, -1, -1)]
        assert 0.02 < len(noise) / image.numel() < 0.4
        assert len(noise.unique()) == len(noise) and noise.std() > 0.7


@pytest.mark.parametrize(("asked", "expected"), [(100, 100), (480, 480), (485, 480), (9999, 480)])
@pytest.mark.parametrize("split", ["val", "held_out"])
def test_at_most_a_fifth_is_held_out_for_the_temperature(asked: int, expected: int, split: str) -> None:
    data = built(SHAPES, calibration_items=asked, split=split)
    assert data.calibration is not None
    calibration, trained = items_of(data.calibration.batches), loaded(data).batch_sampler.items
    held_out = items_of(data.evaluated["val"].batches) if split == "held_out" else []
    assert len(calibration) == expected
    assert len(held_out) == (480 if split == "held_out" else 0)  # a fifth of its own
    assert sorted(calibration + held_out + trained) == list(range(SHAPES_ITEMS))


def test_the_groups_that_are_held_out_belong_to_the_seed() -> None:
    first, again, other = (built(SHAPES, seed=seed) for seed in (SEED, SEED, SEED + 1))
    assert first.calibration is not None and again.calibration is not None and other.calibration is not None
    assert first.calibration.batches == again.calibration.batches
    groups, others = (part.calibration.groups.of_item[items_of(part.calibration.batches)] for part in (first, other))
    assert len(np.intersect1d(groups, others)) < len(np.unique(groups)) / 2  # a fifth of them by chance
    assert (np.unique(groups, return_counts=True)[1] == 5).all()  # whole ones


def test_pictures_name_their_splits_and_say_what_was_found() -> None:
    data = built(SHAPES, calibration_items=100)
    assert list(data.evaluated) == ["val"] and data.mix is None and data.num_classes == 8
    groups = "groups at scales 0.7, 0.85, 1, 1.2, 1.4"
    assert data.report == (
        "training on 2300 of 2400 files, 8 classes",
        f"calibration: 100 files; 480 {groups}",
        f"val: 400 files; 80 {groups}",
    )
    part = data.evaluated["val"]
    assert (part.kind, part.composed) == ("pictures", None)
    mixed = recipe(SHAPES, AugmentationConfig(mixup=0.8))
    assert count_classes(mixed) == 8
    assert build_splits(mixed, SEED, description=resolve_data_config({"img_size": SIDE})).mix is not None


def test_without_a_training_its_folder_may_be_absent(tmp_path) -> None:
    config = replace(folder_of(tmp_path, np.full((SIDE, SIDE, 3), 0.8)), class_map=str(tmp_path / "classes.txt"))
    (tmp_path / "classes.txt").write_text("a\n")
    there = built(config, trains=False)
    assert there.train is None and there.calibration is not None and there.report[0].startswith("training on 4 of 5")
    shutil.rmtree(tmp_path / "train")
    absent = built(config, trains=False)
    assert absent.calibration is None and absent.report == (
        "there is no training split: nothing is tempered",
        "val: 1 files",
    )
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        built(config)


def test_what_cannot_be_read_is_counted_once_in_all_parts(tmp_path) -> None:
    """The temperature and the evaluation share a data set here."""
    config = folder_of(tmp_path, np.full((SIDE, SIDE, 3), 0.8))
    for path in tmp_path.glob("train/a/*"):
        path.write_bytes(b"no picture")
    data = built(replace(config, broken_limit=0), split="held_out", items=1, calibration_items=1)
    assert data.count_broken() == 0 and data.calibration is not None
    data.check()
    for part in (data.calibration, data.evaluated["val"]):
        assert [label.tolist() for _, label, _ in part.loader(part.batches)] == [[-1]]
    assert data.count_broken() == 2 and data.count_broken(lambda flags: 0 * flags) == 0
    with pytest.raises(ValueError, match=r"2 pictures could not be read, .* allows 0"):
        data.check()
