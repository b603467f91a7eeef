"""The drawn multi-scale set: the same whenever it is drawn, and of one object nothing but the size changes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dataloader.pictures.classes import read_classes
from dataloader.pictures.folders import read_folder
from dataloader.pictures.groups import scale_groups
from dataloader.pictures.shapes import CLASSES, OBJECTS, RADIUS, SCALES, SIDE, ShapesSource, draw, write_shapes


def pixels(name: str, scale: float, seed: int) -> np.ndarray:
    return np.asarray(draw(name, scale, seed)).astype(int)


def covered(name: str, scale: float, seed: int) -> np.ndarray:
    """(y, x) of the pixels that an object changes; one of no size leaves a point."""
    return np.argwhere((pixels(name, scale, seed) != pixels(name, 0, seed)).any(2))


@pytest.mark.parametrize("split", OBJECTS)
def test_every_object_is_there_once_at_every_scale(split: str) -> None:
    source = ShapesSource(split)
    names = [source.name(number) for number in range(len(source))]
    groups = scale_groups(names)
    assert len(names) == len(set(names)) == OBJECTS[split] * len(SCALES)
    assert groups.report() == f"{OBJECTS[split]} groups at scales 0.7, 0.85, 1, 1.2, 1.4"
    assert [CLASSES[label] for label in source.labels] == [name.split("/")[1] for name in names]
    assert np.bincount(source.labels).tolist() == [OBJECTS[split] // 8 * len(SCALES)] * 8
    for group in groups.members[:16]:
        assert len({source.labels[item] for item in group}) == 1


def test_pictures_are_the_same_whenever_they_are_drawn() -> None:
    first, again, other = ShapesSource("val"), ShapesSource("val"), ShapesSource("train")
    np.random.seed(3)
    for number in (0, 7, 399):
        image = first.read(number)
        assert image.mode == "RGB" and image.size == (SIDE, SIDE)
        assert image.tobytes() == again.read(number).tobytes() != other.read(number).tobytes()
    assert len({first.read(number).tobytes() for number in range(50)}) == 50


@pytest.mark.parametrize("name", CLASSES)
def test_of_an_object_nothing_but_the_size_changes(name: str) -> None:
    for seed in range(3):
        centre = covered("disc", 1, seed).mean(0)
        for scale in SCALES:
            distance = np.linalg.norm(covered(name, scale, seed) - centre, axis=1)
            # It reaches to its radius, and nowhere else is the picture another.
            assert distance.max() == pytest.approx(RADIUS * scale, abs=2.5)
        areas = [len(covered(name, scale, seed)) for scale in (0.7, 1.4)]
        assert 2.5 < areas[1] / areas[0] < 4.2  # by the square of the scale, but for the edge


def test_the_disc_has_the_area_of_its_radius_and_stays_inside() -> None:
    for seed in range(20):
        disc = covered("disc", 1.4, seed)
        assert len(disc) == pytest.approx(math.pi * (1.4 * RADIUS) ** 2, rel=0.1)
        assert disc.min() >= 1 and disc.max() <= SIDE - 2


def test_classes_differ_over_the_same_background() -> None:
    seen = {pixels(name, 1, 5).tobytes() for name in CLASSES}
    assert len(seen) == len(CLASSES)


def test_the_written_folder_is_understood(tmp_path: Path) -> None:
    write_shapes(tmp_path, ("val",))
    classes = read_classes(None, tmp_path / "val")
    assert list(classes) == list(CLASSES)
    source, drawn = read_folder(tmp_path / "val", classes), ShapesSource("val")
    names = source.names()
    assert scale_groups(names).report() == "80 groups at scales 0.7, 0.85, 1, 1.2, 1.4"
    by_name = {drawn.name(number): number for number in range(len(drawn))}
    assert by_name.keys() == {f"val/{name}" for name in names}
    for number in range(0, 400, 37):
        same = by_name[f"val/{names[number]}"]
        assert source.labels[number] == drawn.labels[same]
        assert source.read(number).tobytes() == drawn.read(same).tobytes()


def test_another_split_is_refused() -> None:
    with pytest.raises(ValueError, match="the drawn shapes have no split 'test'; expected train or val"):
        ShapesSource("test")
