"""The gallery of scale-equivariant systems: what each costs, what is exactly true of it, and what its kernels are."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)
from benchmarks.cost import infer, train
from benchmarks.measure import medians
from benchmarks.report import RESULTS, typed, write
from benchmarks.scale_identities import IDENTITIES, error_of
from benchmarks.scale_kernels import draw
from evaluation.cost import multiply_adds
from layers.scale import disco
from layers.scale.correlation import ScaleCorrelation
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.siconv import SiConv2d
from layers.scale.steerable import LiftingConv2d, ScaleConv2d
from layers.scale.xu import XuConv2d
from models.scale_zoo.stir2 import COARSE, DISCO, FACTORS, HERMITE, KERNEL, LEVELS, SIDE, SIDES, SYSTEMS, WIDTHS

BASE = "standard"
FULL = ("pixel_pool", "slice_pool", "energy_pool", "energy_abs_pool", "conv3d", "SiConv2d, all sides")
MAP = SIDE - KERNEL + 1  # side of what the second layer of stir2 sees
BASIS = "disco basis"
NOTES = (
    "The two-layer network `stir2` with every system, at random weights: one image of 64 x 64, one thread, float32. "
    "`M` are millions of multiply-adds of that image, counted while the model runs: convolutions, deformable ones too, "
    "and matrix products, with those that kernels are made by. Not counted are resampling (of images, and between the "
    "pixels of deformable convolutions), pools, and the polynomials of learned widths. `forward` and `step` (one "
    "forward and backward pass) are times relative to `standard`, called in turns with it; medians, so that the first "
    "row shows how sure they are. `error` is the largest difference between the two sides of the identity, relative to "
    "the largest value, in float64 at random weights and for small images: of the system's own layers, or of one of "
    "the same kind where the words say so."
)
LAYER_NOTES = (
    "Layers against the plain convolutions that their arithmetic consists of, as the second layer of `stir2` has them: "
    f"{WIDTHS[0]} to {WIDTHS[1]} channels on {MAP} x {MAP}, one image. Ratios of times, with gradients of weights and "
    "input; called in turns, medians. What is above 1 is the making of kernels, and what is done to maps beside the "
    "convolutions."
)
BASIS_NOTES = "The functions of DISCO in closed form, 7 x 7 of 15 x 15 at four scales, and from where they are kept."


class Pair(NamedTuple):
    """A layer and the bare convolutions that it consists of, each with what it is given."""

    layer: Callable[[Any], Any]
    x: Any
    bare: Callable[[Any], Any]
    bare_x: Any


def main(words: Sequence[str] | None = None) -> None:
    known = [*SYSTEMS, *LAYERS, BASIS]
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.scale_zoo --quick --repeats 3")
    add = parser.add_argument
    add("--only", nargs="+", default=known, choices=known, metavar="NAME", help="systems or layers, by their names")
    add("--repeats", type=int, default=5, help="pairs of calls that a ratio is a median of (5)")
    add("--quick", action="store_true", help="without SiConv at all sides, which takes seconds a call")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    asked = [name for name in arguments.only if not (arguments.quick and name in FULL)]
    rows = []
    for name in (name for name in SYSTEMS if name in asked):
        rows.append(system_row(name, arguments.repeats))
        print(rows[-1], flush=True)
    layers = [layer_row(name, arguments.repeats) for name in LAYERS if name in asked]
    basis = [basis_row(arguments.repeats)] if BASIS in asked else []
    write("scale_zoo", typed("scale_zoo"), rows, NOTES, layers=(LAYER_NOTES, layers), basis=(BASIS_NOTES, basis))
    draw(RESULTS / "scale_zoo.png")


def system_row(name: str, repeats: int) -> dict[str, Any]:
    """Size, arithmetic, times and identity of one system."""
    image = torch.rand(1, 1, SIDE, SIDE)
    model, base = (timm.create_model(f"stir2_{one}") for one in (name, BASE))
    ratios = {
        what: ratio(partial(call, model, image), partial(call, base, image), repeats)
        for what, call in (("forward", infer), ("step", train))
    }
    return {
        "system": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "M": multiply_adds(partial(infer, model, image)) / 1e6,
        **ratios,
        "what is exactly true": IDENTITIES[name].words,
        "error": error_of(name),
    }


def layer_row(name: str, repeats: int) -> dict[str, Any]:
    """Times of one layer against its bare convolutions."""
    pair = LAYERS[name]()
    times = {
        what: ratio(partial(call, pair.layer, pair.x), partial(call, pair.bare, pair.bare_x), repeats)
        for what, call in (("forward", forward), ("step", step))
    }
    row = {"layer": name, **times}
    print(row, flush=True)
    return row


def basis_row(repeats: int) -> dict[str, Any]:
    """Seconds to solve for DISCO's functions, and milliseconds to read them."""
    sizes = (DISCO.kernel_size, DISCO.family.effective_size, DISCO.scales)
    start = time.perf_counter()
    disco.solved_versions(*sizes)
    seconds = time.perf_counter() - start

    def read() -> None:
        disco._impulse_versions.cache_clear()
        disco.impulse_versions(*sizes)

    return {
        "basis": "DISCO",
        "seconds to solve": seconds,
        "ms from disk": medians({"read": read}, repeats)["read"] * 1e3,
    }


def ratio(function: Callable[[], Any], base: Callable[[], Any], repeats: int) -> float:
    """Of median times, called in turns."""
    seconds = medians({"function": function, "base": base}, repeats)
    return seconds["function"] / seconds["base"]


@torch.no_grad()
def forward(function: Callable[[Any], Any], x: Any) -> None:
    function(x)


def step(function: Callable[[Any], Any], x: Any) -> None:
    """One forward and backward pass, to the input too."""
    parts = [part.detach().requires_grad_() for part in (x if isinstance(x, list) else [x])]
    found = function(parts if isinstance(x, list) else parts[0])
    sum(part.square().mean() for part in (found if isinstance(found, list) else [found])).backward()  # type: ignore[union-attr]


class Each(nn.ModuleList):
    """Several convolutions: all of one map, or each of its own."""

    def forward(self, x: Tensor | list[Tensor]) -> list[Tensor]:
        given = x if isinstance(x, list) else [x] * len(self)
        return [conv(part) for conv, part in zip(self, given, strict=True)]


def plain_map() -> Tensor:
    return torch.rand(1, WIDTHS[0], MAP, MAP)


def lifting() -> Pair:
    layer, x = LiftingConv2d(*WIDTHS, HERMITE), plain_map()
    return Pair(layer, x, nn.Conv2d(WIDTHS[0], WIDTHS[1] * layer.levels, HERMITE.kernel_size), x)


def scale_to_scale(basis: Any) -> Pair:
    layer = ScaleConv2d(*WIDTHS, basis)
    S = layer.levels
    bare = nn.Conv2d(WIDTHS[0] * S, WIDTHS[1] * S, HERMITE.kernel_size, groups=S)
    x = torch.rand(1, WIDTHS[0], S, MAP, MAP)
    return Pair(layer, x, bare, x.transpose(1, 2).flatten(1, 2).contiguous())


def siconv(sides: tuple[int, ...]) -> Pair:
    layer = SiConv2d(*WIDTHS, KERNEL, sides=sides, interpolation="bicubic")
    x = plain_map()
    return Pair(layer, x, Each(nn.Conv2d(*WIDTHS, side) for side in sides), x)


def correlation(interaction: int) -> Pair:
    layer, x = ScaleCorrelation(*WIDTHS, KERNEL, interaction=interaction), torch.rand(1, WIDTHS[0], LEVELS, MAP, MAP)
    maps, convs = [], []
    for level in range(LEVELS):
        channels, spacing = WIDTHS[0] * min(interaction, LEVELS - level), 2**level
        maps.append(torch.rand(1, channels, MAP, MAP))
        convs.append(nn.Conv2d(channels, WIDTHS[1], KERNEL, padding=spacing * (KERNEL // 2), dilation=spacing))
    return Pair(layer, x, Each(convs), maps)


def kanazawa() -> Pair:
    layer = KanazawaConv2d(*WIDTHS, KERNEL, FACTORS)
    return Pair(layer, plain_map(), nn.Conv2d(*WIDTHS, KERNEL), torch.rand(len(FACTORS), WIDTHS[0], MAP, MAP))


def xu(*, lifted: bool) -> Pair:
    n, frame = len(SIDES), max(SIDES)
    shape: Any = {"padding": frame // 2, "bias": False}
    layer = XuConv2d(*WIDTHS, KERNEL, sides=SIDES, lifted=lifted, **shape)
    if not lifted:
        x = plain_map()
        return Pair(layer, x, nn.Conv2d(WIDTHS[0], n * WIDTHS[1], frame, **shape), x)
    x = torch.rand(1, WIDTHS[0], n, MAP, MAP)
    bare = nn.Conv2d(n * WIDTHS[0], n * WIDTHS[1], frame, groups=n, **shape)
    return Pair(layer, x, bare, x.transpose(1, 2).flatten(1, 2).contiguous())


LAYERS: dict[str, Callable[[], Pair]] = {
    "LiftingConv2d": lifting,
    "ScaleConv2d, Hermite": partial(scale_to_scale, HERMITE),
    "ScaleConv2d, DISCO": partial(scale_to_scale, DISCO),
    "SiConv2d, a few sides": partial(siconv, COARSE),
    "SiConv2d, all sides": partial(siconv, tuple(range(KERNEL, MAP + 1, 2))),
    "ScaleCorrelation": partial(correlation, 1),
    "ScaleCorrelation, interaction 2": partial(correlation, 2),
    "XuConv2d": partial(xu, lifted=False),
    "XuConv2d, lifted": partial(xu, lifted=True),
    "KanazawaConv2d": kanazawa,
}


if __name__ == "__main__":
    main()
