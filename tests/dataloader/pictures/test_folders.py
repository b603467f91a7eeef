"""Folders of pictures: what is found, under which number, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from dataloader.pictures.classes import read_classes
from dataloader.pictures.folders import read_folder


def tree(root: Path, *names: str) -> Path:
    """Empty files: listing opens none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(root: Path, classes: dict[str, int]) -> list[tuple[str, int]]:
    source = read_folder(root, classes)
    return list(zip(source.names(), source.labels.tolist(), strict=True))


def test_pictures_are_found_at_any_depth_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["dog/b.JPEG", "dog/a.jpg", "dog/deep/er/c.png", "cat/z.JPEG", "cat/a.PNG"]
    tree(tmp_path, *names, "dog/notes.txt", "dog/list.json", "beside.png")
    assert listed(tmp_path, {"dog": 0, "cat": 5, "absent": 2}) == [
        ("cat/a.PNG", 5),
        ("cat/z.JPEG", 5),
        ("dog/a.jpg", 0),
        ("dog/b.JPEG", 0),
        ("dog/deep/er/c.png", 0),
    ]


def test_a_linked_class_is_followed(tmp_path: Path) -> None:
    tree(tmp_path, "elsewhere/a.png", "split/dog/b.png")
    (tmp_path / "split" / "cat").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "split", {"cat": 0, "dog": 1}) == [("cat/a.png", 0), ("dog/b.png", 1)]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("dog/self", "."),
        ("dog/deep/up", ".."),
        ("dog/split", ".."),
        ("dog/deep/twin", "."),
        ("cat/other", "../dog/deep"),
    ],
)
def test_a_link_that_leads_back_lists_nothing_twice(tmp_path: Path, link: str, target: str) -> None:
    tree(tmp_path, "dog/a.png", "dog/deep/b.png", "cat/c.png")
    (tmp_path / link).symlink_to(target)
    elsewhere = [("cat/other/b.png", 0)] * (link == "cat/other")  # which leads to another class, and not back
    expected = [("cat/c.png", 0), *elsewhere, ("dog/a.png", 1), ("dog/deep/b.png", 1)]
    assert listed(tmp_path, {"cat": 0, "dog": 1}) == expected


def test_a_class_that_is_the_split_itself_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "dog/a.png")
    (tmp_path / "ant").symlink_to(".")
    with pytest.raises(ValueError, match=r"1 class folder \(ant\) without pictures"):
        listed(tmp_path, {"ant": 0, "dog": 1})


@pytest.mark.parametrize("turned", [False, True])
def test_links_elsewhere_are_followed_whatever_the_order_of_the_disk(tmp_path: Path, monkeypatch, turned: bool) -> None:
    tree(tmp_path, "pool/a.png", "pool/below/b.png", "pool/c.png", "split/cat/own.png", "split/dog/real/d.png")
    pool = tmp_path / "pool"
    for link, target in {"cat/one": pool, "cat/two": pool, "cat/c.png": pool / "c.png", "dog/again": "real"}.items():
        (tmp_path / "split" / link).symlink_to(target)
    (tmp_path / "split" / "fox").symlink_to(pool)
    (pool / "pool").symlink_to(pool)
    if turned:
        walk = os.walk

        def backwards(*arguments, **options):
            for above, folders, files in walk(*arguments, **options):
                folders.reverse()
                yield above, folders, files[::-1]

        monkeypatch.setattr(os, "walk", backwards)
    assert listed(tmp_path / "split", {"cat": 0, "dog": 1, "fox": 2}) == [
        *(("cat/c.png", 0), ("cat/one/a.png", 0), ("cat/one/below/b.png", 0), ("cat/one/c.png", 0), ("cat/own.png", 0)),
        ("dog/real/d.png", 1),  # by its own path, not by that of the link
        *(("fox/a.png", 2), ("fox/below/b.png", 2), ("fox/c.png", 2)),
    ]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "dog/a.png", "dog/._a.png", "dog/.hidden.png", "dog/.checkpoints/a.png", ".cache/c.png")
    assert listed(tmp_path, {"dog": 0}) == [("dog/a.png", 0)]
    assert read_classes(None, tmp_path) == {"dog": 0}


def test_names_in_any_script_and_even_in_none(tmp_path: Path) -> None:
    odd = os.fsdecode(b"raw\xff.png")  # not UTF-8
    tree(tmp_path, "Hündin/日本 1.png", f"Hündin/{odd}")
    source = read_folder(tmp_path, {"Hündin": 3})
    names = source.names()
    assert sorted(names) == sorted(["Hündin/日本 1.png", f"Hündin/{odd}"])
    assert all((tmp_path / name).is_file() for name in names)
    assert source.files.dtype.kind == "S" and source.labels.tolist() == [3, 3]


def test_without_a_map_classes_are_the_folders_in_alphabetical_order(tmp_path: Path) -> None:
    tree(tmp_path, "b/1.png", "a/1.png", "c/1.png", "file.txt")
    assert read_classes(None, tmp_path) == {"a": 0, "b": 1, "c": 2}


def test_the_imagenet_map_has_the_synsets_in_their_order(tmp_path: Path) -> None:
    classes = read_classes("imagenet", tmp_path / "absent")
    assert len(classes) == 1000 and list(classes) == sorted(classes)
    assert (classes["n01440764"], classes["n15075141"]) == (0, 999)
    assert list(classes) == ImageNetInfo("imagenet-1k").label_names()


@pytest.mark.parametrize("place", ["given", "beside", "inside"])
def test_a_file_gives_the_order_wherever_it_lies(tmp_path: Path, place: str, monkeypatch) -> None:
    folder = tree(tmp_path / "root", "train/a/1.png") / "train"
    path = {"given": tmp_path / "map.txt", "beside": tmp_path / "root/map.txt", "inside": folder / "map.txt"}[place]
    path.write_text("zebra 0 striped\n\napple\n  Öl\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_classes("map.txt", folder) == {"zebra": 0, "apple": 1, "Öl": 2}


def test_class_maps_that_cannot_be_meant(tmp_path: Path) -> None:
    path = tmp_path / "map.txt"
    path.write_text("dog\ncat\ndog\n")
    with pytest.raises(ValueError, match="has dog twice; expected each class once"):
        read_classes(str(path), tmp_path)
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="has no classes; expected each class once"):
        read_classes(str(path), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no class map at absent\.txt, .*; expected a text file"):
        read_classes("absent.txt", tmp_path)
    tree(tmp_path / "bare", "picture.png")
    with pytest.raises(ValueError, match="bare has no class folders"):
        read_classes(None, tmp_path / "bare")


def test_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    tree(tmp_path, "file.png", "split/dog/a.png", "split/fox/a.png", "split/elk/a.png", "split/owl/a.png", "flat/a.png")
    split = tmp_path / "split"
    with pytest.raises(FileNotFoundError, match=re.escape(f"there is no folder {tmp_path / 'absent'}; expected one")):
        read_folder(tmp_path / "absent", {})
    with pytest.raises(FileNotFoundError, match=r"file\.png is a file; expected a folder with a folder per class"):
        read_folder(tmp_path / "file.png", {})
    with pytest.raises(FileNotFoundError, match="has no class folders with pictures"):
        read_folder(tmp_path / "flat", {"dog": 0})
    with pytest.raises(ValueError, match=r"has 1 class folder \(dog\) that the class map with its 3 classes does not"):
        read_folder(split, {"fox": 0, "elk": 1, "owl": 2})
    with pytest.raises(ValueError, match=r"has 4 class folders \(dog, elk, fox, \.\.\.\) that the class map"):
        read_folder(split, {"cat": 0})
    (split / "ant").mkdir()
    tree(split, "bee/notes.txt")
    with pytest.raises(ValueError, match=r"has 2 class folders \(ant, bee\) without pictures; expected at least one"):
        read_folder(split, dict.fromkeys(["ant", "bee", "dog", "elk", "fox", "owl"], 0))
