"""Single digits: what is read, what is refused, and what a download leaves behind."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import threading
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from dataloader.digits import single
from dataloader.digits.single import MNIST, embedded_digits, read_mnist

DATA = os.environ.get("LSE_DATA", "")
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
DIGITS = np.array([7, 2, 1, 0, 4], np.uint8)


def idx(array):
    header = [0x0800 + array.ndim, *array.shape]
    return b"".join(number.to_bytes(4, "big") for number in header) + array.tobytes()


def put(folder, contents, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with five digits, published under checksums of its own, and no network."""
    folder = tmp_path / "published"
    put(folder, {IMAGES: idx(PIXELS), LABELS: idx(DIGITS)})
    sums = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]
    monkeypatch.setattr(MNIST, "resources", sums)
    monkeypatch.setattr(single, "download_url", no_network)
    return folder


def no_network(*args, **kwargs):
    raise URLError("Name or service not known")


def check(digits):
    images, labels = digits
    np.testing.assert_array_equal(images, PIXELS)
    np.testing.assert_array_equal(labels, DIGITS)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    images[0, 0, 0] = 1  # and they can be written to


@pytest.mark.parametrize("place", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_packed_or_not_in_three_places(small, tmp_path, place, packed):
    put(tmp_path / "root" / place, {IMAGES: idx(PIXELS), LABELS: idx(DIGITS)}, packed)
    before = sorted(tmp_path.rglob("*"))
    check(read_mnist(tmp_path / "root", train=False))
    check(read_mnist(str(tmp_path / "root"), False, download=False))
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_files_say_where_they_were_looked_for_and_how_to_go_on(small, tmp_path):
    put(tmp_path / "raw", {IMAGES: idx(PIXELS)})  # one of two is not enough
    with pytest.raises(
        FileNotFoundError, match=r"labels-idx1-ubyte\.gz are in none of .*nothing is downloaded here"
    ) as caught:
        read_mnist(tmp_path, False, download=False)
    for part in (str(tmp_path / "MNIST" / "raw"), "four .gz files", "data.root=FOLDER", "data.name=digits"):
        assert part in str(caught.value)
    assert not (tmp_path / "MNIST").exists()


def test_without_a_network_the_message_says_how_to_go_on(small, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*Name or service not known") as caught:
        read_mnist(tmp_path, False)
    for part in (str(tmp_path), *MNIST.mirrors, "four .gz files", "data.root=FOLDER", "data.name=digits"):
        assert part in str(caught.value)
    assert not (tmp_path / "MNIST").exists()


def test_a_download_that_cannot_be_stored_says_how_to_go_on(small, tmp_path):
    (tmp_path / "MNIST").write_text("a file where a folder should be")
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*data\.root=FOLDER"):
        read_mnist(tmp_path, False)


def test_the_advice_may_be_that_of_another_command(small, tmp_path):
    for download in (True, False):
        with pytest.raises(FileNotFoundError, match=r": --root names the folder$") as caught:
            read_mnist(tmp_path, False, download=download, advice="--root names the folder")
        assert "data.root" not in str(caught.value)


def test_a_download_passes_over_a_mirror_with_damaged_files(small, tmp_path, monkeypatch):
    monkeypatch.undo()  # the true downloader, on this machine alone
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(
        MNIST, "resources", [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in small.iterdir()]
    )
    put(tmp_path / "damaged", {IMAGES: b"", LABELS: b""})
    with served(tmp_path) as address:
        monkeypatch.setattr(MNIST, "mirrors", [f"{address}/absent/", f"{address}/damaged/", f"{address}/published/"])
        check(read_mnist(tmp_path / "root", False))
    monkeypatch.setattr(single, "download_url", no_network)
    check(read_mnist(tmp_path / "root", False))
    assert {path.name for path in (tmp_path / "root/MNIST/raw").iterdir()} == {f"{IMAGES}.gz", f"{LABELS}.gz"}


@contextlib.contextmanager
def served(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_killed_download_leaves_nothing_that_is_read(small, tmp_path, monkeypatch):
    root = tmp_path / "root"

    def killed(url, folder, filename, md5):
        whole = (small / filename).read_bytes()
        Path(folder, filename).write_bytes(whole if filename.startswith(IMAGES) else whole[:20])
        if filename.startswith(LABELS):
            raise KeyboardInterrupt

    monkeypatch.setattr(single, "download_url", killed)
    with pytest.raises(KeyboardInterrupt):
        read_mnist(root, False)
    left = [path for path in root.rglob("*") if path.is_file()]
    assert [path.name for path in left] == [f"{IMAGES}.gz"]  # the one that was whole
    put(root / "MNIST/raw/.download-x", {LABELS: b"half"})  # what a kill without a chance to clean up leaves
    with pytest.raises(FileNotFoundError, match="nothing is downloaded here"):
        read_mnist(root, False, download=False)

    fetched = []

    def works(url, folder, filename, md5):
        fetched.append(filename)
        Path(folder, filename).write_bytes((small / filename).read_bytes())

    monkeypatch.setattr(single, "download_url", works)
    check(read_mnist(root, False))
    assert fetched == [f"{LABELS}.gz"]


def test_a_wrong_checksum_is_refused(small, tmp_path):
    path = small / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"images-idx3-ubyte\.gz has the checksum [0-9a-f]{32}; expected [0-9a-f]{32}"):
        read_mnist(small, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(PIXELS)[:-1], r"is truncated: 3935 bytes for \(5, 28, 28\) values, expected 3936; delete it"),
        (idx(PIXELS)[:9], "is truncated: 9 bytes"),
        (idx(PIXELS) + b"x", "is too long: 3937 bytes"),
        (b"", "begins with 0x00000000; expected the magic number 0x00000803"),
        (idx(DIGITS), "begins with 0x00000801; expected the magic number 0x00000803 of an idx file of 3 dimensions"),
        (idx(PIXELS[:, :20]), r"holds images of \(20, 28\) pixels; expected \(28, 28\)"),
        (idx(PIXELS[:3]), "holds 5 labels for 3 images; expected one per image"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    put(tmp_path, {IMAGES: content, LABELS: idx(DIGITS)}, packed=False)
    with pytest.raises(ValueError, match=message) as caught:
        read_mnist(tmp_path, False)
    assert str(tmp_path / ("t10k-labels" if "labels" in message else "t10k-images")) in str(caught.value)


def test_a_packed_file_that_cannot_be_unpacked_is_named(small, monkeypatch):
    path = small / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-30])
    monkeypatch.setattr(
        MNIST, "resources", [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in small.iterdir()]
    )
    with pytest.raises(ValueError, match=r"images-idx3-ubyte\.gz cannot be unpacked \(.*\): delete it"):
        read_mnist(small, False)


@pytest.mark.skipif(not DATA, reason="LSE_DATA names no folder with MNIST")
def test_published_files():
    images, labels = read_mnist(Path(DATA) / "data", train=False, download=False)
    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert len(read_mnist(Path(DATA) / "data", train=True, download=False)[1]) == 60_000


def test_embedded_digits_look_like_mnist():
    (train, train_labels), (test, test_labels) = embedded_digits(True), embedded_digits(False)
    assert train.shape == (1437, 28, 28) and test.shape == (360, 28, 28)
    assert train.dtype == np.uint8 and train_labels.dtype == np.int64
    for images, labels in ((train, train_labels), (test, test_labels)):
        assert images[:, 4:24, 4:24].max() == 255
        images[:, 4:24, 4:24] = 0
        assert not images.any()
        assert set(labels.tolist()) == set(range(10))


def test_embedded_digits_can_be_told_apart():
    (train, train_labels), (test, test_labels) = embedded_digits(True), embedded_digits(False)
    known, asked = (images.reshape(len(images), -1).astype(np.float32) for images in (train, test))
    distance = (known**2).sum(1) - 2 * asked @ known.T
    assert (train_labels[distance.argmin(1)] == test_labels).mean() > 0.95  # the labels are of their images
    assert (distance.min(1) + (asked**2).sum(1)).min() > 1  # no test digit is a training digit
    np.testing.assert_array_equal(embedded_digits(True)[0], train)
