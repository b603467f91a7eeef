"""The container of the STIR study: its order, what it refuses, and that its latents are true."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from config.scenarios import SCENARIOS
from dataloader.stir.container import KEYS, SIDES, Container, read
from dataloader.stir.faces import DEJAVU, FA6, emoji, face
from dataloader.stir.faces import _dejavu as dejavu
from dataloader.stir.make import MAKERS, make, sheet
from dataloader.stir.signs import scene, signs
from tests.layers.scale.golden import golden


@pytest.fixture(scope="module")
def faces() -> Container:
    return emoji()


def numbered(classes: int, count: int) -> Container:
    """Every image tells its place in the whole array, in its first two pixels."""
    shape = (3, len(SIDES), classes, count)
    images = np.zeros((*shape, 64, 64), np.uint8)
    number = np.arange(np.prod(shape)).reshape(shape)
    images[..., 0, 0], images[..., 0, 1] = number // 256, number % 256
    labels = np.broadcast_to(np.arange(classes)[:, None], shape).copy()
    sides = np.broadcast_to(np.array(SIDES)[:, None, None], shape).copy()
    return Container(images, labels, sides, np.zeros((*shape, 2), int), ("a", "b", "c", "d")[:classes], {})


def test_the_published_order() -> None:
    values, settings = golden("stir_loader_order")
    container = numbered(settings["n_classes"], settings["instances"])
    for key, shuffled in (("order_plain", False), ("order_shuffled", True)):
        found = container.select(settings["split"], settings["scales"], shuffled=shuffled)
        number = found.images[:, 0, 0].astype(int) * 256 + found.images[:, 0, 1]
        assert number.tolist() == values[key].tolist()
        if shuffled:
            assert found.sides.tolist() == values["latent_scales_shuffled"].tolist()


def test_an_instance_has_one_number_at_all_sizes() -> None:
    found = numbered(3, 2).select("test", [64, 20], shuffled=True)
    for instance in range(6):
        assert sorted(found.sides[found.instances == instance]) == [20, 64]
        assert len(set(found.labels[found.instances == instance])) == 1


def test_scenarios_are_the_published_ones() -> None:
    assert [len(scenario.trained) for scenario in SCENARIOS.values()] == [16, 16, 16, 48]
    assert [len(scenario.tested) for scenario in SCENARIOS.values()] == [32, 32, 32, 48]
    for number in (1, 2, 3):
        assert not set(SCENARIOS[number].trained) & set(SCENARIOS[number].tested)


def test_the_ink_is_where_the_latents_say(faces: Container) -> None:
    """Of every face at every size: its longer side is that of the box, and the rest of the canvas is black."""
    lit = faces.images > 0
    for axis in (0, 1):  # left and top
        line = lit.any(-2 if axis == 0 else -1)
        first = line.argmax(-1)
        last = 63 - line[..., ::-1].argmax(-1)
        assert (first >= faces.positions[..., axis]).all()
        assert (last < faces.positions[..., axis] + faces.sides).all()
    extents = [(63 - line[..., ::-1].argmax(-1)) - line.argmax(-1) + 1 for line in (lit.any(-1), lit.any(-2))]
    assert (np.maximum(*extents) == faces.sides).all()


def test_faces_are_36_and_distinct() -> None:
    assert len(DEJAVU) == len(set(FA6)) == len(FA6) == 36
    smallest = [face(dejavu(), code, 17).astype(float) for code in DEJAVU]
    apart = [np.linalg.norm(a - b) / np.linalg.norm(a) for i, a in enumerate(smallest) for b in smallest[:i]]
    assert min(apart) > 0.1


def test_a_seed_is_a_container(faces: Container) -> None:
    assert faces.checksum() == "cd65e25af3f109ce", "another version of the font or of Pillow draws other faces"
    assert emoji(1).checksum() != faces.checksum()
    positions = faces.positions / np.maximum(64 - faces.sides, 1)[..., None]
    assert 0.45 < positions[faces.sides < 50].mean() < 0.55


def test_written_and_read_again(faces: Container, tmp_path: Path) -> None:
    faces.write(tmp_path / "faces.npz")
    again = read(tmp_path / "faces.npz")
    assert again.checksum() == faces.checksum() and again.names == faces.names
    assert again.metadata["title"] == "emoji-dejavu" and again.channels == 1
    assert sheet(again, (17, 64)).size == (16 * 64, 128)


def test_a_sign_is_its_class_whatever_the_light() -> None:
    """The outline covers the box's edges, and two draws of a class differ in ground and light alone."""
    first, second = (scene(5, 40, np.array([10, 12]), np.random.default_rng(seed)) for seed in (0, 1))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert not np.array_equal(first, second)
    inside = [image[12:52, 10:50].astype(float).mean(-1) for image in (first, second)]
    assert np.corrcoef(*(part.flatten() for part in inside))[0, 1] > 0.4


@pytest.mark.parametrize("label", [0, 5, 10, 15])
def test_a_sign_is_one_object_at_all_of_its_sizes(label: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its colour below the glyph is the same, and the ground beside it; another instance has others."""
    monkeypatch.setattr("dataloader.stir.signs.drawn", lambda draw, *_: draw)  # for all sizes take a minute
    draw: Any = signs()
    left, top = place = np.array([20, 24])
    shown = {side: draw(0, label, side, np.array([place, place])) for side in (17, 24, 40)}
    colours = {side: images[:, top + side * 7 // 8, left + side // 2] for side, images in shown.items()}
    is_ground = np.ones((64, 64), bool)
    is_ground[top:, left : left + 40] = False  # of the largest, and so of all
    for side, images in shown.items():
        assert (colours[side] == colours[17]).all()
        assert (images == shown[17])[:, is_ground].all()
    assert (colours[17][0] != colours[17][1]).any() and (shown[17][0] != shown[17][1])[is_ground].mean() > 0.9


def broken(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def change_it(arrays: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name])

    return change_it


def without_classes(arrays: dict[str, Any]) -> None:
    arrays |= {key: arrays[key][:, :, :0] for key in KEYS.values()} | {"lbldata": arrays["lbldata"][:0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("psts"), "it lacks psts; expected the keys"),
        (broken("imgs", lambda a: a[:, :47]), r"imgs is uint8 \(3, 47, 2, 1, 64, 64\); expected uint8 \(3, 48"),
        (broken("imgs", lambda a: a.astype(float)), "imgs is float64"),
        (broken("lbls", lambda a: a[..., None]), r"lbls is int64 \(3, 48, 2, 1, 1\); expected whole numbers"),
        (broken("lbls", lambda a: a + 1), "lbls runs from 1 to 2; expected 0 to 1"),
        (broken("scls", lambda a: a[:, ::-1].copy()), "scls has 17 at scale 0 of split 0; expected 64"),
        (broken("psts", lambda a: a + 40), "psts puts an object beyond the canvas"),
        (
            broken("psts", lambda a: (a * 0 + 200).astype(np.uint8)),
            "psts puts an object beyond the canvas",
        ),  # 200 + 64 = 8
        (broken("lbldata", lambda a: a[:1]), "lbldata has 1 names; expected one for each of the 2 classes"),
        (broken("lbldata", lambda a: a[0]), r"lbldata is <U1 \(\); expected text \(classes,\), a name for each"),
        (broken("lbldata", lambda a: a.repeat(2).reshape(2, 2)), r"lbldata is <U1 \(2, 2\); expected text"),
        (broken("lbldata", lambda a: np.arange(2)), r"lbldata is int64 \(2,\); expected text"),
        (broken("metadata", lambda a: a[0, 0]), r"metadata is <U5 \(\); expected text \(fields, 2\), a name and"),
        (broken("metadata", lambda a: a[:, 0]), r"metadata is <U11 \(6,\); expected text \(fields, 2\)"),
        (broken("metadata", lambda a: a.repeat(3, 1)[:, :3]), r"metadata is <U11 \(6, 3\); expected text"),
        (broken("metadata", lambda a: a.astype("S")), r"metadata is \|S11 \(6, 2\); expected text"),
        (without_classes, r"imgs is \(3, 48, 0, 1, 64, 64\), which holds no image; expected at least one class"),
        (broken("lbls", lambda a: a.astype(object)), "lbls holds Python objects, which are never unpickled"),
    ],
)
def test_other_files_are_refused(change: Callable, message: str, tmp_path: Path) -> None:
    container, path = numbered(2, 1), tmp_path / "other.npz"
    container.write(path)
    with np.load(path) as file:
        arrays: dict[str, Any] = {key: file[key] for key in file.files}
    assert {*arrays} == {*KEYS.values(), "lbldata", "metadata"}
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: {message}"):
        read(path)


def test_the_shorter_side_may_leave_less_room_than_the_size(tmp_path: Path) -> None:
    container = numbered(2, 1)
    beyond = container.positions.copy()
    beyond[..., 1] = 60
    replace(container, positions=beyond).write(tmp_path / "wide.npz")
    assert (read(tmp_path / "wide.npz").positions[..., 1] == 60).all()


def test_another_order_of_bytes_is_turned(tmp_path: Path) -> None:
    container, path = numbered(2, 1), tmp_path / "other.npz"
    replace(container, positions=container.positions.astype(">i4"), labels=container.labels.astype(">i8")).write(path)
    again = read(path)
    assert again.checksum() == container.checksum()
    assert torch.from_numpy(again.positions).shape == (3, 48, 2, 1, 2)


def test_an_array_of_a_size_that_is_none_is_named(tmp_path: Path) -> None:
    path, header = tmp_path / "other.npz", BytesIO()
    numbered(2, 1).write(path)
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (2**50,)})
    with ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, header.getvalue() if name == "psts.npy" else content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: psts .* or is broken"):
        read(path)


def test_metadata_may_have_other_fields(tmp_path: Path) -> None:
    container, path = numbered(2, 1), tmp_path / "more.npz"
    container.write(path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **arrays | {"metadata": np.array([["title", "mine"], ["camera", "none"]])})
    assert read(path).metadata == {"title": "mine", "camera": "none"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no container", "it is no .npz file; expected one with the keys of the STIR container"),
        (b"", r"it is no .npz file, or a broken one \(No data left in file\)"),
        (b"PK\x03\x04", r"it is no .npz file, or a broken one \(File is not a zip file\)"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (0,)}", "it is no .npz file"),
    ],
)
def test_what_is_no_container_is_not_advised_to_be_unpickled(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: {message}") as caught:
        read(path)
    assert "pickle" not in str(caught.value)


def test_what_is_no_array_is_named(tmp_path: Path) -> None:
    container, path = numbered(2, 1), tmp_path / "other.npz"
    container.write(path)
    with ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, b"text" if name == "psts.npy" else content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: psts is no array; save it with numpy.savez"):
        read(path)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: numbered(2, 1).select("val", [64]), "split is 'val'; expected one of train, validation, test"),
        (lambda: numbered(2, 1).select("test", [16, 64]), r"sides holds \[16\]; expected sizes of 17 to 64"),
        (lambda: numbered(2, 1).select("test", []), "sides holds nothing"),
        (lambda: make("emoji"), "name is 'emoji'; expected one of emoji-dejavu"),
    ],
)
def test_bad_input(ask: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask()


def test_every_maker_has_a_name() -> None:
    assert [*MAKERS] == ["emoji-dejavu", "emoji-fa6", "mnist", "digits", "signs-synth"]
