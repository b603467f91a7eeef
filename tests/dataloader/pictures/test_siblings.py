"""Training pictures beside their objects at scale 1: which ones, through which draw, and where there are none."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor
from torch.utils.data import DataLoader

from config.schema import (
    AugmentationConfig,
    Config,
    ConfigError,
    EvaluationConfig,
    ModelConfig,
    PictureData,
    TrainConfig,
)
from dataloader.pictures.build import build_splits
from dataloader.pictures.folders import read_folder
from dataloader.pictures.groups import scale_groups
from dataloader.pictures.items import TrainingPictures
from dataloader.pictures.siblings import WithSiblings

SEED, SIDE = 3, 16
SIZE = 48, 40  # of a picture, width first
RANDOM = create_transform(SIDE, is_training=True, hflip=0.5, color_jitter=0.4, interpolation="random")
SHAPES = PictureData(name="shapes", workers=0)


def loader_of(data: PictureData, *, siblings: bool = True, trains: bool = True) -> DataLoader | None:
    config = Config(
        data=data,
        model=ModelConfig(backbone="test_vit", pretrained=False),
        augmentation=AugmentationConfig(flip=0.5),
        train=TrainConfig(batch_size=10),
        evaluation=EvaluationConfig(split="val", calibration_items=5),
    )
    description = resolve_data_config({"img_size": SIDE})
    return build_splits(config, SEED, (0, 1), description, trains=trains, siblings=siblings).train


def write(root: Path, *names: str) -> None:
    """Pictures of noise, which are all different, below root/train/a and root/val/a."""
    for number, (split, name) in enumerate(itertools.product(("train", "val"), names)):
        path = root / split / "a" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.RandomState(number).randint(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
        Image.fromarray(noise).save(path)


def folder_of(root: Path) -> PictureData:
    return PictureData(root=str(root), class_map=None, workers=0)


def paired(root: Path, items: list[int] | None = None, *, limit: int = 9) -> WithSiblings:
    """The training split of a folder."""
    source = read_folder(root / "train", {"a": 0})
    chosen = list(range(len(source))) if items is None else items
    groups = scale_groups(source.names())
    return WithSiblings(TrainingPictures(source, RANDOM, groups, 1, limit, items=chosen, seed=SEED))


def file_of(dataset: WithSiblings, number: int) -> str:
    return Path(dataset.pictures.source.name(number)).name


def expected(dataset: WithSiblings, file: int, draw: int) -> Tensor:
    """A file through the draw of an item."""
    return dataset.pictures.drawn(dataset.pictures.source.read(file), draw)


def test_the_training_gives_every_shape_at_scale_one_too() -> None:
    loader, plain = loader_of(SHAPES), loader_of(SHAPES, siblings=False)
    assert loader is not None and plain is not None
    images, labels, numbers, siblings = next(iter(loader))
    for own, other in zip((images, labels, numbers), next(iter(plain)), strict=True):
        assert torch.equal(own, other)  # what stands beside a picture changes nothing of it
    assert siblings.shape == images.shape == (10, 3, SIDE, SIDE)
    dataset = loader.dataset
    assert isinstance(dataset, WithSiblings)
    for number, image, sibling in zip(numbers.tolist(), images, siblings, strict=True):
        first = number - number % 5  # the shapes come in groups of five, scale 1 first
        assert torch.equal(sibling, expected(dataset, first, draw=number))
        assert torch.equal(image, sibling) or number != first
    assert not torch.equal(images, siblings)


def test_the_draw_is_the_pictures_and_another_one_in_every_epoch(tmp_path: Path) -> None:
    write(tmp_path, "x_scale_0.5", "x_scale_1", "x_scale_2", "y_scale_1.0")
    dataset = paired(tmp_path)
    found = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for number in range(4):
            image, label, index, sibling = dataset[number]
            at = 3 if number == 3 else 1
            assert (label, index, file_of(dataset, at)) == (0, number, ("x_scale_1.png", "y_scale_1.0.png")[at == 3])
            assert torch.equal(image, expected(dataset, number, number))
            assert torch.equal(sibling, expected(dataset, at, number))
            assert torch.equal(image, sibling) == (number == at)
            found.append(sibling)
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(found, 2))


def test_the_same_part_is_cut_out_of_both_and_turned_alike(tmp_path: Path) -> None:
    """A picture of its own coordinates, of which scale 1 has the negative: what is cut shows where it lay."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    places = np.stack([5 * x, 6 * y, 0 * x], axis=-1).astype(np.uint8)
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.fromarray(places).save(tmp_path / "train" / "a" / "x_scale_0.5.png")
    Image.fromarray(255 - places).save(tmp_path / "train" / "a" / "x_scale_1.png")
    source = read_folder(tmp_path / "train", {"a": 0})
    unit = create_transform(
        SIDE, is_training=True, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", color_jitter=0.0
    )
    pictures = TrainingPictures(source, unit, scale_groups(source.names()), 1, 9, items=[0, 1], seed=SEED)
    dataset = WithSiblings(pictures)
    corners = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        image, _, _, sibling = dataset[0]
        torch.testing.assert_close(image + sibling, torch.ones_like(image), atol=2.5 / 255, rtol=0)
        corners.add(tuple(image[:2, 0, 0].tolist()))
    assert len(corners) == 8


def test_a_pair_of_which_one_cannot_be_read_gives_way_to_another_pair(tmp_path: Path, capsys) -> None:
    write(tmp_path, "x_scale_1", "x_scale_2", "y_scale_1", "y_scale_2")
    (tmp_path / "train" / "a" / "x_scale_1.png").write_bytes(b"no picture")
    dataset = paired(tmp_path)
    image, _, index, sibling = dataset[1]  # x at scale 2 is sound
    assert index == 1 and "x_scale_1.png cannot be read" in capsys.readouterr().err
    pairs = [(expected(dataset, number, number), expected(dataset, 2, number)) for number in (2, 3)]
    assert any(torch.equal(image, own) and torch.equal(sibling, other) for own, other in pairs)
    with pytest.raises(ValueError, match="1 pictures could not be read"):
        dataset.pictures.broken_limit = 0
        dataset.check()


def test_pictures_of_two_sizes_are_refused_for_no_draw_fits_both(tmp_path: Path) -> None:
    write(tmp_path, "x_scale_1", "x_scale_2")
    Image.new("RGB", (30, 30)).save(tmp_path / "train" / "a" / "x_scale_1.png")
    words = r"x_scale_2.png has \(48, 40\) pixels and its sibling \(30, 30\); expected pictures of one size"
    with pytest.raises(ValueError, match=words):
        paired(tmp_path)[1]


def test_without_scale_one_it_is_said_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "plain", *"abcdef")
    write(tmp_path / "other", *(f"{name}_scale_{scale}" for name in "abcdef" for scale in (0.5, 2)))
    write(tmp_path / "some", *(f"{name}_scale_{scale}" for name in "abcdef" for scale in (1, 2)), "z_scale_2")
    files = r"expected files NAME_scale_1\.EXT beside NAME_scale_S\.EXT"
    with pytest.raises(ConfigError, match=rf"of 5 pictures to train on, 5 have no sibling, .*\.png for .*; {files}"):
        loader_of(folder_of(tmp_path / "plain"))
    with pytest.raises(ConfigError, match=rf"of 10 pictures to train on, 10 have no sibling, .*; {files}"):
        loader_of(folder_of(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"of 13 pictures to train on, 1 have no sibling, .*z_scale_2\.png"):
        paired(tmp_path / "some")
    paired(tmp_path / "some", list(range(12)))  # without the one that has none
    for data in (folder_of(tmp_path / "plain"), folder_of(tmp_path / "other")):
        assert loader_of(data, siblings=False) is not None
        assert loader_of(data, trains=False) is None  # what is only judged needs no siblings


def test_a_stream_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\n")
    data = PictureData(name="wds/", root=str(tmp_path), class_map=str(tmp_path / "classes.txt"))
    with pytest.raises(ConfigError, match=r"data\.name is 'wds/'; expected folder, shapes or hfds/NAME, with files N"):
        loader_of(data)


def test_every_item_knows_which_one_shows_its_object_at_scale_one() -> None:
    names = ["a/x_scale_2.png", "a/x_scale_1.png", "a/y.png", "b/x_scale_2.png", "a/x_scale_1.0.png", "b/y_scale_1.png"]
    assert scale_groups(names).siblings.tolist() == [1, 1, -1, -1, 4, 5]
