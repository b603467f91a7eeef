"""Pictures of one object each, from the published files of several data sets. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.digits.single import embedded_digits, read_mnist, way_out


@dataclass(frozen=True)
class Pool:
    """All pictures of a data set.

    Args:
        images: uint8 (N, H, H), or (N, H, H, 3).
        labels: (N,), 0 to 9.
        trained: so many of them, the first ones, are the training file.
        is_one: whether splits are drawn from both files together; otherwise the test is that of the files.
        sizes: items to train on, to validate with and to test, where a recipe says nothing.
    """

    images: np.ndarray
    labels: np.ndarray
    trained: int
    sizes: tuple[int, int, int]
    is_one: bool = False


def _mnist(root: str) -> Pool:
    advice = way_out("scaled/digits")
    parts = [read_mnist(root, is_training, download=False, advice=advice) for is_training in (True, False)]
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Pool(images, labels, len(parts[0][1]), (10_000, 2_000, 50_000), is_one=True)


def _digits(root: str) -> Pool:
    parts = [embedded_digits(is_training) for is_training in (True, False)]
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Pool(images, labels, len(parts[0][1]), (1_000, 297, 500), is_one=True)


def _cifar10(root: str) -> Pool:
    """The binary version: of each picture a byte with its label, then red, green and blue, line by line."""
    folder = _folder(root, "cifar-10-batches-bin")
    parts = [_bytes(folder / f"data_batch_{number}.bin", 3073) for number in range(1, 6)]
    trained = sum(map(len, parts))
    records = np.concatenate([*parts, _bytes(folder / "test_batch.bin", 3073)])
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Pool(images, _classes(records[:, 0], 0, folder), trained, (10_000, 2_000, 10_000))


def _stl10(root: str) -> Pool:
    """The binary version: pictures are red, green and blue, column by column, and labels lie in files of their own."""
    folder = _folder(root, "stl10_binary")
    images = [_bytes(folder / f"{part}_X.bin", 3 * 96 * 96) for part in ("train", "test")]
    labels = [_bytes(folder / f"{part}_y.bin", 1)[:, 0] for part in ("train", "test")]
    for part, pixels, classes in zip(("train", "test"), images, labels, strict=True):
        if len(pixels) != len(classes):
            raise ValueError(f"{folder / f'{part}_y.bin'} has {len(classes)} labels for {len(pixels)} pictures")
    pictures = np.concatenate(images).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    return Pool(pictures, _classes(np.concatenate(labels), 1, folder), len(images[0]), (5_000, 0, 8_000))


SOURCES: dict[str, Callable[[str], Pool]] = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10, "stl10": _stl10}


def _folder(root: str, name: str) -> Path:
    """The folder of this name, under the root or the root itself."""
    known = [Path(root).expanduser() / name, Path(root).expanduser()]
    found = next((folder for folder in known if folder.name == name and folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"there is no {known[0]}; expected the binary version of the data set there")
    return found


def _bytes(path: Path, width: int) -> np.ndarray:
    """(N, width) of a file of such records."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected the files of the data set's binary version")
    values = np.fromfile(path, np.uint8)
    if not len(values) or len(values) % width:
        raise ValueError(f"{path} has {len(values)} bytes; expected a multiple of {width}, one record after the other")
    return values.reshape(-1, width)


def _classes(labels: np.ndarray, first: int, folder: Path) -> np.ndarray:
    """(N,) from 0 on."""
    low, high = labels.min(), labels.max()
    if low < first or high > first + 9:
        raise ValueError(f"{folder} has labels of {low} to {high}; expected {first} to {first + 9}")
    return labels.astype(np.int64) - first
