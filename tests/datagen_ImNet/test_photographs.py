"""Sets made of real photographs: full groups, sizes, what stays, and the way to the metrics of the training script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from example import write_annotated
from measure_quality import measure
from tests.datagen_ImNet.script_runs import generate, on_annotations
from tests.train.picture_runs import recipe, train

DATA = os.environ.get("LSE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="LSE_DATA names no folder with photographs")
COUNT = 24


@pytest.fixture(scope="module")
def annotations() -> Path:
    return Path(str(DATA)) / "data" / "coco128" / "instances.json"


@pytest.fixture(scope="module")
def photographs(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of some objects."""
    output = tmp_path_factory.mktemp("photographs")
    words = on_annotations(annotations, output, "--max_images", COUNT, "--workers", 2, pictures="images")
    done = generate(*words)
    assert done.returncode == 0, done.stderr
    return output / "val"


@needs_data
def test_every_eligible_object_has_a_full_group_that_is_right(annotations: Path, photographs: Path) -> None:
    figures = measure(annotations, annotations.parent / "images", photographs)
    assert figures.groups + figures.skipped["vanishes"] + figures.skipped["fills_picture"] == COUNT  # the rule
    assert figures.groups >= COUNT - 2 and figures.incomplete == 0
    assert figures.at_one == figures.outside == 0
    assert len(figures.areas) > 30 and figures.areas == pytest.approx([1] * len(figures.areas), abs=0.03)


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
