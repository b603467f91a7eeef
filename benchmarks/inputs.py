"""What a benchmark is given on its command line: a mistake in it ends in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dataloader.digits.single import read_mnist
from train.runs.errors import RunError
from train.runs.run import one_line_errors

WAY_OUT = "--root FOLDER names one with the four .gz files, such as data/, into which train_mnist.py downloads them"


@contextmanager
def checked() -> Iterator[None]:
    """What a user can have got wrong shows inside, before anything is measured: settings, files and folders."""
    with one_line_errors():
        try:
            yield
        except (ValueError, OSError) as error:
            raise RunError(str(error)) from error


def mnist_test(root: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of MNIST's test digits, from a folder that is named by ``--root``."""
    return read_mnist(root, False, download=False, advice=WAY_OUT)
