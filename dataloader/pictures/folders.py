"""Pictures in class folders."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data.readers.img_extensions import get_img_extensions

from dataloader.pictures.decoding import decode


class FolderSource:
    """Picture files below a folder.

    Args:
        root: the folder.
        files: (N,) bytes, ``class/file``; an array, for Python objects would be copied into every worker.
        labels: (N,) int64.
    """

    def __init__(self, root: Path, files: np.ndarray, labels: np.ndarray):
        self.root, self.files, self.labels = root, files, labels

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, number: int) -> str:
        return str(self.root / os.fsdecode(self.files[number]))

    def names(self) -> list[str]:
        return [os.fsdecode(file) for file in self.files]

    def read(self, number: int) -> Image.Image:
        return decode(self.name(number))


def read_folder(folder: Path, classes: Mapping[str, int]) -> FolderSource:
    """List the pictures below ``folder/class/``, in order of their names, at any depth.

    Raises:
        FileNotFoundError: without the folder, or without pictures in it.
        ValueError: for a class folder without pictures, and for one that the map does not know.
    """
    names: list[str] = []
    labels: list[int] = []
    folders = class_folders(folder)
    if unknown := [name for name in folders if name not in classes]:
        raise ValueError(
            f"{folder} has {_some(unknown)} that the class map with its {len(classes)} classes does not know: name "
            "another with data.class_map=FILE, or take the folders' names with data.class_map=null"
        )
    empty, start = [], len(os.path.join(folder, ""))
    for name in folders:
        found = sorted(str(path)[start:] for path in _pictures(folder / name))
        if not found:
            empty.append(name)
        names += found
        labels += [classes[name]] * len(found)
    if empty:
        raise ValueError(f"{folder} has {_some(empty)} without pictures; expected at least one in each, or no folder")
    if not names:
        raise FileNotFoundError(f"{folder} has no class folders with pictures; expected {folder}/CLASS/NAME.JPEG")
    return FolderSource(folder, np.array([os.fsencode(name) for name in names]), np.array(labels, np.int64))


def class_folders(folder: Path) -> list[str]:
    """Names of those below a folder, except what is hidden."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except NotADirectoryError:
        raise FileNotFoundError(f"{folder} is a file; expected a folder with a folder per class") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no folder {folder}; expected one with a folder per class. --data_dir names the folder above "
            "the splits, data.train_split and data.val_split the splits"
        ) from None


def _pictures(folder: Path) -> Iterator[str]:
    """Paths of those below a class folder, except what is hidden, such as a notebook's checkpoints.

    Links are followed, after all real folders. Each folder is gone through once, and the one above the class folders
    never, as a link to it or to a folder on the way would list the same pictures again and again.
    """
    known = get_img_extensions(as_set=True)
    visited, waiting = {_identity(folder.parent)}, deque([str(folder)])
    while waiting:
        for above, folders, files in os.walk(waiting.popleft()):  # which stops at links
            identity = _identity(above)
            if identity in visited:
                folders.clear()
                continue
            visited.add(identity)
            # in order: of two links to one folder, the file system must not choose
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(above, name))]
            for file in files:
                if os.path.splitext(file)[1].lower() in known and not file.startswith("."):
                    yield os.path.join(above, file)


def _identity(folder: str | Path) -> tuple[int, int]:
    """The same for all paths of a folder."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} class folder{'s' * (len(names) > 1)} ({shown})"
