"""What a decoder costs beside its backbone, and what a training step on pictures of 512 x 512 holds in memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import medians, peak_bytes
from benchmarks.report import typed, write
from evaluation.cost import multiply_adds
from layers.spec import DEC, Site
from models.dec import with_dec
from models.dense import with_decoder

BACKBONES = ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet50")
DECODERS = (None, "linear", "fusion")
CLASSES = 21
LARGE, LARGE_BATCH = 512, 2
NOTES = (
    "`bare` is the backbone with a classifier of as many classes, and what ratios are against. `G` are billions of "
    "multiply-adds per image, `ms` medians of interleaved calls. `step MB` is the peak memory of a step, without "
    f"the optimizer's. With DEC: a residual one on the input, undone on the answer. `{LARGE} MB` is the peak of a step "
    f"on {LARGE_BATCH} pictures of {LARGE} x {LARGE}."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.decoder --repeats 5")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [row for name in BACKBONES for row in rows_of(name, arguments.batch, arguments.repeats)]
    write("decoder", typed("decoder"), rows, NOTES)


def rows_of(name: str, batch: int, repeats: int) -> list[dict[str, Any]]:
    """The backbone alone, with each decoder, and with a DEC in front of the larger one."""
    image = torch.rand(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    large = torch.rand(LARGE_BATCH, 3, LARGE, LARGE, generator=torch.Generator().manual_seed(0))
    makers: dict[str, Callable[[int], nn.Module]] = {"bare": partial(made, name, None)}
    makers |= {decoder: partial(made, name, decoder) for decoder in DECODERS if decoder}
    makers["fusion, with DEC"] = partial(made, name, "fusion", has_dec=True)
    models = {label: maker(224) for label, maker in makers.items()}
    seconds = medians({label: partial(answered, model, image) for label, model in models.items()}, repeats)
    counts = {label: multiply_adds(partial(answered, model, image[:1])) for label, model in models.items()}
    return [
        {
            "model": f"{name}, {label}",
            "batch": batch,
            "forward ms": 1000 * seconds[label],
            "forward ratio": seconds[label] / seconds["bare"],
            "G": counts[label] / 1e9,
            "G ratio": counts[label] / counts["bare"],
            "parameters M": sum(value.numel() for value in model.parameters()) / 1e6,
            "step MB": peak_bytes(partial(step, model, image)) / 2**20,
            f"{LARGE} MB": peak_bytes(partial(step, makers[label](LARGE), large)) / 2**20,
        }
        for label, model in models.items()
    ]


def made(name: str, decoder: Any, size: int, has_dec: bool = False) -> nn.Module:
    """A network with random weights, for pictures of this side."""
    torch.manual_seed(0)
    sized = {} if name.startswith("resnet") else {"img_size": size}
    backbone = timm.create_model(name, num_classes=CLASSES, **sized)
    model = backbone if decoder is None else with_decoder(backbone, CLASSES, name=decoder)
    if has_dec:
        site = Site("input", 8, restore=True, restore_at="output")
        model = with_dec(model, DEC(equilibrium="residual", sites=(site,)), image_size=size)
    return model.train()


def answered(model: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(image)


def step(model: nn.Module, image: Tensor) -> None:
    """Forward and backward, to any label."""
    logits = model.train()(image)
    F.cross_entropy(logits, torch.zeros((len(image), *logits.shape[2:]), dtype=torch.int64)).backward()
    model.zero_grad()


if __name__ == "__main__":
    main()
