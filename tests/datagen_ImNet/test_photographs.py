"""Sets made of real photographs: full groups, sizes, what stays, and the way to the metrics of the training script."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from multiscale.coco import Annotations, CocoSegmenter
from multiscale.compositor import hole_mask
from multiscale.picture import Picture, decode
from tests.datagen_ImNet.scenes import generate, on_annotations, records, write_annotated
from tests.train.picture_runs import recipe, train

DATA = os.environ.get("LSE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LSE_DATA names no folder with photographs")
COUNT = 24
MCU = 16  # pixels that a JPEG of halved colours codes together; a decoder smooths colours over two more


@pytest.fixture(scope="module")
def annotations() -> Path:
    return Path(str(DATA)) / "data" / "coco128" / "instances.json"


@pytest.fixture(scope="module")
def photographs(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of some objects."""
    output = tmp_path_factory.mktemp("photographs")
    words = on_annotations(annotations, output, "--max_images", COUNT, "--workers", 2)
    words[1] = annotations.parent / "images"
    done = generate(*words)
    assert done.returncode == 0, done.stderr
    return output / "val"


def through_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return decode(file.getvalue())


def scaled_mask(mask: np.ndarray, box: list[float], scale: float) -> np.ndarray:
    """Where the object may be seen at a scale, a little wider than its soft edge."""
    x, y = (box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5  # of pixels' middles
    matrix = np.array([[scale, 0, x * (1 - scale)], [0, scale, y * (1 - scale)]])
    warped = cv2.warpAffine(mask.astype(np.float32), matrix, mask.shape[::-1])
    return cv2.dilate((warped > 0).astype(np.uint8), np.ones((9, 9))).astype(bool)


def coded_with(changed: np.ndarray) -> np.ndarray:
    """Pixels that a change may reach in a JPEG: all blocks that it touches, and two pixels more."""
    H, W = changed.shape
    padded = np.pad(changed, ((0, -H % MCU), (0, -W % MCU)))
    blocks = padded.reshape(padded.shape[0] // MCU, MCU, -1, MCU).any((1, 3))
    reached = blocks.repeat(MCU, 0).repeat(MCU, 1)[:H, :W]
    return cv2.dilate(reached.astype(np.uint8), np.ones((5, 5))).astype(bool)


@needs_data
def test_every_eligible_object_has_a_full_group_that_is_right(annotations: Path, photographs: Path) -> None:
    known = Annotations(annotations)
    sources = {source.object_id: source for source in known.sources()}
    _, *lines, _ = records(photographs)
    assert len(lines) == COUNT
    full, followed = 0, 0
    for line in lines:
        if "skipped" in line:
            assert line["skipped"] in ("vanishes", "fills_picture"), line  # the rule
            continue
        full += 1
        assert len(line["files"]) == 7
        image = decode((annotations.parent / "images" / line["source"]).read_bytes())
        picture = Picture(0, sources[line["object"]])
        picture.image = image
        mask = CocoSegmenter(known).mask(picture)
        hole = hole_mask(mask, 5, 2) > 0
        original = through_jpeg(image)
        left, top, right, bottom = line["box"]
        for text, entry in line["files"].items():
            scale = float(text)
            made = decode((photographs / entry["file"]).read_bytes())
            if scale == 1:
                assert (made == original).all()
                continue
            changed = coded_with(hole | scaled_mask(mask, line["box"], scale))
            assert (made[~changed] == original[~changed]).all()
            reach = np.array([(left + right) / 2, (top + bottom) / 2])
            half = np.array([right - left, bottom - top]) / 2 * scale
            stays = (reach - half >= 0).all() and (reach + half <= [image.shape[1], image.shape[0]]).all()
            if stays and min(right - left, bottom - top) >= 32:
                followed += 1
                assert entry["area"] == pytest.approx(scale**2 * mask.sum(), rel=0.03), (line["source"], scale)
    assert full >= COUNT - 2 and followed > 30


def test_the_training_script_reads_a_set_and_measures_each_scale(tmp_path: Path) -> None:
    annotations = write_annotated(tmp_path / "scenes", 16)
    for subset, seed in (("train", 0), ("val", 1)):
        words = on_annotations(annotations, tmp_path / "set", "--subset", subset, "--seed", seed)
        done = generate(*words, "--max_images", 12)
        assert done.returncode == 0, done.stderr
    metrics = train(recipe(tmp_path, tmp_path / "set", {"train": {"epochs": 1}}), tmp_path / "run")["metrics"]
    assert_measured(metrics)


@needs_data
def test_photographs_go_all_the_way_to_the_metrics_of_each_scale(photographs: Path, tmp_path: Path) -> None:
    one_epoch = {"data": {"train_split": "val"}, "train": {"epochs": 1}}
    metrics = train(recipe(tmp_path, photographs.parent, one_epoch), tmp_path / "run")["metrics"]
    assert_measured(metrics)


def assert_measured(metrics: dict[str, float]) -> None:
    """Each scale has its own accuracy, no file was broken, and the group's scales were held against each other."""
    for scale in ("0.7", "0.8", "0.9", "1", "1.1", "1.2", "1.3"):
        assert 0 <= metrics[f"top1_at_{scale}"] <= metrics[f"top5_at_{scale}"] <= 1
    assert 0 < metrics["consistency_error"] < 1 and "broken" not in metrics
