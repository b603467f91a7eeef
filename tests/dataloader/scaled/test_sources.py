"""Files of the published layouts, made up, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataloader.digits.single import embedded_digits
from dataloader.scaled.sources import SOURCES
from tests.dataloader.scaled.pools import cifar10_files, stl10_files


def test_embedded_digits_are_one_pool() -> None:
    pool = SOURCES["digits"]("nowhere")
    assert pool.images.shape == (1797, 28, 28) and pool.trained == 1437 and pool.is_one and sum(pool.sizes) == 1797
    np.testing.assert_array_equal(pool.images[1437:], embedded_digits(False)[0])


def test_cifar10_has_red_green_and_blue_line_by_line(tmp_path: Path) -> None:
    records = cifar10_files(tmp_path)
    for root in (tmp_path, tmp_path / "cifar-10-batches-bin"):
        pool = SOURCES["cifar10"](str(root))
        assert pool.images.shape == (120, 32, 32, 3) and pool.trained == 100 and not pool.is_one
        assert pool.labels.tolist() == records[..., 0].flatten().tolist()
        assert pool.images[25, 4, 7].tolist() == [records[1, 5, 1 + 1024 * colour + 32 * 4 + 7] for colour in range(3)]


def test_stl10_is_read_column_by_column_and_counts_labels_from_one(tmp_path: Path) -> None:
    images, labels = stl10_files(tmp_path)
    pool = SOURCES["stl10"](str(tmp_path))
    np.testing.assert_array_equal(pool.images, images)
    assert pool.labels.tolist() == labels.tolist() and pool.trained == 30
    first = np.fromfile(tmp_path / "stl10_binary" / "train_X.bin", np.uint8)
    assert first[96 * 2 + 5] == images[0, 5, 2, 0]  # the sixth line of the third column


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data.name=scaled/digits"):
        SOURCES["mnist"](str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .*cifar-10-batches-bin; expected the binary version"):
        SOURCES["cifar10"](str(tmp_path))
    cifar10_files(tmp_path)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2.bin has 61459 bytes; expected a multiple of 3073"):
        SOURCES["cifar10"](str(tmp_path))
    file.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(ValueError, match="has labels of 0 to 10; expected 0 to 9"):
        SOURCES["cifar10"](str(tmp_path))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_2.bin is missing"):
        SOURCES["cifar10"](str(tmp_path))
    stl10_files(tmp_path)
    np.zeros(3, np.uint8).tofile(tmp_path / "stl10_binary" / "test_y.bin")
    with pytest.raises(ValueError, match=r"test_y.bin has 3 labels for 20 pictures"):
        SOURCES["stl10"](str(tmp_path))
