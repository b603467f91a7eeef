"""Whether the internal scale range that a network learns is the one that fixed ranges show to be best.

The toy study of Scale Learning in Scale-Equivariant Convolutional Networks: digits whose factors are uniform in their
logarithm over three intervals, and a network of a single layer of SESN. A canvas of --side pixels, of 168 as published,
scales digits and widths alike.

python -m benchmarks.scale_learning --root FOLDER --side 84 --items 1000 --epochs 20
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.report import RESULTS, typed, write
from benchmarks.tolerance import fitted
from dataloader.scaled.draws import Draw, draws
from dataloader.scaled.items import Rescaled
from dataloader.scaled.laws import Law
from dataloader.scaled.sources import SOURCES, Pool
from layers.scale.functions import LearnedFunctions
from layers.scale.hermite import Family
from layers.scale.pool import ScalePool
from layers.scale.steerable import SAME, LiftingConv2d
from layers.scale.widths import ScaleWidths
from train.runs.errors import RunError
from train.runs.run import one_line_errors

SIDE, CELL = 168, 42  # of the published canvas, and of the windows of the pool over it
LARGEST = (2.83, 4.76, 8.0)  # factors of the three laws, from 1 on
SCALES, FILTERS, FIRST, START = 3, 16, 2.0, 3.0  # FIRST is the smallest width on the published canvas
RATE, SCALE_RATE, WARMUP = 0.01, 0.01, 1 / 12  # warm-up as a share of all epochs
FALLS = (1 / 3, 2 / 3)  # of all epochs, after which rates fall: to a tenth, and to three quarters for the widths
NOTES = (
    "Test error in % of a network of one SESN layer, with fixed internal scale ranges and with one that is learned "
    f"from {START:g} on, on digits whose factors are uniform in their logarithm from 1 to `largest` times 28 pixels of "
    "a canvas of 168. `tolerance model` is the range that the model of benchmarks/tolerance.py expects."
)


class Setting(NamedTuple):
    """How large the study is."""

    side: int
    items: int
    tested: int
    epochs: int
    batch_size: int


class Parts(NamedTuple):
    """Images (N, 1, side, side) and labels, to train on and to test."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Found:
    """Of a network that has trained."""

    error: float
    spans: list[float]
    """The internal scale range, at the start and after every epoch."""
    widths: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the MNIST files")
    parser.add_argument("--side", type=int, default=84, help="of the canvas, a multiple of 4; 168 as published")
    parser.add_argument("--items", type=int, default=1000, help="to train on; 10000 as published")
    parser.add_argument("--tested", type=int, default=2000, help="to test; 50000 as published")
    parser.add_argument("--epochs", type=int, default=20, help="60 as published")
    parser.add_argument("--batch_size", type=int, default=32, help="128 as published")
    parser.add_argument("--fixed", type=float, nargs="+", default=[2.0, 3.0, 4.5, 6.5], help="internal scale ranges")
    parser.add_argument("--largest", type=float, nargs="+", default=list(LARGEST), help="factors, one for each law")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    with one_line_errors():
        study(given)


def study(given: argparse.Namespace) -> None:
    """Write the table and the figure anew after every law and seed."""
    pool = digits(given.root)  # before the model of tolerance, whose fit takes a while
    setting = Setting(given.side, given.items, given.tested, given.epochs, given.batch_size)
    expected, _ = fitted(given.largest)
    rows, paths = [], {}
    for row, learned in studied(pool, setting, given.fixed, given.largest, given.seeds):
        rows.append(row | {"tolerance model": expected[given.largest.index(row["largest"])]})
        paths[f"1 to {row['largest']:g}, seed {row['seed']}"] = learned.spans
        write("scale_learning", typed("scale_learning"), rows, NOTES)
        draw(RESULTS / "scale_learning.png", paths)


def digits(root: str) -> Pool:
    """MNIST, with an error that names the option of this command."""
    try:
        return SOURCES["mnist"](root)
    except (OSError, ValueError) as error:
        raise RunError(re.sub(r"data\.root=FOLDER.*", "--root FOLDER", str(error))) from error


def studied(
    pool: Pool, setting: Setting, fixed: Sequence[float], largest: Sequence[float], seeds: Sequence[int]
) -> Iterator[tuple[dict[str, Any], Found]]:
    """For each law and seed, the errors of all ranges, and the network that learned its own."""
    for seed in seeds:
        for end in largest:
            parts, start = parts_of(pool, setting, end, seed), time.perf_counter()
            errors = {}
            for span in fixed:
                errors[span] = trained(parts, setting, span, seed, learns=False).error
                print(f"largest {end:g}, seed {seed}, fixed {span:g}: {100 * errors[span]:.2f} %", flush=True)
            learned = trained(parts, setting, START, seed, learns=True)
            print(
                f"largest {end:g}, seed {seed}, learned {learned.spans[-1]:.2f}: {100 * learned.error:.2f} %",
                flush=True,
            )
            row = {"largest": end, "seed": seed}
            row |= {f"fixed {span:g}": round(100 * error, 2) for span, error in errors.items()}
            row |= {"best fixed": min(errors, key=lambda span: errors[span]), "learned": round(100 * learned.error, 2)}
            row |= {"learned range": learned.spans[-1], "smallest width": learned.widths[0] * SIDE / setting.side}
            yield row | {"minutes": (time.perf_counter() - start) / 60}, learned


def parts_of(pool: Pool, setting: Setting, largest: float, realisation: int) -> Parts:
    """Digits of factors from 1 to the largest, on the published canvas made smaller."""
    shrunk = setting.side / SIDE
    law, found = Law("log_uniform", shrunk, largest * shrunk), draws(pool, realisation, train=setting.items)
    few = Draw(*(part[: setting.tested] for part in found["test"]))
    return Parts(*(_images(Rescaled(pool, draw, law, side=setting.side)) for draw in (found["train"], few)))


def _images(items: Rescaled) -> tuple[Tensor, Tensor]:
    pixels = np.concatenate([items.shown(chosen) for chosen in np.array_split(np.arange(len(items)), 20)])
    return torch.from_numpy(pixels)[:, None].float() / 255, torch.from_numpy(items.labels)


def network(setting: Setting, span: float, *, learns: bool) -> tuple[nn.Sequential, ScaleWidths]:
    """One layer, the largest scale, ReLU, batch norm, a pool to 4 x 4 places, and a classifier."""
    first = FIRST * setting.side / SIDE
    widths = ScaleWidths(SCALES, first=first, span=span, learned="ratio_squared" if learns else "fixed")
    lift = LiftingConv2d(1, FILTERS, LearnedFunctions(widths, Family(kind="A", effective_size=5)), padding=SAME)
    window = CELL * setting.side // SIDE
    places = (setting.side // window) ** 2
    after = (ScalePool(), nn.ReLU(), nn.BatchNorm2d(FILTERS), nn.MaxPool2d(window), nn.Flatten())
    return nn.Sequential(lift, *after, nn.Linear(FILTERS * places, 10)), widths


def trained(parts: Parts, setting: Setting, span: float, seed: int, *, learns: bool) -> Found:
    """A network that starts with this range, and keeps it or not."""
    torch.manual_seed(seed)
    model, widths = network(setting, span, learns=learns)
    own = [value for value in widths.parameters() if value.requires_grad]
    others = [value for value in model.parameters() if all(value is not one for one in own)]
    groups = [{"params": others, "lr": RATE}] + ([{"params": own, "lr": SCALE_RATE}] if own else [])
    optimizer = torch.optim.Adam(groups)
    images, labels = parts.train
    steps, spans = math.ceil(len(images) / setting.batch_size), [widths.span]
    for epoch in range(setting.epochs):
        order = torch.randperm(len(images))
        for step, chosen in enumerate(order.split(setting.batch_size)):
            done = (epoch + (step + 1) / steps) / setting.epochs
            for group, factor in zip(optimizer.param_groups, factors_at(done), strict=False):
                group["lr"] = factor * (RATE if group["params"] is optimizer.param_groups[0]["params"] else SCALE_RATE)
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
        spans.append(widths.span)
    return Found(error_of(model, *parts.test), spans, widths().tolist())


def factors_at(done: float) -> tuple[float, float]:
    """Of the two rates after a share of the training: that of all, and that of the widths."""
    falls = sum(done > fall for fall in FALLS)
    return 0.1**falls, min(1.0, done / WARMUP) * 0.75**falls


def error_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in images.split(50)])
    return float((found != labels).double().mean())


def draw(path: Path, paths: Mapping[str, Sequence[float]]) -> None:
    """The learned range over the epochs, a line for each law and seed."""
    figure = Figure(figsize=(5, 3.5), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, spans in paths.items():
        axes.plot(spans, label=name)
    axes.set(xlabel="epoch", ylabel="internal scale range", yscale="log")
    axes.legend(title="factors of the digits", fontsize="small")
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
