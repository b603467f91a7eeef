"""Which number a class has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timm.data import ImageNetInfo

from config.schema import ConfigError, PictureData
from dataloader.pictures.folders import class_folders
from dataloader.pictures.shapes import CLASSES
from dataloader.pictures.sources import PACKAGES, build_class_names, kind_of, root_of


def build_classes(config: PictureData) -> dict[str, int]:
    """The number of every class, before any picture is looked at."""
    if config.name == "shapes":
        return _numbered(CLASSES)
    is_read = kind_of(config) in PACKAGES
    if is_read and config.class_map is None:
        classes = _numbered(build_class_names(config))
    else:
        root = Path() if is_read and config.root is None else root_of(config)  # a set from the hub needs none
        classes = read_classes(config.class_map, root / config.train_split)
    if config.num_classes is not None and config.num_classes != len(classes):
        raise ConfigError(f"data.num_classes is {config.num_classes}; the class map has {len(classes)}")
    return classes


def read_classes(class_map: str | None, folder: Path) -> dict[str, int]:
    """The number of every class.

    Args:
        class_map: ``imagenet``, the path of a text file with a class per line (looked for here, beside and in the
            folder), or None for the names of the folder's own folders.
        folder: of the training split.
    """
    if class_map is None:
        names = class_folders(folder)
        if not names:
            raise ValueError(f"{folder} has no class folders")
    elif class_map == "imagenet":
        names = ImageNetInfo("imagenet-1k").label_names()
    else:
        places = [Path(class_map), folder.parent / class_map, folder / class_map]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            looked = ", ".join(dict.fromkeys(map(str, places)))
            raise FileNotFoundError(f"there is no class map at {looked}; expected a text file with a class per line")
        names = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise ValueError(f"{path} has {twice[0] + ' twice' if twice else 'no classes'}; expected each class once")
    return _numbered(names)


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
