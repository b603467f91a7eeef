"""How fast items of locally scaled MNIST are composed, against drawing each of them anew, and how fast batches come."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from benchmarks.inputs import checked, mnist_test
from benchmarks.measure import medians
from benchmarks.report import write
from dataloader.digits.items import ARRANGEMENTS, ScaledDigits

BATCH = 64
NOTES = (
    "Items of the MNIST test set, three digits on 210 x 210 pixels, published settings. `drawn anew` resizes and "
    "pastes every digit of every item with PIL; `composed` is `item()` after `prepare()`; `prepared` is `prepare()` "
    f"alone, needed once. Batches of {BATCH} are float32 (3, 210, 210) from a `DataLoader` whose workers are already "
    "running. `times` is against `drawn anew`."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("LSE_DATA", "."), "data"))
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with checked():
        digits = mnist_test(options.root)
    data = ScaledDigits(*digits)
    indices = random.Random(0).sample(range(len(data)), options.items)
    data.prepare(indices)

    def loaded(workers: int) -> Callable[[], Any]:
        loader = DataLoader(Subset(data, indices), BATCH, num_workers=workers, persistent_workers=workers > 0)
        return lambda: [len(labels) for _, labels in loader]

    functions: dict[str, Callable[[], Any]] = {
        "drawn anew": lambda: [len(drawn_anew(*digits, index)) for index in indices],
        "composed": lambda: [len(data.item(index)) for index in indices],
        "prepared": lambda: ScaledDigits(*digits).prepare(indices),
        "batches, 0 workers": loaded(0),
        "batches, 2 workers": loaded(2),
    }
    seconds = medians(functions, options.repeats)
    rows: list[dict[str, Any]] = [
        {
            "what": name,
            "items per second": round(options.items / time),
            "microseconds per item": round(time / options.items * 1e6),
            "times": seconds["drawn anew"] / time,
        }
        for name, time in seconds.items()
    ]
    write("data", f"python -m benchmarks.data --items {options.items} --repeats {options.repeats}", rows, NOTES)


def drawn_anew(
    images: np.ndarray,
    labels: np.ndarray,
    index: int,
    factors: Sequence[float] | None = None,
    *,
    scales: Sequence[Sequence[float]] = ((0.4, 2.0),) * 3,
    cell_size: int = 70,
    layout: str = "all",
) -> tuple[np.ndarray, int]:
    """An item in the plainest way, cell by cell: what every faster way must equal."""
    n_digits, label = len(scales), 0
    chosen = random.Random(index).choice(ARRANGEMENTS) if layout == "all" else layout
    canvas = Image.new("L", (n_digits * cell_size, n_digits * cell_size))
    middle = (n_digits * cell_size - cell_size) // 2
    for k, interval in enumerate(scales):
        which = (index + k) % len(images)
        label = 10 * label + int(labels[which])
        factor = random.Random(index + k).uniform(*interval) if factors is None else factors[k]
        side = int(28 * factor)
        cell = Image.new("L", (cell_size, cell_size))
        margin = (cell_size - side) // 2
        cell.paste(Image.fromarray(images[which]).resize((side, side), Image.Resampling.LANCZOS), (margin, margin))
        step = k * cell_size
        canvas.paste(cell, {"horizontal": (step, middle), "vertical": (middle, step), "diagonal": (step, step)}[chosen])
    return np.asarray(canvas), label


if __name__ == "__main__":
    main()
