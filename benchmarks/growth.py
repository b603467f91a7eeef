"""How time and memory grow with batch, resolution, sites, grid size and solver steps: a figure each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import timm
import torch
from torch import nn

from benchmarks.cost import infer, train
from benchmarks.measure import medians, peak_bytes
from benchmarks.published import NETWORK
from benchmarks.report import RESULTS, typed, write
from hubconf import spec_of
from layers.spec import DEC, Site, Solver
from models.dec import with_dec
from models.light import LIGHT

BACKBONE = "deit_tiny_patch16_224"
PUBLISHED = DEC(sites=spec_of("dem_deit").sites, **NETWORK)
AXES: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 4, 8, 16),
    "resolution": (224, 336, 448, 672, 896),
    "sites": (1, 2, 4, 8, 12),
    "grid size": (4, 6, 10, 16, 32),
    "steps": (3, 5, 10, 20, 50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.growth --batch 4 --repeats 3")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    name = "growth" if arguments.device == "cpu" else "growth_cuda"
    rows = []
    for axis in arguments.axes:
        for value in AXES[axis]:
            rows += point(axis, value, arguments.batch, arguments.device, arguments.repeats)
            print(rows[-1], flush=True)
        draw(axis, [row for row in rows if row["axis"] == axis], f"{name}_{axis.replace(' ', '_')}.png")
    write(name, typed("growth"), rows, notes(arguments.batch))


def notes(batch: int) -> str:
    """What the columns mean."""
    return (
        f"DeiT-tiny at random weights, bare, with the published DEC (recipe `dem_deit`) and with the light one; batch "
        f"{batch} and 224 x 224 unless they are what grows. Sites are the first so many blocks, on 4 x 4 knots; "
        "`grid size` is that of all sites; `steps` is the solver's `max_steps`, without early stop. Medians of "
        "interleaved calls; `step MB`: the most that a training step holds at any moment, besides weights and images. "
        "One figure per axis beside this file."
    )


def point(axis: str, value: int, batch: int, device: str, repeats: int) -> list[dict[str, Any]]:
    """Bare, published and light models at one value of one axis."""
    batch = value if axis == "batch" else batch
    side = value if axis == "resolution" else 224
    image = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)

    def backbone() -> nn.Module:
        return timm.create_model(BACKBONE, img_size=side).to(device)

    models = {"bare": backbone()}
    for kind, spec in (("published", PUBLISHED), ("light", LIGHT)):
        models[kind] = with_dec(backbone(), grown(spec, axis, value))
    forward = medians({kind: partial(infer, model, image) for kind, model in models.items()}, repeats, device)
    steps: dict[str, Callable[[], None]] = {kind: partial(train, model, image) for kind, model in models.items()}
    step = medians(steps, repeats, device)
    return [
        {
            "axis": axis,
            "value": value,
            "model": kind,
            "forward ms": forward[kind] * 1e3,
            "step ms": step[kind] * 1e3,
            "step MB": peak_bytes(steps[kind], device) / 1e6,
        }
        for kind in models
    ]


def grown(spec: DEC, axis: str, value: int) -> DEC:
    """The options of a DEC at one value of one axis."""
    if axis == "sites":
        return replace(spec, sites=tuple(Site(block, 4) for block in range(value)))
    if axis == "grid size":
        return replace(spec, sites=tuple(replace(site, grid_size=value) for site in spec.sites))
    if axis == "steps":
        return replace(spec, solver=Solver(max_steps=value, tol=0))
    return spec


def draw(axis: str, rows: list[dict[str, Any]], file: str) -> None:
    """Forward time, step time and memory over one axis."""
    figure, panels = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for panel, column in zip(panels, ("forward ms", "step ms", "step MB"), strict=True):
        for kind in dict.fromkeys(row["model"] for row in rows):
            chosen = [row for row in rows if row["model"] == kind]
            panel.plot([row["value"] for row in chosen], [row[column] for row in chosen], "o-", label=kind)
        panel.set(xlabel=axis, title=column, ylim=(0, None))
    panels[0].legend()
    figure.savefig(RESULTS / file, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
