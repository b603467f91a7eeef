"""Which pictures a run takes, and under which names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from multiscale.errors import NoPictures
from multiscale.picture import Source
from multiscale.sources import folder_sources, read_synsets, sampled
from tests.datagen_ImNet.script_runs import ROOT

SOURCES = [
    Source(f"{label}/{n}.png", label, str(n)) for label, count in (("a", 50), ("b", 5), ("c", 20)) for n in range(count)
]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_of_class_folders_are_listed_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "b/2.JPEG", "a/1.jpg", "b/1.JPEG", "a/.hidden", ".cache/1.jpg", "loose.txt")
    (tmp_path / "a" / "2.jpg").symlink_to("nowhere")  # no picture, as the manifest will say
    found = folder_sources(tmp_path)
    assert [(source.file, source.label, source.name) for source in found] == [
        ("a/1.jpg", "a", "1"),
        ("a/2.jpg", "a", "2"),
        ("b/1.JPEG", "b", "1"),
        ("b/2.JPEG", "b", "2"),
    ]


def test_names_that_would_write_to_the_same_files_are_told_apart(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "a/1.png", "a/2.png", "b/1.jpg")
    assert [source.name for source in folder_sources(tmp_path)] == ["1.jpg", "1.png", "2.png", "1"]


def test_whole_names_are_told_apart_too(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "a/1.jpg.png", "a/1.png")
    names = [source.name for source in folder_sources(tmp_path)]
    assert names == ["1.jpg", "1.jpg.png", "1.png"]


def test_a_missing_folder_names_those_beside_it(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    with pytest.raises(NoPictures, match=r"no folder .*test; folders beside it: train, val"):
        folder_sources(tmp_path / "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoPictures, match="has no pictures; expected"):
        folder_sources(tmp_path / "empty")


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_a_larger_sample_begins_with_the_smaller(sampling: str) -> None:
    whole = sampled(SOURCES, sampling, 3, 1000)
    assert sorted(whole, key=SOURCES.index) == SOURCES
    assert sampled(SOURCES, sampling, 3, 20) == whole[:20]
    assert sampled(SOURCES, sampling, 3, 20) != sampled(SOURCES, sampling, 4, 20)


def test_a_balanced_sample_takes_classes_in_turn_until_they_are_used_up() -> None:
    taken = sampled(SOURCES, "balanced", 0, 15)
    assert [source.label for source in taken] == ["a", "b", "c"] * 5
    assert Counter(source.label for source in sampled(SOURCES, "balanced", 0, 25)) == {"a": 10, "b": 5, "c": 10}


def test_a_uniform_sample_follows_the_pictures() -> None:
    counts = Counter(source.label for seed in range(200) for source in sampled(SOURCES, "uniform", seed, 15))
    assert {label: count / 200 for label, count in counts.items()} == pytest.approx({"a": 10, "b": 1, "c": 4}, rel=0.1)


def test_the_published_classes_are_part_of_the_folder() -> None:
    with pytest.raises(NoPictures, match=r"there is no file nowhere\.txt; expected one with a class per line"):
        read_synsets(Path("nowhere.txt"))
    synsets = read_synsets(ROOT / "datagen_ImNet" / "imagenet_synsets.txt")
    assert len(synsets) == 1000 and {"n01440764", "n15075141"} <= synsets
