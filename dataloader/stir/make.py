"""Makes a container of objects at 17 to 64 pixels, without any download.

python -m dataloader.stir.make emoji-dejavu emoji.npz
python -m dataloader.stir.make mnist mnist.npz --root FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.digits.single import embedded_digits, read_mnist, way_out
from dataloader.stir.container import Container
from dataloader.stir.faces import emoji
from dataloader.stir.numerals import mnist
from dataloader.stir.signs import signs


def _mnist(seed: int, root: str) -> Container:
    advice = way_out("stir/digits")
    train, test = (read_mnist(root, is_training, download=False, advice=advice) for is_training in (True, False))
    return mnist(train, test, seed)


def _digits(seed: int, root: str) -> Container:
    """Scikit-learn's digits, which need no file: fewer, and of 8 x 8 pixels at first."""
    train, test = (embedded_digits(is_training) for is_training in (True, False))
    count = min(np.bincount(train[1]).min() // 2, np.bincount(test[1]).min())
    return mnist(train, test, seed, count=min(int(count), 25), title="digits")


MAKERS: dict[str, Callable[[int, str], Container]] = {
    "emoji-dejavu": lambda seed, root: emoji(seed),
    "emoji-fa6": lambda seed, root: emoji(seed, font="fa6"),
    "mnist": _mnist,
    "digits": _digits,
    "signs-synth": lambda seed, root: signs(seed),
}


def make(name: str, seed: int = 0, root: str = "data") -> Container:
    """A container by its name.

    Args:
        name: one of ``MAKERS``.
        seed: of places, and of what else is drawn.
        root: folder of the MNIST files.
    """
    if name not in MAKERS:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(MAKERS)}")
    return MAKERS[name](seed, root)


def sheet(container: Container, sides: tuple[int, ...] = (17, 24, 32, 48, 64)) -> Image.Image:
    """Some objects at some sizes, to look at."""
    rows = []
    for side in sides:
        images = container.select("train", [side]).images[:: container.labels.shape[3]][:16]
        rows.append(np.concatenate(list(images), axis=1))
    return Image.fromarray(np.concatenate(rows))


def main(words: Sequence[str] | None = None) -> None:
    """Make, write and tell the checksum, or say in one line what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(MAKERS))
    parser.add_argument("file", type=Path, help="where to write it, NAME.npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", default="data", help="folder of the MNIST files")
    parser.add_argument("--sheet", type=Path, help="write a picture of some objects too")
    arguments = parser.parse_args(words)
    try:
        _check(arguments.seed, arguments.file, arguments.sheet)
        container = make(arguments.name, arguments.seed, arguments.root)
        written = container.write(arguments.file)
        if arguments.sheet:
            sheet(container).save(arguments.sheet)
    except (OSError, ValueError) as error:
        text = (
            str(error).replace("data.root=FOLDER", "--root FOLDER").replace("data.name=stir/digits", "the name digits")
        )
        sys.exit(f"error: {text}")
    print(f"{written}: {container.labels.size} images, {len(container.names)} classes, {container.checksum()}")


def _check(seed: int, file: Path, picture: Path | None) -> None:
    """What would fail in the end does so before minutes are spent."""
    if seed < 0:
        raise ValueError(f"--seed is {seed}; expected at least 0")
    for path in filter(None, (file, picture)):
        if not path.parent.is_dir():
            raise ValueError(f"{path} lies in no folder; make {path.parent} first")
    if picture and Image.registered_extensions().get(picture.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--sheet is {picture}; expected the name of a picture, NAME.png")


if __name__ == "__main__":
    main()
