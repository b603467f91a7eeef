"""What is wrong with a set on the disk is found, and what is right is not called wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datagen_ImNet.script_runs import on_annotations, run


@pytest.fixture
def finished(annotations, tmp_path, monkeypatch) -> Path:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path / "set")) == 0
    return tmp_path / "set"


def damage_missing(split: Path) -> None:
    sorted(split.rglob("*_scale_0.7.JPEG"))[0].unlink()


def damage_changed(split: Path) -> None:
    path = sorted(split.rglob("*_scale_0.7.JPEG"))[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def damage_stray(split: Path) -> None:
    (split / "disc" / "more_scale_1.JPEG").write_bytes(b"")


def damage_unfinished(split: Path) -> None:
    path = split / "manifest.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def damage_counts(split: Path) -> None:
    path = split / "manifest.jsonl"
    path.write_text(path.read_text().replace('"files": 42', '"files": 41'))


def damage_scales(split: Path) -> None:
    path = split / "manifest.jsonl"
    header, first, *others = path.read_text().splitlines()
    record = json.loads(first)
    record["files"].pop("1.3")
    path.write_text("\n".join([header, json.dumps(record), *others]) + "\n")


def damage_line(split: Path) -> None:
    path = split / "manifest.jsonl"
    path.write_text(path.read_text().replace('{"source"', '{"source', 1))


def damage_header(split: Path) -> None:
    path = split / "manifest.jsonl"
    path.write_text("\n".join(['{"version": 1}', *path.read_text().splitlines()[1:]]) + "\n")


def damage_entry(split: Path) -> None:
    path = split / "manifest.jsonl"
    path.write_text(path.read_text().replace('"sha256"', '"sha"'))


def damage_end(split: Path) -> None:
    with (split / "manifest.jsonl").open("a") as file:
        file.write("garbage")


def moved_outside(split: Path, name: str) -> None:
    """The first file at the set's own side, with what the manifest says of it."""
    path = split / "manifest.jsonl"
    first = json.loads(path.read_text().splitlines()[1])["files"]["1.3"]["file"]
    (split / first).rename(split.parent / "moved.JPEG")
    path.write_text(path.read_text().replace(f'"{first}"', f'"{name}"'))


def damage_above(split: Path) -> None:
    moved_outside(split, "../moved.JPEG")


def damage_absolute(split: Path) -> None:
    moved_outside(split, str(split.parent / "moved.JPEG"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_header, "has a line that this program did not write: KeyError('settings')"),
        (damage_entry, "has a line that this program did not write: KeyError('sha256')"),
        (damage_end, "ends in half a line"),
        (damage_above, "line 2: ../moved.JPEG lies outside of the split"),
        (damage_absolute, "/moved.JPEG lies outside of the split"),
        (damage_missing, "_scale_0.7.JPEG cannot be read: No such file or directory"),
        (damage_changed, "_scale_0.7.JPEG has another checksum"),
        (damage_stray, "disc/more_scale_1.JPEG is not in the manifest"),
        (damage_unfinished, "the set is not finished, with 6 pictures in the manifest"),
        (damage_counts, "the last line counts"),
        (damage_scales, "scales 1.2, 1.1, 1, 0.9, 0.8, 0.7 instead of"),
        (damage_line, "line 2 is no record"),
    ],
)
def test_damage_is_found(finished, monkeypatch, capsys, damage, told) -> None:
    assert run(monkeypatch, "--verify", finished) == 0
    assert "all files are as it has them" in capsys.readouterr().out
    damage(finished / "val")
    assert run(monkeypatch, "--verify", finished) == 1
    assert told in capsys.readouterr().out


def test_only_the_split_that_is_wrong_is_said_to_be(annotations, tmp_path, monkeypatch, capsys) -> None:
    for subset in ("train", "val"):
        assert run(monkeypatch, *on_annotations(annotations, tmp_path, "--subset", subset)) == 0
    damage_missing(tmp_path / "train")
    assert run(monkeypatch, "--verify", tmp_path) == 1
    told = capsys.readouterr().out
    assert "train/manifest.jsonl: 1 problems" in told and "val/manifest.jsonl: all files are as it has them" in told
