"""How fast MNIST STIR is made, a size at once, against one object at a time by PIL and scipy."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.inputs import checked, mnist_test
from benchmarks.measure import medians
from benchmarks.report import write
from dataloader.stir.container import SIDE, SIDES
from dataloader.stir.drawing import placed
from dataloader.stir.numerals import DIGIT, finished, resized

NOTES = (
    "Images of 64 x 64 pixels, as many of each of the 48 sizes. `one at a time` resizes by PIL, pastes, blurs by "
    "`scipy.ndimage.gaussian_filter`, and sharpens; `a size at once` is how "
    "`python -m dataloader.stir.make mnist` does it, and the rows below are its parts. `times` is against "
    "`one at a time`, on one thread, in turns."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("LSE_DATA", "."), "data"))
    parser.add_argument("--items", type=int, default=100, help="of every size")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with checked():
        digits, _ = mnist_test(options.root)
    digits = digits[: options.items]
    corner = {side: np.random.default_rng(side).integers(0, SIDE - side + 1, (len(digits), 2)) for side in SIDES}
    large = {side: resized(digits, side, "published") for side in SIDES}
    canvases = {side: placed(large[side], corner[side]) for side in SIDES}

    functions: dict[str, Callable[[], Any]] = {
        "one at a time": lambda: [
            alone(digit, side, place) for side in SIDES for digit, place in zip(digits, corner[side], strict=True)
        ],
        "a size at once": lambda: [
            finished(placed(resized(digits, side, "published"), corner[side]), side) for side in SIDES
        ],
        "... resizing": lambda: [resized(digits, side, "published") for side in SIDES],
        "... placing": lambda: [placed(large[side], corner[side]) for side in SIDES],
        "... blur and sharpening": lambda: [finished(canvases[side], side) for side in SIDES],
    }
    seconds = medians(functions, options.repeats)
    count = len(digits) * len(SIDES)
    rows: list[dict[str, Any]] = [
        {
            "what": name,
            "images per second": round(count / time),
            "microseconds per image": round(time / count * 1e6),
            "times": seconds["one at a time"] / time,
        }
        for name, time in seconds.items()
    ]
    write("stir_data", f"python -m benchmarks.stir_data --items {options.items}", rows, NOTES)


def alone(digit: np.ndarray, side: int, place: np.ndarray) -> np.ndarray:
    """One image, as a loop over objects would make it."""
    canvas = Image.new("L", (SIDE, SIDE))
    canvas.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), tuple(place.tolist()))
    value = ndimage.gaussian_filter(np.asarray(canvas, dtype=np.float64), 7 / 8 * side / DIGIT, mode="nearest")
    value = 2 / np.pi * np.arctan(0.02 * (value - 128))
    return (255 * (value - value.min()) / (value.max() - value.min())).astype(np.uint8)


if __name__ == "__main__":
    main()
