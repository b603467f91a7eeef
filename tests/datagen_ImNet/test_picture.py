"""Files of every kind as upright RGB pixels, or a reason why not."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from multiscale.picture import Picture, Read, Source, decode

RED = (200, 30, 40)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(folder: Path, content: bytes, label: str = "known", **source: object) -> Picture:
    (folder / "file").write_bytes(content)
    picture = Picture(0, Source("file", label, "file", **source))
    return Read(folder, frozenset({"known"}))([picture])[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "YCbCr"])
def test_kinds_of_colour_become_rgb(mode: str) -> None:
    plain = Image.new("RGB", (6, 4), RED)
    # compressed, for some versions of Pillow cannot read what they wrote of YCbCr without
    options = {"kind": "TIFF", "compression": "tiff_lzw"} if mode in ("CMYK", "YCbCr") else {}
    pixels = decode(saved(plain.quantize() if mode == "P" else plain.convert(mode), **options))
    assert pixels.shape == (4, 6, 3) and pixels.dtype == np.uint8
    expected = plain.convert(mode).convert("RGB") if mode in ("L", "LA", "1") else plain
    assert abs(pixels.astype(int) - np.array(expected)).max() <= 3


def test_sixteen_bits_become_eight() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    pixels = decode(saved(Image.fromarray(ramp)))
    assert abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_a_cmyk_jpeg_has_its_colours() -> None:
    pixels = decode(saved(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=95))
    assert abs(pixels.astype(int) - RED).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int) -> None:
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :10] = 255  # top left
    turns = {2: "flip", 3: "180", 4: "flip180", 5: "transpose", 6: "270", 7: "transverse", 8: "90"}
    back = {
        "flip": upright[:, ::-1],
        "180": upright[::-1, ::-1],
        "flip180": upright[::-1],
        "transpose": upright.swapaxes(0, 1),
        "270": np.rot90(upright, 1),
        "transverse": np.rot90(upright, 2).swapaxes(0, 1),
        "90": np.rot90(upright, -1),
    }
    stored = back[turns[orientation]] if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (decode(saved(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)) == upright).all()


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    picture = read(tmp_path, saved(Image.new("RGB", (1, 1), RED)))
    assert picture.skipped is None and picture.size == (1, 1) and (picture.image == RED).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "none of JPEG, PNG, "),
        (b"\xff\xd8\xff\xe0 no picture", "Truncated File Read"),
        (saved(Image.effect_noise((64, 64), 90), "JPEG")[:900], "truncated"),
        (saved(Image.effect_noise((64, 64), 90))[:2000], "truncated"),
    ],
)
def test_a_broken_file_is_skipped_with_a_reason_that_names_no_address(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    picture = read(tmp_path, content)
    assert picture.skipped == "unreadable" and reason in picture.reason
    assert "0x" not in picture.reason and str(tmp_path) not in picture.reason
    assert not hasattr(picture, "image")


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    content = saved(Image.new("RGB", (4, 4), RED))
    (tmp_path / "outside.png").write_bytes(content)
    (folder := tmp_path / "pictures").mkdir()
    for file in (str(tmp_path / "outside.png"), "../outside.png", "below/../../outside.png"):
        (picture,) = Read(folder, None)([Picture(0, Source(file, "known", "name"))])
        assert (picture.skipped, picture.checksum) == ("outside_folder", None) and f"'{file}'" in picture.reason
    (folder / "linked.png").symlink_to(tmp_path / "outside.png")  # as people keep their pictures
    (folder / "..own.png").write_bytes(content)
    for file in ("linked.png", "..own.png"):
        (picture,) = Read(folder, None)([Picture(0, Source(file, "known", "name"))])
        assert picture.skipped is None and picture.size == (4, 4)


def test_a_missing_file_is_skipped(tmp_path: Path) -> None:
    (picture,) = Read(tmp_path, None)([Picture(0, Source("nowhere.png", "any", "nowhere"))])
    assert (picture.skipped, picture.reason) == ("unreadable", "FileNotFoundError: No such file or directory")


def test_an_unknown_class_is_skipped(tmp_path: Path) -> None:
    picture = read(tmp_path, saved(Image.new("RGB", (4, 4))), label="n00000000")
    assert picture.skipped == "unknown_class" and "n00000000" in picture.reason


def test_another_size_than_the_annotated_one_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, saved(Image.new("RGB", (8, 4))), size=(8, 4)).skipped is None
    picture = read(tmp_path, saved(Image.new("RGB", (4, 8))), size=(8, 4))
    assert picture.skipped == "wrong_size" and "(8, 4)" in picture.reason and "(4, 8)" in picture.reason


@pytest.mark.filterwarnings("ignore")  # PIL says more of the damage
def test_damage_of_any_kind_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    noise = Image.effect_noise((24, 24), 90).convert("RGB")
    whole = [saved(noise, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    unreadable = 0
    for number in range(200):
        content = bytearray(whole[number % len(whole)])
        for place in draws.integers(0, min(len(content), 400), 4):
            content[place] = draws.integers(0, 256)
        unreadable += read(tmp_path, bytes(content)).skipped == "unreadable"
    assert unreadable > 20


@pytest.mark.parametrize("error", [struct.error("required argument"), AttributeError(), NotImplementedError("x")])
def test_what_a_plugin_of_pil_raises_is_a_reason(tmp_path: Path, monkeypatch, error: Exception) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    picture = read(tmp_path, saved(Image.new("RGB", (4, 4))))
    assert picture.skipped == "unreadable" and type(error).__name__ in picture.reason


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bits_have_no_known_range(tmp_path: Path, kind: type) -> None:
    picture = read(tmp_path, saved(Image.fromarray(np.ones((4, 4), kind)), "TIFF"))
    assert (picture.skipped, picture.reason) == ("unreadable", "ValueError: 32 bits per pixel, of no known range")


def test_what_no_jpeg_can_hold_is_skipped(tmp_path: Path) -> None:
    picture = read(tmp_path, saved(Image.new("RGB", (70000, 2))))
    assert picture.skipped == "too_large" and "65500" in picture.reason and not hasattr(picture, "image")


def test_a_name_that_leaves_no_room_for_a_scale_is_skipped(tmp_path: Path) -> None:
    (picture,) = Read(tmp_path, None)([Picture(0, Source("a.png", "known", "é" * 111))])
    assert picture.skipped == "name_too_long"
