"""Small pools of pictures, and files in published layouts that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataloader.scaled.sources import Pool


def pool(count: int = 60, side: int = 28, channels: int = 1, trained: int | None = None) -> Pool:
    """Noise of ten classes, with unlike numbers of each; one pool, or a training file of some and a test file."""
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, (count, side, side, channels), np.uint8)
    labels = np.minimum(generator.integers(0, 15, count), 9)
    pictures, sizes = images[..., 0] if channels == 1 else images, (count // 2, count // 6, count // 3)
    return Pool(pictures, labels, 4 * count // 5 if trained is None else trained, sizes, is_one=trained is None)


def cifar10_files(root: Path, count: int = 20) -> np.ndarray:
    """Records of the six files, (6, count, 3073)."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (6, count, 3073), np.uint8)
    records[..., 0] %= 10
    for number, part in enumerate(records, start=1):
        part.tofile(folder / ("test_batch.bin" if number == 6 else f"data_batch_{number}.bin"))
    return records


def stl10_files(root: Path, trained: int = 30, tested: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 96, 96, 3) and labels (N,) of 0 to 9, written as the published files are, column by column."""
    folder = root / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (trained + tested, 96, 96, 3), np.uint8)
    labels = generator.permutation(np.arange(trained + tested) % 10)
    for name, part in (("train", slice(0, trained)), ("test", slice(trained, None))):
        np.ascontiguousarray(images[part].transpose(0, 3, 2, 1)).tofile(folder / f"{name}_X.bin")
        (labels[part] + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")
    return images, labels
