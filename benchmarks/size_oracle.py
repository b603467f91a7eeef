"""What a canonicalizer of sizes could gain on faces of many sizes: a plain network behind warps that know every box.

Objects are brought to the middle size of training by the separable warp that moves their known edges to where those of
their siblings are. Beside it stands the warp that descent on pixels finds, which is what ``loss.sibling`` follows.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

import models.scale_zoo  # noqa: F401  (makes its networks known to timm)
from benchmarks.report import typed, write
from config.scenarios import SCENARIOS
from dataloader.stir.container import SIDE
from dataloader.stir.faces import emoji
from dataloader.stir.items import Objects
from layers.grid import SHARPNESS, WarpParams
from layers.monotone import monotone_warp
from layers.seeds import seed_of
from train.losses import pixel_loss

SIZES = 5  # of the canvas, 64 to 4 pixels, that images are compared at
LEAST = 0.004  # of the canvas, between two places that a warp keeps apart
NOTES = (
    "Faces of DejaVu Sans, trained at 33 to 48 pixels and judged at 17 to 32 and 49 to 64. `distance` is the mean over "
    "whole training objects, rescaled by .5 to 2, of what is left of the difference from their siblings' pixels, "
    "relative to no warp: under the warp of known edges, and under the one that descent on pixels finds from no warp. "
    "`accuracy` is that of a plain network behind the warps of known edges, `moved edges` with all edges moved at "
    "random, in training and test, by a normal deviation of 4 pixels."
)


class Sized(NamedTuple):
    """Objects on a canvas: (N, 1, H, W) images, and where an axis shows their edges and what their siblings show."""

    image: Tensor
    sibling: Tensor
    edges: Tensor  # (N, 2, 2): the first and the last of x and of y, 0 to 1
    wanted: Tensor  # the same of the siblings
    label: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[70])
    parser.add_argument("--knots", type=int, nargs="+", default=[5, 8, 16, 32], help="per axis")
    parser.add_argument("--items", type=int, default=96, help="whose distance is told")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    container, scenario = emoji(), SCENARIOS[2]
    learning, judged = (
        Objects(container.select(split, sides))
        for split, sides in (("train", scenario.trained), ("test", scenario.tested))
    )
    judged.middle = learning.middle  # what is judged is brought to the size that was learned
    drawn = whole(sized(Objects(learning.selection, (0.5, 2.0))), options.items)
    parts = sized(learning), sized(judged), drawn
    rows = [row(R, *parts, options.epochs, options.seeds) for R in (None, *options.knots)]
    write("size_oracle", typed("size_oracle"), rows, NOTES)


def row(R: int | None, training: Sized, test: Sized, drawn: Sized, epochs: int, seeds: list[int]) -> dict[str, Any]:
    """With warps of R knots per axis, or none."""

    def accuracy(deviation: float) -> str:
        found = [100 * learned(brought(training, R, deviation), brought(test, R, deviation), epochs, s) for s in seeds]
        spread = f" ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else ""
        return f"{np.mean(found):.1f}{spread}"

    if R is None:
        return {
            "knots per axis": "no warp",
            "distance, known edges": 1,
            "distance, descent": 1,
            "accuracy (%)": accuracy(0),
        }
    still = distance(drawn.image, drawn.sibling)
    return {
        "knots per axis": R,
        "distance, known edges": distance(brought(drawn, R).image, drawn.sibling) / still,
        "distance, descent": distance(monotone_warp(drawn.image, descended(drawn, R)), drawn.sibling) / still,
        "accuracy (%)": accuracy(0),
        "accuracy (%), moved edges": accuracy(4),
    }


def sized(objects: Objects) -> Sized:
    """All items with their siblings."""
    numbers = range(len(objects))
    place = torch.stack([objects.place(number) for number in numbers]).double()
    sides = torch.from_numpy(objects.selection.sides)
    factors = place[:, 0, 0] * objects.middle / sides  # that the items are rescaled by, about the middle of the canvas
    first = torch.from_numpy(objects.selection.positions) - SIDE / 2
    both = torch.stack([first, first + sides[:, None]], -1) * factors[:, None, None] + SIDE / 2
    edges = (both - 0.5) / (SIDE - 1)
    return Sized(
        torch.stack([objects[number][0] for number in numbers]),
        torch.stack([objects.sibling(number) for number in numbers]),
        edges,
        (edges - place[:, 1, :, None]) / place[:, 0, :, None],
        torch.as_tensor(objects.labels),
    )


def whole(items: Sized, count: int) -> Sized:
    """The first ones that the canvas shows all of."""
    is_whole = ((items.edges >= -0.01) & (items.edges <= 1.01)).all(-1).all(-1)
    return Sized(*(part[is_whole][:count] for part in items))


def brought(items: Sized, R: int | None, deviation: float = 0.0) -> Sized:
    """Under the warp of known edges, or of edges that are moved by some pixels."""
    if R is None:
        return items
    noise = torch.randn(items.wanted.shape, generator=torch.Generator().manual_seed(R), dtype=torch.float64)
    wanted = items.wanted + deviation / (SIDE - 1) * noise
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(*wanted.shape[:-1], 2)
    shown, read = (
        torch.cat([ends[..., :1], apart(inner), ends[..., 1:]], -1).flatten(0, 1).numpy()
        for inner in (wanted, items.edges)
    )
    knots = np.linspace(0, 1, R)
    places = np.stack([np.interp(knots, *axis) for axis in zip(shown, read, strict=True)])  # where each knot reads
    steps = torch.from_numpy(np.diff(places)).clamp_min(1e-4).log().unflatten(0, (-1, 2)) / SHARPNESS
    phi = WarpParams(steps[:, :1].float(), steps[:, 1:].float())
    return items._replace(image=monotone_warp(items.image, phi))


def apart(edges: Tensor) -> Tensor:
    """Edges within the canvas, the first before the last."""
    first = edges[..., :1].clamp(LEAST, 1 - 3 * LEAST)
    return torch.cat([first, torch.maximum(edges[..., 1:], first + LEAST).clamp_max(1 - LEAST)], -1)


def descended(items: Sized, R: int, steps: int = 300) -> WarpParams:
    """The separable warp that Adam finds from none, by the same distance."""
    parts = [torch.ones(len(items.image), 1, R - 1, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.Adam(parts, lr=0.02)
    for _ in range(steps):
        loss = pixel_loss(monotone_warp(items.image, WarpParams(*parts)), items.sibling, SIZES)
        optimizer.zero_grad()
        (len(items.image) * loss).backward()
        optimizer.step()
    return WarpParams(*(part.detach() for part in parts))


def distance(image: Tensor, other: Tensor) -> float:
    """Of all items, added up over sizes of the canvas of which each is half as large as the one before."""
    return pixel_loss(image, other, SIZES).item()


def learned(training: Sized, test: Sized, epochs: int, seed: int) -> float:
    """The accuracy of the plain network of two layers."""
    torch.manual_seed(seed)
    net = timm.create_model("stir2_standard", num_classes=int(training.label.max()) + 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    for epoch in range(epochs):
        order = torch.randperm(len(training.label), generator=torch.Generator().manual_seed(seed_of(seed, epoch)))
        for batch in order.split(16):
            loss = F.cross_entropy(net(training.image[batch]), training.label[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        answers = torch.cat([net(image).argmax(1) for image in test.image.split(100)])
    return (answers == test.label).float().mean().item()


if __name__ == "__main__":
    main()
