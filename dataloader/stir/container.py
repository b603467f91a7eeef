"""The container of the STIR study: a file with images of every class at every size, and what is known of each.

Scale number j shows objects of 64 - j pixels: the first ones are the largest. A file that was published, and lies on
the disk of whoever downloaded it, is read as it is. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

SIDE, SMALLEST = 64, 17
SIDES = tuple(range(SIDE, SMALLEST - 1, -1))  # of the objects, in the order of the container
SPLITS = ("train", "validation", "test")
FIELDS = ("title", "description", "author", "license", "version", "date")
SHUFFLE_SEED = 42  # of the published loader
KEYS = {"images": "imgs", "labels": "lbls", "sides": "scls", "positions": "psts"}  # besides lbldata and metadata


class Selection(NamedTuple):
    """Items of a split at some sizes, in the order of the published loader.

    Args:
        images: uint8 (N, 64, 64), or (N, 64, 64, 3).
        labels: (N,).
        sides: (N,), of the objects in pixels.
        positions: (N, 2), left and top of their boxes.
        instances: (N,), a number for each object, which is the same at all of its sizes.
    """

    images: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    positions: np.ndarray
    instances: np.ndarray


@dataclass(frozen=True)
class Container:
    """All images, by split, size, class and instance.

    Args:
        images: uint8 (3, 48, n, m, 64, 64), or the same with three channels at the end.
        labels: (3, 48, n, m).
        sides: (3, 48, n, m), of the objects in pixels.
        positions: (3, 48, n, m, 2), left and top of their boxes.
        names: of the n classes.
        metadata: title, description, author, license, version and date.
    """

    images: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    positions: np.ndarray
    names: tuple[str, ...]
    metadata: dict[str, str]

    def __post_init__(self) -> None:
        images, latents = self.images, self.images.shape[:4]
        shape = f"(3, {len(SIDES)}, classes, instances, {SIDE}, {SIDE})"
        is_right = images.ndim in (6, 7) and latents[:2] == (3, len(SIDES)) and images.shape[4:6] == (SIDE, SIDE)
        if not is_right or images.dtype != np.uint8 or images.shape[6:] not in ((), (3,)):
            raise ValueError(f"imgs is {images.dtype} {images.shape}; expected uint8 {shape}, perhaps with 3 channels")
        if not images.size:
            raise ValueError(f"imgs is {images.shape}, which holds no image; expected at least one class and instance")
        for name, value, wanted in (
            ("lbls", self.labels, latents),
            ("scls", self.sides, latents),
            ("psts", self.positions, (*latents, 2)),
        ):
            if value.shape != wanted or value.dtype.kind not in "iu":
                raise ValueError(f"{name} is {value.dtype} {value.shape}; expected whole numbers {wanted}, as of imgs")
        if len(self.names) != latents[2]:
            raise ValueError(f"lbldata has {len(self.names)} names; expected one for each of the {latents[2]} classes")
        low, high = self.labels.min(), self.labels.max()
        if low < 0 or high >= latents[2]:
            raise ValueError(f"lbls runs from {low} to {high}; expected 0 to {latents[2] - 1}, one of the classes")
        wrong = self.sides != np.array(SIDES).reshape(1, -1, 1, 1)
        if wrong.any():
            split, scale, *_ = map(int, np.argwhere(wrong)[0])
            raise ValueError(
                f"scls has {self.sides[split, scale].flat[0]} at scale {scale} of split {split}; expected "
                f"{SIDES[scale]}, for sizes run from {SIDE} down to {SMALLEST}"
            )
        ends = self.positions.astype(np.int64) + self.sides[..., None]
        # A size is that of the longer side. Along the other one a box of that size may end beyond the canvas, as those
        # of aerial pictures do.
        if self.positions.min() < 0 or self.positions.max() >= SIDE or ends.min(-1).max() > SIDE:
            raise ValueError(
                "psts puts an object beyond the canvas; expected left and top of at least 0, and one of them, the "
                f"longer side's, of at most {SIDE} - side"
            )

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.images.ndim == 6 else 3

    def select(self, split: str, sides: Sequence[int], *, shuffled: bool = False) -> Selection:
        """Items of a split at these sizes: size by size as they are asked for, then by class, then by instance.

        Args:
            split: train, validation or test.
            sides: of the objects, 17 to 64.
            shuffled: into the order that the published loader trains in.
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        unknown = sorted(set(sides) - set(SIDES))
        if unknown or not len(sides):
            raise ValueError(f"sides holds {unknown or 'nothing'}; expected sizes of {SMALLEST} to {SIDE} pixels")
        of_split, chosen = SPLITS.index(split), [SIDES.index(side) for side in sides]
        classes, count = self.labels.shape[2:]
        instances = np.tile(np.arange(classes * count), len(chosen))
        order = np.arange(len(instances))
        if shuffled:
            np.random.RandomState(SHUFFLE_SEED).shuffle(order)

        def flat(part: np.ndarray) -> np.ndarray:
            return part[of_split][chosen].reshape(-1, *part.shape[4:])[order]

        found = map(flat, (self.images, self.labels, self.sides, self.positions))
        return Selection._make([*found, instances[order]])

    def checksum(self) -> str:
        """Of images and latents, as 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels, self.sides, self.positions):
            digest.update(np.ascontiguousarray(part if part is self.images else part.astype("<i8")).tobytes())
        return digest.hexdigest()[:16]

    def write(self, path: Path) -> Path:
        """Write the file, in the published layout; its name, to which ``.npz`` is added where it lacks."""
        path = path if path.name.endswith(".npz") else path.with_name(f"{path.name}.npz")
        described = np.array([[field, self.metadata.get(field, "")] for field in FIELDS])
        arrays = {key: getattr(self, name) for name, key in KEYS.items()}
        np.savez_compressed(path, **arrays, metadata=described, lbldata=np.array(self.names))
        return path


def read(path: Path) -> Container:
    """Read a file of the published layout; a ``ValueError`` says which key is wrong, and how."""
    try:
        with _opened(path) as file:
            missing = sorted({*KEYS.values(), "lbldata", "metadata"} - {*file.files})
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}; expected the keys of the STIR container")
            arrays = {name: _native(_array(file, key)) for name, key in KEYS.items()}
            names = _texts(file, "lbldata", "(classes,), a name for each")
            described = _texts(file, "metadata", "(fields, 2), a name and a value for each", (2,))
        return Container(**arrays, names=tuple(names.tolist()), metadata=dict(described.tolist()))
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror or error}); expected a container, .npz") from None
    except (BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: it is no .npz file, or a broken one ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    """NumPy takes what it does not know for pickled, and advises to unpickle it; so its words are not passed on."""
    try:
        file = np.load(path, allow_pickle=False)
    except ValueError:
        file = None
    if not isinstance(file, np.lib.npyio.NpzFile):  # a file of a single array is an array
        raise ValueError("it is no .npz file; expected one with the keys of the STIR container")
    return file


def _array(file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        value = file[key]
    except (ValueError, MemoryError, RuntimeError):  # which are pickled, of a size that is none, or encrypted
        what = "holds Python objects, which are never unpickled, or is broken"
        raise ValueError(f"{key} {what}; save it as plain numbers or text") from None
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{key} is no array; save it with numpy.savez")
    return value


def _native(value: np.ndarray) -> np.ndarray:
    """In this machine's order of bytes, the only one that PyTorch takes."""
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def _texts(file: np.lib.npyio.NpzFile, key: str, expected: str, each: tuple[int, ...] = ()) -> np.ndarray:
    """An array of text, any number of rows of the shape ``each``."""
    value = _array(file, key)
    if not value.ndim or value.shape[1:] != each or value.dtype.kind != "U":
        raise ValueError(f"{key} is {value.dtype} {value.shape}; expected text {expected}")
    return value
