"""Boxes and masks of annotation files, in each of their three forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from example import annotated_disc, write_coco
from measure_quality import cover_of_disc
from multiscale.coco import Annotations, CocoDetector, CocoSegmenter
from multiscale.errors import NoPictures, SettingsError
from multiscale.picture import Picture
from tests.datagen_ImNet.script_runs import picture_of

SIZE = (40, 30)
IMAGE = {"id": 7, "file_name": "below/photo.jpg", "width": SIZE[0], "height": SIZE[1]}
DISC = annotated_disc(70, 7, (20.5, 14.2), 8)
CATEGORIES = [{"id": 1, "name": "dining table"}, {"id": 2, "name": "dog"}]


def annotated(folder: Path, *annotations: dict) -> Annotations:
    return Annotations(write_coco(folder / "instances.json", [IMAGE], annotations, CATEGORIES))


def read_picture(annotations: Annotations) -> Picture:
    picture = picture_of(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    picture.source = annotations.sources()[0]
    return picture


def test_every_object_but_crowds_is_a_source(tmp_path: Path) -> None:
    crowd = DISC | {"id": 71, "iscrowd": 1}
    dog = DISC | {"id": 9, "category_id": 2}
    found = annotated(tmp_path, DISC, crowd, dog).sources()
    assert [(source.file, source.label, source.name, source.object_id, source.size) for source in found] == [
        ("below/photo.jpg", "dining_table", "photo_70", 70, SIZE),
        ("below/photo.jpg", "dog", "photo_9", 9, SIZE),
    ]


def test_the_box_is_that_of_the_annotation(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, DISC)
    (found,) = CocoDetector(annotations)([read_picture(annotations)])
    assert found.box == pytest.approx((12.5, 6.2, 28.5, 22.2)) and found.score == 1


def test_a_polygon_covers_its_pixels(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, DISC)
    (found,) = CocoSegmenter(annotations)([read_picture(annotations)])
    cover = cover_of_disc(SIZE, (20.5, 14.2), 8)
    assert found.mask.dtype == bool and found.mask.shape == (SIZE[1], SIZE[0])
    assert found.mask[cover == 1].all() and not found.mask[cover == 0].any()


def test_several_polygons_are_one_object(tmp_path: Path) -> None:
    far = annotated_disc(0, 7, (33, 24), 4)["segmentation"]
    annotations = annotated(tmp_path, DISC | {"segmentation": DISC["segmentation"] + far})
    (found,) = CocoSegmenter(annotations)([read_picture(annotations)])
    assert found.mask[14, 20] and found.mask[24, 33] and not found.mask[24, 20]


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
    annotations = annotated(tmp_path, DISC | {"segmentation": outline})
    (found,) = CocoSegmenter(annotations)([read_picture(annotations)])
    assert (found.mask == mask).all()


def test_no_outline_is_an_empty_mask(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, DISC | {"segmentation": []})
    (found,) = CocoSegmenter(annotations)([read_picture(annotations)])
    assert not found.mask.any()


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": 3, "annotations": [], "categories": []}'])
def test_another_format_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(
        SettingsError, match=r"a\.json is not in COCO's format, with images, annotations and categories"
    ):
        Annotations(tmp_path / "a.json")


def test_an_annotation_without_its_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the annotation 70 belongs to no image or no category"):
        annotated(tmp_path, DISC | {"image_id": 8})
    with pytest.raises(SettingsError, match="the annotation 70 belongs to no image or no category"):
        annotated(tmp_path, DISC | {"category_id": 8})
    with pytest.raises(NoPictures, match="there is no annotation file"):
        Annotations(tmp_path / "nowhere.json")


def test_categories_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", [], [], [{"id": 1, "name": "a b"}, {"id": 2, "name": "a/b"}])
    with pytest.raises(SettingsError, match="several categories would share the folder 'a_b'"):
        Annotations(path)
