"""Decoded pictures: of any kind, broken or not, and what is drawn for them."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision.transforms.functional import pil_to_tensor

from dataloader.order import Indexed
from dataloader.pictures.decoding import KINDS
from dataloader.pictures.folders import read_folder
from dataloader.pictures.groups import scale_groups
from dataloader.pictures.items import Pictures, TrainingPictures
from dataloader.pictures.streams import Encoded
from multiscale import picture

RANDOM = create_transform(
    16, is_training=True, auto_augment="original", re_prob=0.5, re_mode="pixel", interpolation="random"
)
RAMP = np.linspace(0, 255, 40 * 48).astype(np.uint8).reshape(40, 48)


def write(path: Path, image: Image.Image | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.fromarray(RAMP).convert("RGB")).save(path, **options)
    return path


def pictures(root: Path, transform=pil_to_tensor) -> Pictures:
    source = read_folder(root, {"a": 0, "b": 1})
    return Pictures(source, transform, scale_groups(source.names()), 2)


def trained_on(
    root: Path, items: list[int], transform=pil_to_tensor, seed: int = 7, limit: int = 9
) -> TrainingPictures:
    source = read_folder(root, {"a": 0, "b": 1})
    return TrainingPictures(source, transform, scale_groups(source.names()), 2, limit, items=items, seed=seed)


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """Eight pictures, of which number 2 is no picture and number 5 lacks its end."""
    for number in range(8):
        noise = np.random.RandomState(number).randint(0, 256, (40, 48, 3)).astype(np.uint8)
        write(tmp_path / "ab"[number // 4] / f"{number}.jpg", Image.fromarray(noise))
    (tmp_path / "a" / "2.jpg").write_bytes(b"not a picture")
    cut = tmp_path / "b" / "5.jpg"
    cut.write_bytes(cut.read_bytes()[:900])
    return tmp_path


def kinds() -> dict[str, Image.Image]:
    grey = Image.fromarray(RAMP)
    alpha = Image.fromarray(255 - RAMP)
    return {
        "L": grey,
        "RGB": grey.convert("RGB"),
        "P": grey.convert("P"),
        "LA": Image.merge("LA", [grey, alpha]),
        "RGBA": Image.merge("RGBA", [grey, grey, grey, alpha]),
        "16 bits": Image.fromarray(RAMP.astype(np.uint16) * 257),
    }


@pytest.mark.parametrize("kind", kinds())
def test_pictures_of_every_kind_come_in_rgb_with_their_greys(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a" / "x.png", kinds()[kind])
    image, label = pictures(tmp_path)[0]
    assert label == 0
    assert torch.equal(image, torch.from_numpy(RAMP).expand(3, -1, -1))


def test_photographs_come_in_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(RAMP)
    write(tmp_path / "a" / "1.jpg", grey.convert("CMYK"), quality=95)
    write(tmp_path / "a" / "2.jpg", grey, quality=95)
    write(tmp_path / "a" / "3.jpg", grey.convert("RGB"), quality=95)
    for image, _ in map(pictures(tmp_path).__getitem__, range(3)):
        assert image.shape == (3, 40, 48)
        assert (image.float() - torch.from_numpy(RAMP)).abs().max() < 8


def test_a_content_of_another_kind_than_its_name_says_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.JPEG", format="png")
    assert pictures(tmp_path)[0][0].shape == (3, 40, 48)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def both_ways(path: Path) -> list[np.ndarray]:
    """A file as a folder and as a shard give it."""
    source = read_folder(path.parents[1], {"a": 0})
    return [np.asarray(source.read(0)), np.asarray(Encoded("", "", path.read_bytes(), 0).decoded())]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("orientation", range(1, 9))
def test_one_file_stands_upright_here_and_in_the_data_generation(tmp_path: Path, kind: str, orientation: int) -> None:
    path = write(tmp_path / "a" / "x.png", kinds()[kind], exif=turned(orientation))
    expected = picture.decode(path.read_bytes())
    assert (expected.shape == (40, 48, 3)) == (orientation < 5)
    for found in both_ways(path):
        np.testing.assert_array_equal(found, expected)
        corner = {1: found[0, 0], 3: found[-1, -1], 6: found[0, -1], 8: found[-1, 0]}.get(orientation)
        assert corner is None or not corner.any()  # the ramp begins where the first pixel of the file belongs


@pytest.mark.filterwarnings("ignore")  # PIL says more of the damage
def test_a_damaged_block_of_exif_spoils_no_sound_picture(tmp_path: Path) -> None:
    grey = Image.fromarray(RAMP)
    offset = b"\x7f\xff\xff\xff"  # of a text that lies outside of the block
    torn = b"MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x09" + offset + b"\x01\x12"
    for number, block in enumerate([b"Exif\0\0garbage", b"Exif\0\0MM\0*", b"Exif\0\0" + torn, b"Exif\0\0\xff" * 9]):
        path = write(tmp_path / str(number) / "a" / "x.webp.png", grey, format="webp", lossless=True, exif=block)
        for found in both_ways(path):
            np.testing.assert_array_equal(found, RAMP[..., None].repeat(3, 2))


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "jpeg2000"])
def test_pixels_that_end_early_are_broken_and_not_passed_over_like_exif(tmp_path: Path, capsys, kind: str) -> None:
    path = write(tmp_path / "a" / "x.jpg", Image.effect_noise((64, 64), 90), format=kind)
    path.write_bytes(path.read_bytes()[:1500])
    assert pictures(tmp_path)[0][1] == -1 and "x.jpg cannot be read (" in capsys.readouterr().err


def test_no_other_program_is_started_for_a_format_beyond_the_named_ones(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    path = write(tmp_path / "a" / "x.jpg", format="eps")
    assert path.read_bytes().startswith(b"%!PS")
    assert pictures(tmp_path)[0][1] == -1
    assert f"cannot be read (it is none of {', '.join(KINDS)})" in capsys.readouterr().err
    with pytest.raises(ValueError, match="it is none of JPEG, PNG, WEBP"):
        Encoded("", "", path.read_bytes(), 0).decoded()
    assert KINDS == picture.KINDS


def test_damage_that_a_decoder_does_not_foresee_counts_as_broken(tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "a" / "x.jpg", format="dds")
    content = bytearray(path.read_bytes())
    content[80:84] = bytes(4)  # the flags of its pixels' format: PIL raises a NotImplementedError
    path.write_bytes(content)
    with pytest.raises(NotImplementedError):
        Image.open(io.BytesIO(content))
    assert pictures(tmp_path)[0][1] == -1
    assert "x.jpg cannot be read (" in capsys.readouterr().err


@pytest.mark.parametrize("error", [struct.error("unpack"), AttributeError(), NotImplementedError("x"), KeyError(2)])
def test_whatever_a_decoder_raises_counts_as_broken(tmp_path: Path, monkeypatch, capsys, error: Exception) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    write(tmp_path / "a" / "x.png")
    monkeypatch.setattr(Image, "open", broken)
    assert pictures(tmp_path)[0][1] == -1
    assert f"x.png cannot be read ({str(error) or 'AttributeError'})" in capsys.readouterr().err


def test_what_cannot_be_read_is_reported_once_and_left_out_of_evaluation(some: Path, capsys) -> None:
    found = pictures(some, create_transform(16))
    for _ in range(2):
        labels = [found[number][1] for number in range(8)]
        assert labels == [0, 0, -1, 0, 1, -1, 1, 1]
    assert found[2][0].shape == found[0][0].shape and not found[2][0].any()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" cannot be read (")[0] for line in lines] == [str(some / "a/2.jpg"), str(some / "b/5.jpg")]
    assert "truncated" in lines[1]
    assert found.broken.nonzero().flatten().tolist() == [2, 5]


def test_training_takes_the_same_other_picture_each_time(some: Path, capsys) -> None:
    training = trained_on(some, [0, 1, 2, 3, 4, 5], RANDOM)
    drawn = []
    for epoch in range(12):
        training.set_epoch(epoch)
        image, label = training[2]
        (again, same), others = training[2], [training[number] for number in (0, 1, 3, 4)]
        assert torch.equal(image, again) and label == same
        # It is what the replacement itself gives in this epoch, and one of the items that are trained on.
        matches = [number for number, other in enumerate(others) if torch.equal(image, other[0])]
        assert len(matches) == 1 and others[matches[0]][1] == label
        drawn += matches
    assert len(set(drawn)) > 1  # another epoch, another replacement
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(training.broken.nonzero()) == 2  # 5 was drawn for 2 at times


def test_more_broken_pictures_than_allowed_end_the_run(some: Path) -> None:
    for limit in (1, 2):
        training = trained_on(some, [0], limit=limit)
        training.check()
        assert len(training) == 8
        training[2], training[5]
        if limit == 2:
            training.check()
            continue
        with pytest.raises(ValueError, match=r"2 pictures could not be read, .*a/2\.jpg for instance; .* allows 1"):
            Indexed(training).check()


def test_a_set_of_nothing_but_broken_pictures_has_an_end(some: Path) -> None:
    training = trained_on(some, [2, 5])
    with pytest.raises(ValueError, match="none of 10 pictures in a row could be read; see the messages above"):
        training[2]


def test_labels_beyond_the_classes_are_refused(some: Path) -> None:
    source = pictures(some).source
    with pytest.raises(ValueError, match="there are labels from 0 to 1; expected 0 to 0, as there are 1 classes"):
        Pictures(source, pil_to_tensor, scale_groups([]), 1)


def test_a_draw_belongs_to_the_seed_the_epoch_and_the_number_alone(some: Path) -> None:
    found = {}
    for workers in (0, 1, 2):
        training = trained_on(some, [0, 1, 3, 4], RANDOM)
        batches = [[3, 0], [1], [4, 2, 6]] if workers else [[6, 4], [3, 2], [1, 0]]
        for epoch in (0, 1):
            torch.manual_seed(workers), random.seed(workers), np.random.seed(workers)
            training.set_epoch(epoch)
            for images, labels, numbers in DataLoader(Indexed(training), batch_sampler=batches, num_workers=workers):
                for image, label, number in zip(images, labels.tolist(), numbers.tolist(), strict=True):
                    expected = found.setdefault((epoch, number), (image, label))
                    assert torch.equal(image, expected[0]) and label == expected[1]
        if workers:  # what a worker could not read is known here
            assert training.broken[2] and training.broken.sum() == 1
    for number in (0, 1, 3, 4, 6):
        assert not torch.equal(found[0, number][0], found[1, number][0])
    other = trained_on(some, [0, 1, 3, 4], RANDOM, seed=8)
    assert not torch.equal(other[0][0], found[0, 0][0])


def test_the_global_generators_are_left_alone(some: Path) -> None:
    training = trained_on(some, [0, 1, 3, 4], RANDOM)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for number in range(4):
        training[number]
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_a_file_that_has_gone_is_one_that_cannot_be_read(some: Path, capsys) -> None:
    found = pictures(some)
    (some / "a" / "0.jpg").unlink()
    assert found[0][1] == -1
    assert "0.jpg cannot be read ([Errno 2] No such file" in capsys.readouterr().err


def test_a_fault_of_the_transform_is_not_taken_for_one_of_the_picture(some: Path) -> None:
    def spoilt(image: Image.Image) -> torch.Tensor:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        pictures(some, spoilt)[0]
    with pytest.raises(OSError, match="no space left"):
        trained_on(some, [0], spoilt)[0]
