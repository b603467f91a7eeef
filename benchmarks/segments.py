"""Pictures of what a finished run of ``train_dense.py`` says: ``python -m benchmarks.segments RUN --items 4``.

A row per picture: picture, mask, answer, error, and of every site the warp that was found and what it shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.orbit import Finished, count_of, finished
from config.errors import ConfigError
from dataloader.build import build_splits
from evaluation.parts import first_batches
from report.dense import dense_figure
from train.runs.errors import RunError

ENDINGS = (".png", ".pdf", ".svg")


def main(words: Sequence[str] | None = None) -> None:
    """Draw the first items that a run is judged by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run, such as weights/dense_residual/70")
    parser.add_argument("--items", type=count_of(1), default=4, help="rows (4)")
    parser.add_argument("--output", type=Path, help="file; RUN/segments.png if not given")
    arguments = parser.parse_args(words)
    try:
        run = finished(arguments.run)
        if run.config.data.kind != "dense":
            raise ConfigError(f"{run.name} has data of kind {run.config.data.kind}; expected a run of train_dense.py")
        output = arguments.output or arguments.run / "segments.png"
        if output.suffix not in ENDINGS or not output.parent.is_dir():
            raise ConfigError(f"--output is {output}; expected a file in a folder, ending in {', '.join(ENDINGS)}")
        draw(run, arguments.items, output)
    except (ConfigError, RunError) as error:
        sys.exit(f"error: {error}")
    print(output)


@torch.no_grad()
def draw(run: Finished, count: int, output: Path) -> None:
    """Write the figure of a run's first items."""
    images, labels = items_of(run, count)
    model: Any = run.model
    phis, sites = [], []
    if "warps" in run.config.method.gives:
        found = model(images, return_output=True)
        logits, phis, sites = found.logits, found.phis, [site.name for site in model.sites]
    else:
        logits = model(images)
    dense_figure(output, images, labels, logits, phis, sites)


def items_of(run: Finished, count: int) -> tuple[Tensor, Tensor]:
    """Images and labels of the first items that a run is judged by."""
    part = next(iter(build_splits(run.config, run.seed, trains=False).evaluated.values()))
    batches = [(image, label) for image, label, *_ in part.loader(first_batches(part.batches, count))]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return images, labels


if __name__ == "__main__":
    main()
