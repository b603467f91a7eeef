"""Single handwritten digits as arrays: MNIST from its published files, and a small set that needs no download."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torchvision.datasets import MNIST  # type: ignore[import-untyped]
from torchvision.datasets.utils import download_url  # type: ignore[import-untyped]

from dataloader.split import split_indices

SIDE = 28


def way_out(embedded: str = "digits") -> str:
    """What to do where the files of MNIST are missing, with the name of the data set that stands in for them."""
    return (
        "give a folder that holds the four .gz files of MNIST with data.root=FOLDER, or use "
        f"data.name={embedded}, which needs no download"
    )


def read_mnist(
    root: str | Path, train: bool, *, download: bool = True, advice: str = way_out()
) -> tuple[np.ndarray, np.ndarray]:
    """Read MNIST from its published files, with or without ``.gz``.

    They are looked for in ``root/MNIST/raw``, ``root/raw`` and ``root``, and nothing is written where they are found.

    Args:
        root: the folder to look in.
        train: the 60,000 training digits, or else the 10,000 test digits.
        download: fetch what is missing into ``root/MNIST/raw``, which is made once there is something to put there.
        advice: what a message says where the files are missing.

    Returns:
        images, uint8 (N, 28, 28), and labels, int64 (N,).
    """
    root = Path(root).expanduser()
    names = [f"{'train' if train else 't10k'}-{part}" for part in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    paths = _find(root, names)
    if paths is None and download:
        _download(root / "MNIST" / "raw", [f"{name}.gz" for name in names], advice)
        paths = _find(root, names)
    if paths is None:
        looked = ", ".join(str(folder) for folder in _folders(root))
        raise FileNotFoundError(
            f"{names[0]}.gz and {names[1]}.gz are in none of {looked}, and nothing is downloaded here: {advice}"
        )
    images, labels = (_read_idx(path, rank) for path, rank in zip(paths, (3, 1), strict=True))
    if images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{paths[0]} holds images of {images.shape[1:]} pixels; expected ({SIDE}, {SIDE}) as in MNIST")
    if len(images) != len(labels):
        raise ValueError(f"{paths[1]} holds {len(labels)} labels for {len(images)} images; expected one per image")
    return images, labels.astype(np.int64)


def embedded_digits(train: bool) -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 handwritten digits that scikit-learn carries, in the format of MNIST: 1,437 to train on, 360 to test.

    They are 8 x 8 pixels with 17 shades. Enlarged by bicubic interpolation, which rings less than Lanczos on so coarse
    a grid, they fill the middle 20 x 20 of 28 x 28 pixels, as the digits of MNIST do with their blank margin of 4.

    Returns:
        images, uint8 (N, 28, 28), and labels, int64 (N,).
    """
    coarse, labels = load_digits(return_X_y=True)
    shades = np.rint(coarse.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    chosen = split_indices(len(shades), 0, 1437, 360)[0 if train else 1]
    images = np.zeros((len(chosen), SIDE, SIDE), np.uint8)
    for image, index in zip(images, chosen, strict=True):
        image[4:24, 4:24] = np.asarray(Image.fromarray(shades[index]).resize((20, 20), Image.Resampling.BICUBIC))
    return images, labels[chosen].astype(np.int64)


def _folders(root: Path) -> tuple[Path, Path, Path]:
    return root / "MNIST" / "raw", root / "raw", root


def _find(root: Path, names: Sequence[str]) -> list[Path] | None:
    """The files of these names in the first folder that holds them all; packed ones first, for they have a checksum."""
    for folder in _folders(root):
        choices = [[folder / f"{name}.gz", folder / name] for name in names]
        found = [next((path for path in pair if path.is_file()), None) for pair in choices]
        present = [path for path in found if path is not None]
        if len(present) == len(names):
            return present
    return None


def _download(folder: Path, names: Sequence[str], advice: str) -> None:
    """Fetch files; each takes its name once it is whole, so that a killed download leaves nothing to be read."""
    try:
        with tempfile.TemporaryDirectory() as elsewhere:
            for name in names:
                if not (folder / name).is_file():
                    _fetch(name, elsewhere)
                    folder.mkdir(parents=True, exist_ok=True)
                    part = shutil.move(Path(elsewhere, name), folder / f".{name}.part")  # which may be another disk
                    os.replace(part, folder / name)
    except OSError as error:
        raise FileNotFoundError(f"MNIST is not in {folder} and could not be downloaded ({error}): {advice}") from error


def _fetch(name: str, folder: str) -> None:
    """Fetch one file from the first mirror that gives it with the right checksum."""
    reasons = []
    for mirror in MNIST.mirrors:
        try:
            download_url(mirror + name, folder, filename=name, md5=dict(MNIST.resources)[name])
            return
        except (RuntimeError, OSError, HTTPException) as error:  # RuntimeError: a wrong checksum
            reasons.append(f"{mirror}{name}: {error}")
    raise ConnectionError("; ".join(reasons))


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """An array of bytes in the idx format: a magic number, the sizes as big-endian uint32, then the values."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = _unpacked(path, data)
    magic, given = 0x0800 + rank, int.from_bytes(data[:4])
    if len(data) < 4 or given != magic:
        raise ValueError(
            f"{path} begins with {given:#010x}; expected the magic number {magic:#010x} of an idx file of {rank} "
            f"dimension{'s' if rank > 1 else ''}: put the published file there"
        )
    start = 4 + 4 * rank
    shape = tuple(int(size) for size in np.frombuffer(data[4:start].ljust(4 * rank, b"\0"), ">u4"))
    expected = start + math.prod(shape)
    if len(data) != expected or len(data) < start:
        raise ValueError(
            f"{path} is {'truncated' if len(data) < expected else 'too long'}: {len(data)} bytes for {shape} values, "
            f"expected {expected}; delete it and download it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()  # a copy can be written to


def _unpacked(path: Path, data: bytes) -> bytes:
    expected = dict(MNIST.resources)[path.name]
    given = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if given != expected:
        raise ValueError(
            f"{path} has the checksum {given}; expected {expected}: it is damaged or of another data set, delete it "
            f"and download it again"
        )
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): delete it and download it again") from error
