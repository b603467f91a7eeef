"""How long large kernels take directly and by way of the Fourier transform: a training step on a batch, on a CPU."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import medians
from benchmarks.report import typed, write
from layers.scale import convolution

CASES = [  # side of the maps, of the kernels, padding, channels in and out, groups
    *((58, k, 0, 16, 32, 1) for k in (7, 9, 11, 15, 25)),
    (64, 15, 0, 1, 64, 1),  # SESN's and DISCO's first layer in stir2, and their second one
    (50, 15, 0, 64, 128, 4),
    (28, 11, 0, 1, 32, 1),
    (14, 11, 0, 64, 128, 1),
    *((14, k, k // 2, 252, 380, 4) for k in (7, 11, 15)),  # the third layer of mnist3, on maps of 56 and 28 pixels
    *((7, k, k // 2, 252, 380, 4) for k in (9, 13)),
]
NOTES = (
    "Milliseconds of forward and backward pass, medians of interleaved calls. `agreement` is the largest relative "
    "difference of the answers and of both gradients, in single precision. Layers take the transform for "
    f"{convolution.BATCH} images or more, from `needed` direct products per pixel of a padded map on."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.convolution --repeats 5")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write(
        "convolution", typed("convolution"), [row(arguments.batch, arguments.repeats, *case) for case in CASES], NOTES
    )


def row(batch: int, repeats: int, side: int, k: int, padding: int, into: int, out: int, groups: int) -> dict[str, Any]:
    """Both ways on one layer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, into, side, side, generator=generator, requires_grad=into > 1)
    kernels = torch.randn(out, into // groups, k, k, generator=generator, requires_grad=True)
    ways = {
        "direct": partial(F.conv2d, padding=padding, groups=groups),
        "fourier": partial(convolution.by_fourier, padding=padding, groups=groups),
    }
    steps = {name: partial(step, way, x, kernels) for name, way in ways.items()}
    seconds = medians(steps, repeats)
    found = {name: once() for name, once in steps.items()}
    pairs = zip(found["fourier"], found["direct"], strict=True)
    padded = side + 2 * padding
    return {
        "maps": side,
        "kernels": k,
        "padding": padding,
        "channels": f"{into} to {out}",
        "groups": groups,
        "products per pixel": k**2 * (padded - k + 1) ** 2 / padded**2,
        "needed": convolution.least_saved(kernels, groups),
        "direct ms": 1000 * seconds["direct"],
        "fourier ms": 1000 * seconds["fourier"],
        "ratio": seconds["fourier"] / seconds["direct"],
        "agreement": f"{max(float((one - other).norm() / other.norm()) for one, other in pairs):.0e}",
    }


def step(way: partial[Tensor], x: Tensor, kernels: Tensor) -> list[Tensor]:
    """The answer, and the gradients of its square."""
    answer = way(x, kernels)
    inputs = [one for one in (x, kernels) if one.requires_grad]
    return [answer.detach(), *torch.autograd.grad(answer.square().sum(), inputs)]


if __name__ == "__main__":
    main()
