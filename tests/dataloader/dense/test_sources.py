"""Pictures with masks from folders and instance files: what is read, and what is refused, with value and remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from config.schema import Config, ConfigError, DensePictureData, EvaluationConfig, ModelConfig
from dataloader.build import build_splits, count_classes
from dataloader.dense.masks import outlined, read_mask, semantic
from dataloader.dense.sources import Coco, MultiScale, Voc

MODEL = ModelConfig(backbone="test_resnet", pretrained=False)
GENERATOR = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GENERATOR.integers(0, 256, (*size, 3), np.uint8)).save(path)


def mask_of(path: Path, values: np.ndarray, mode: str | None = None) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.fromarray(values, "L").convert("P")
        image.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
        image.putdata(values.flatten().tolist())
    image.save(path)
    return values


def voc(root: Path, count: int = 4) -> Path:
    """Pictures of 20 x 30 pixels: one without an object, one with a void border, palette and 16-bit masks."""
    for split in ("train", "val"):
        names = [f"{split}_{number}" for number in range(count)]
        for number, name in enumerate(names):
            picture(root / "JPEGImages" / f"{name}.jpg", (20, 30))
            values = np.zeros((20, 30), np.uint8)
            if number:
                values[5:15, 6:20] = number
            if number == 1:
                values[[0, -1]] = 255
            kind = {2: "P"}.get(number)
            path = root / "SegmentationClass" / f"{name}.png"
            mask_of(path, values.astype(np.uint16) if number == 3 else values, kind)
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def config_of(name: str, root: Path, **data: Any) -> Config:
    section = DensePictureData(name=name, root=str(root), side=32, workers=0, **data)
    return Config(model=MODEL, data=section, evaluation=EvaluationConfig(batch_size=4))


def test_voc_folders_give_pictures_and_maps(tmp_path) -> None:
    config = config_of("dense/voc", voc(tmp_path))
    splits = build_splits(config, 0)
    assert splits.num_classes == count_classes(config) == 21
    image, label, number = next(iter(splits.train))
    assert image.shape == (4, 3, 32, 32) and label.shape == (4, 32, 32) and sorted(number.tolist()) == [0, 1, 2, 3]
    again = next(iter(build_splits(config, 0).train))
    assert all((one == other).all() for one, other in zip((image, label, number), again, strict=True))
    part = splits.evaluated["test"]
    _, label, _ = next(iter(part.loader(part.batches)))
    for number in range(4):  # of 30 x 20 in 32 x 32: void above and below, and the object's own number
        assert set(label[number].unique().tolist()) == {0, 255, *([number] if number else [])}


def test_views_are_drawn_afresh_in_every_epoch(tmp_path) -> None:
    loader = build_splits(config_of("dense/voc", voc(tmp_path)), 0).train
    first = loader.dataset[1]
    loader.dataset.set_epoch(1)
    assert not (loader.dataset[1][0] == first[0]).all()
    loader.dataset.set_epoch(0)
    assert (loader.dataset[1][0] == first[0]).all()


def test_masks_of_one_channel_are_read_whatever_their_bits(tmp_path) -> None:
    values = GENERATOR.integers(0, 5, (8, 9), np.uint8)
    values[0] = 255
    for mode, given in (("P", values), (None, values), (None, values.astype(np.uint16))):
        mask_of(tmp_path / "mask.png", given, mode)
        assert np.array_equal(read_mask(tmp_path / "mask.png", (8, 9), 5), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((8, 9, 3), np.uint8), r"mask\.png is a mask of mode RGB, 3 channels; expected one channel of class"),
        (np.zeros((9, 8), np.uint8), r"mask\.png has 8 x 9 pixels and its picture 9 x 8; expected a mask of the pict"),
        (np.full((8, 9), 5, np.uint8), r"mask\.png has the label 5 at 72 pixels; expected 0 to 4, or 255 for void"),
        (np.full((8, 9), 300, np.uint16), r"mask\.png has the label 300 at 72 pixels"),
    ],
)
def test_other_masks_are_refused(tmp_path, values, message) -> None:
    mask_of(tmp_path / "mask.png", values)
    with pytest.raises(ConfigError, match=message):
        read_mask(tmp_path / "mask.png", (8, 9), 5)


def test_a_broken_mask_or_picture_is_named(tmp_path) -> None:
    root = voc(tmp_path)
    (root / "SegmentationClass" / "val_0.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"val_0\.png cannot be read as a mask .*; expected a PNG of class numbers"):
        Voc(root, "val", None).read(0)
    root = voc(tmp_path)
    (root / "JPEGImages" / "val_1.jpg").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"val_1\.jpg cannot be read .*; remove it from the split, or mend it"):
        Voc(root, "val", None).read(1)


def test_a_list_that_names_what_is_not_there_is_refused(tmp_path) -> None:
    root = voc(tmp_path)
    (root / "SegmentationClass" / "val_2.png").unlink()
    with pytest.raises(ConfigError, match=r"val\.txt names val_2, but there is no .*SegmentationClass/val_2\.png"):
        build_splits(config_of("dense/voc", root), 0)
    with pytest.raises(ConfigError, match=r"there is no .*Segmentation/test\.txt; expected a text file with the name"):
        build_splits(config_of("dense/voc", root, val_split="test"), 0)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(ConfigError, match=r"val\.txt is empty"):
        build_splits(config_of("dense/voc", root), 0)
    with pytest.raises(ConfigError, match="root is null; expected the folder of dense/voc"):
        build_splits(Config(model=MODEL, data=DensePictureData()), 0)


def test_outlines_fill_the_pixels_whose_middles_lie_inside() -> None:
    square = [[2, 1, 8, 1, 8, 5, 2, 5]]
    found = outlined((8, 12), square)
    assert found[1:5, 2:8].all() and found.sum() == 24
    assert not outlined((8, 12), [[1, 1, 2, 2]]).any()
    assert outlined((8, 12), [[-5, -5, 30, -5, 30, 30, -5, 30]]).all()
    crowd = {"counts": [9, 2, 85], "size": [8, 12]}
    found = outlined((8, 12), crowd)
    assert found.sum() == 2 and found[1, 1] and found[2, 1]  # column by column
    large, small = (
        {"category_id": kind, "segmentation": shape} for kind, shape in ((7, square), (9, [[3, 2, 5, 2, 5, 4, 3, 4]]))
    )
    for order in ([large, small], [small, large]):
        mask = semantic((8, 12), order, {7: 1, 9: 2})
        assert mask[2, 3] == 2 and mask[1, 7] == 1 and mask[7, 0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 5}, "annotation 1 of image 1 has the category_id 5; expected the id of a category"),
        ({"category_id": None}, "has the category_id None"),
        ({"segmentation": []}, "has no segmentation, and a box alone gives no mask; expected an outline"),
        ({"segmentation": None}, "has no segmentation"),
        ({"segmentation": [[]]}, "has a polygon that is no list of x and y in turn"),
        ({"segmentation": [4.0, 4.0, 20.0]}, "has a polygon that is no list of x and y in turn"),
        ({"segmentation": [[4.0, 4.0, 20.0]]}, "has a polygon that is no list of x and y in turn"),
        (
            {"segmentation": {"counts": "abc", "size": [20, 30]}},
            "has runs of compressed text; expected a list of count",
        ),
        ({"segmentation": {"counts": [-1, 601], "size": [20, 30]}}, "has runs that are no list of whole numbers"),
        ({"segmentation": {"counts": [599], "size": [20, 30]}}, "has runs of 599 pixels and the size"),
        ({"segmentation": {"counts": [600], "size": [30, 20]}}, r"\[height, width\] of the picture, \[20, 30\]"),
    ],
)
def test_annotations_that_cannot_be_painted_are_refused_before_training(tmp_path, change: dict, message: str) -> None:
    file = coco(tmp_path) / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"instances\.json: annotation 1 .*{message}|instances\.json: {message}"):
        Coco(file, tmp_path / "images")


def test_an_area_is_not_needed_and_ids_stand_for_one_image_each(tmp_path) -> None:
    file = coco(tmp_path) / "instances.json"
    content = json.loads(file.read_text())
    for item in content["annotations"]:
        del item["area"]
    file.write_text(json.dumps(content))
    assert Coco(file, tmp_path / "images").read(1)[1][10, 10] == 1
    for images, message in (([*content["images"], content["images"][0]], "has images of one id"), ([], "KeyError")):
        file.write_text(json.dumps(content | {"images": images}))
        with pytest.raises(ConfigError, match=message):
            Coco(file, tmp_path / "images")


def test_numbers_of_classes_leave_255_to_what_is_void(tmp_path) -> None:
    with pytest.raises(ConfigError, match="num_classes is 400; expected at most 255, for the number 255 is void"):
        DensePictureData(num_classes=400)
    with pytest.raises(ConfigError, match="there are 256 classes; expected at most 255"):
        MultiScale(multi_scale(tmp_path), "val", ["background", "n1", "n2", *(f"n{k}" for k in range(3, 256))])


def test_a_picture_that_is_turned_by_its_exif_block_is_refused(tmp_path) -> None:
    root = voc(tmp_path)
    path = root / "JPEGImages" / "val_1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(path) as image:
        image.save(path, exif=exif)
    with pytest.raises(ConfigError, match=r"val_1\.jpg is turned by its EXIF block \(orientation 3\)"):
        Voc(root, "val", None).read(1)


def test_masks_are_checked_before_training(tmp_path) -> None:
    root = voc(tmp_path)
    mask_of(root / "SegmentationClass" / "val_3.png", np.full((20, 30), 77, np.uint8))
    with pytest.raises(ConfigError, match=r"val_3\.png has the label 77"):
        Voc(root, "val", None)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"val\.txt is no text in UTF-8"):
        Voc(root, "val", None)


def test_a_manifest_that_is_broken_or_empty_is_named(tmp_path) -> None:
    file = multi_scale(tmp_path) / "val" / "manifest.jsonl"
    file.write_text('{"version": 1}\n')
    with pytest.raises(ConfigError, match=r"manifest\.jsonl names no pictures"):
        MultiScale(tmp_path, "val")
    file.write_text('{"version": 1')
    with pytest.raises(ConfigError, match=r"manifest\.jsonl has a line that is no JSON"):
        MultiScale(tmp_path, "val")


def coco(root: Path) -> Path:
    images = [{"id": number, "file_name": f"{number}.png", "height": 20, "width": 30} for number in range(5)]
    for image in images:
        picture(root / "images" / image["file_name"], (20, 30))
    shape = [[4.0, 4.0, 20.0, 4.0, 20.0, 15.0, 4.0, 15.0]]
    objects = [
        {"id": number, "image_id": number, "category_id": 10 * number, "area": 176.0, "segmentation": shape}
        for number in (1, 2, 3)
    ]
    categories = [{"id": 10 * number, "name": f"thing{number}"} for number in (3, 1, 2)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def test_an_instance_file_is_painted_and_divided(tmp_path) -> None:
    config = config_of("dense/coco", coco(tmp_path), val_items=2)
    splits = build_splits(config, 3)
    assert splits.num_classes == 4
    judged = {number for batch in splits.evaluated["test"].batches for number in batch}
    assert len(judged) == 2 and judged | set(splits.train.batch_sampler.items) == {0, 1, 2, 3, 4}
    source = Coco(tmp_path / "instances.json", tmp_path / "images")
    assert source.names == ("background", "thing1", "thing2", "thing3")
    for number in range(5):
        _, mask = source.read(number)
        assert mask[10, 10] == (number if number in (1, 2, 3) else 0)  # the first and the last have no object
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(ConfigError, match=r"instances\.json names 2\.png, but there is no .*; data\.images names"):
        Coco(tmp_path / "instances.json", tmp_path / "images")
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"instances\.json is not in COCO's format \(KeyError: 'categories'\)"):
        Coco(tmp_path / "instances.json", tmp_path / "images")


def multi_scale(root: Path) -> Path:
    """Two objects at three scales, as the data generation writes them: the mask of each at scale 1 alone."""
    for split in ("train", "val"):
        lines: list[dict] = [{"version": 1}]
        for name, label, box in (("a", "n1", [10, 5, 20, 15]), ("b", "n2", [4, 4, 12, 12])):
            files = {}
            for scale in ("1", "0.5", "1.5"):
                file = f"{label}/{name}_scale_{scale}.JPEG"
                picture(root / split / file, (24, 30))
                files[scale] = {"file": file}
            values = np.zeros((24, 30), np.uint8)
            values[box[1] : box[3], box[0] : box[2]] = 255
            mask_of(root / "debug" / split / label / f"{name}_mask.png", values)
            lines.append({"class": label, "name": name, "box": box, "files": files})
        lines.append({"class": "n1", "name": "c", "skipped": "no_box"})
        (root / split / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def test_a_generated_set_has_the_mask_of_every_scale(tmp_path) -> None:
    source = MultiScale(multi_scale(tmp_path), "val")
    assert source.names == ("background", "n1", "n2") and len(source) == 6
    assert source.groups.common_scales == (0.5, 1.0, 1.5)
    for number, (line, scale) in enumerate(source.entries):
        _, mask = source.read(number)
        left, top, right, bottom = line["box"]
        sides = ((right - left) * scale, (bottom - top) * scale)
        ys, xs = np.nonzero(mask)
        assert set(np.unique(mask)) == {0, 1 if line["class"] == "n1" else 2}
        assert abs(len(ys) - sides[0] * sides[1]) <= 0.25 * sides[0] * sides[1]
        assert abs(ys.mean() + 0.5 - (top + bottom) / 2) <= 0.5 and abs(xs.mean() + 0.5 - (left + right) / 2) <= 0.5
    splits = build_splits(config_of("dense/multi_scale", tmp_path), 0)
    assert splits.evaluated["test"].groups is not None and splits.num_classes == 3
    (tmp_path / "debug" / "val" / "n1" / "a_mask.png").unlink()
    with pytest.raises(ConfigError, match=r"there is no .*a_mask\.png; make the set with --debug, which keeps the m"):
        MultiScale(tmp_path, "val")
    with pytest.raises(ConfigError, match=r"there is no .*manifest\.jsonl; expected a set that datagen_ImNet"):
        MultiScale(tmp_path, "test")


def test_real_photographs_with_their_annotations() -> None:
    root = os.environ.get("LSE_DATA")
    if not root:
        pytest.skip("LSE_DATA names no folder with photographs")
    config = Config(model=MODEL, data=DensePictureData(name="dense/coco", root=f"{root}/data/coco128", val_items=28))
    source = Coco(Path(root, "data/coco128/instances.json"), Path(root, "data/coco128/images"))
    assert count_classes(config) == 81 and len(source) == 128
    shares = []
    for number in range(0, 128, 16):
        picture, mask = source.read(number)
        assert mask.shape == picture.shape[:2] and mask.max() < 81
        objects = source.objects[source.records[number]["id"]]
        painted = np.zeros(mask.shape, bool)
        for item in objects:
            found = outlined(mask.shape, item["segmentation"])
            painted |= found
            if not item["iscrowd"] and item["area"] > 30:
                shares.append(found.sum() / item["area"])
        assert np.array_equal(painted, mask > 0)
    assert 0.99 < np.median(shares) < 1.01  # areas as the file tells them, of small objects too
