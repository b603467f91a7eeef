"""Boxes and masks of annotation files, in each of their three forms."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from example import annotated_disc, write_coco
from measure_quality import cover_of_disc
from multiscale.coco import CocoDetector, CocoSegmenter, coco_sources, folder_name
from multiscale.errors import NoPictures, SettingsError
from multiscale.picture import Source
from tests.datagen_ImNet.script_runs import picture_of

SIZE = (40, 30)
IMAGE = {"id": 7, "file_name": "below/photo.jpg", "width": SIZE[0], "height": SIZE[1]}
DISC = annotated_disc(70, 7, (20.5, 14.2), 8)
CATEGORIES = [{"id": 1, "name": "dining table"}, {"id": 2, "name": "dog"}]


def sources(folder: Path, *annotations: dict) -> list[Source]:
    return coco_sources(write_coco(folder / "instances.json", [IMAGE], annotations, CATEGORIES))


def mask_of(folder: Path, outline: object) -> np.ndarray:
    picture = picture_of(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    picture.source = sources(folder, DISC | {"segmentation": outline})[0]
    (found,) = CocoSegmenter()([picture])
    assert found.mask.dtype == bool and found.mask.shape == (SIZE[1], SIZE[0]) and found.score == 1
    return found.mask


def test_every_object_but_crowds_is_a_source(tmp_path: Path) -> None:
    crowd = DISC | {"id": 71, "iscrowd": 1}
    dog = DISC | {"id": 9, "category_id": 2}
    found = sources(tmp_path, DISC, crowd, dog)
    assert [(source.file, source.label, source.name, source.object_id, source.size) for source in found] == [
        ("below/photo.jpg", "dining_table", "photo_70", 70, SIZE),
        ("below/photo.jpg", "dog", "photo_9", 9, SIZE),
    ]


def test_the_box_is_that_of_the_annotation(tmp_path: Path) -> None:
    picture = picture_of(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    picture.source = sources(tmp_path, DISC)[0]
    (found,) = CocoDetector()([picture])
    assert found.box == pytest.approx((12.5, 6.2, 28.5, 22.2)) and found.score == 1


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, math.nan, 4], [1, 2, math.inf, 4], 7])
def test_what_is_no_box_is_none(box: object) -> None:
    assert CocoDetector().detect(box) is None


def test_a_polygon_covers_its_pixels(tmp_path: Path) -> None:
    mask = mask_of(tmp_path, DISC["segmentation"])
    cover = cover_of_disc(SIZE, (20.5, 14.2), 8)
    assert mask[cover == 1].all() and not mask[cover == 0].any()


def test_several_polygons_are_one_object(tmp_path: Path) -> None:
    mask = mask_of(tmp_path, DISC["segmentation"] + annotated_disc(0, 7, (33, 24), 4)["segmentation"])
    assert mask[14, 20] and mask[24, 33] and not mask[24, 20]


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_give_the_mask_itself(tmp_path: Path, compressed: bool) -> None:
    mask = np.random.default_rng(0).random((SIZE[1], SIZE[0])) < 0.5
    if compressed:
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        outline = {"size": code["size"], "counts": code["counts"].decode()}
    else:
        flat = np.concatenate([[False], mask.ravel("F"), [not mask.ravel("F")[-1]]])
        changes = np.flatnonzero(np.diff(flat.astype(int)))
        outline = {"size": list(mask.shape), "counts": np.diff([0, *changes]).tolist()}
    assert (mask_of(tmp_path, outline) == mask).all()


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        [[]],
        7,
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, math.nan]],
        [[1, 2, 3, 4, 5, 1e12]],
        [[1, 2, 3, 4, 5, "6"]],
        {"counts": [1200]},
        {"size": [30, 40]},
        {"size": [40, 30], "counts": [600, 600]},
        {"size": [30, 40], "counts": [600, 601]},
        {"size": [30, 40], "counts": [-600, 1800]},
        {"size": [30, 40], "counts": []},
        {"size": [30, 40], "counts": "garbage"},
        {"size": [30, 40], "counts": 7},
    ],
)
def test_what_is_no_outline_is_an_empty_mask(tmp_path: Path, outline: object) -> None:
    assert not mask_of(tmp_path, outline).any()


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": 3, "annotations": [], "categories": []}'])
def test_another_format_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SettingsError, match=r"a\.json is not in COCO's format: "):
        coco_sources(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("image", "annotations", "told"),
    [
        (IMAGE, [DISC | {"image_id": 8}], "KeyError: 8"),
        (IMAGE, [DISC | {"category_id": 8}], "KeyError: 8"),
        (IMAGE, [DISC, DISC], "the id 70 stands twice"),
        ({"id": 7, "file_name": "a.jpg"}, [DISC], "KeyError: 'width'"),
        ({"id": 7, "width": 4, "height": 3}, [DISC], "KeyError: 'file_name'"),
    ],
)
def test_records_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, image: dict, annotations: list[dict], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        coco_sources(write_coco(tmp_path / "a.json", [image], annotations, CATEGORIES))


@pytest.mark.parametrize("wrong", ["/../../../../ESCAPED", "70", 70.0, True, None, [7]])
@pytest.mark.parametrize("kind", ["images", "categories", "annotations"])
def test_an_id_is_an_integer(tmp_path: Path, kind: str, wrong: object) -> None:
    records = {"images": [IMAGE], "annotations": [DISC], "categories": CATEGORIES}
    records[kind] = [records[kind][0] | {"id": wrong}]
    told = rf"a\.json is not in COCO's format: .*an id in {kind} is {re.escape(repr(wrong))}; expected an integer"
    with pytest.raises(SettingsError, match=told):
        coco_sources(write_coco(tmp_path / "a.json", **records))


def test_a_file_without_objects_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoPictures, match="has no object that is not a crowd"):
        sources(tmp_path, DISC | {"iscrowd": 1})
    with pytest.raises(NoPictures, match="there is no annotation file"):
        coco_sources(tmp_path)


@pytest.mark.parametrize(
    ("category", "folder"),
    [
        ("dining table", "dining_table"),
        ("..", "_"),
        (".partial", "_partial"),
        ("", "_"),
        ("a/b", "a_b"),
        ("日本", "日本"),
    ],
)
def test_a_category_is_a_folder_of_the_split(category: str, folder: str) -> None:
    assert folder_name(category) == folder


def test_categories_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", [], [], [{"id": 1, "name": "a b"}, {"id": 2, "name": "a/b"}])
    with pytest.raises(SettingsError, match="several categories would share the folder 'a_b'"):
        coco_sources(path)
