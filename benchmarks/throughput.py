"""Images per second of loading and augmenting, and of training a backbone bare and with its DEC, in one run.

``python -m benchmarks.throughput --data_dir DIR [--config dem_deit] [--device cuda] [key=value ...]``
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.inputs import checked
from benchmarks.measure import medians
from benchmarks.report import typed, write
from config.load import load_recipes
from dataloader.build import build_splits, count_classes
from dataloader.pictures.build import check_folders
from dataloader.pictures.plan import workers_of
from layers.spec import Plain
from models.build import build_model, input_description

NOTES = (
    "Recipe {recipe}, batches of {batch}. `loading` is decoding, cropping and augmenting by {workers} worker processes "
    "that are running already; `training` is a forward and a backward pass on a batch that lies on the device, without "
    "the optimizer and without a second view."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--config", default="dem_deit", help="a recipe of adapter_config.yaml with a DEC (dem_deit)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, default=20, help="that are loaded per repeat (20)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    settings = [*options.settings, f"data.root={options.data_dir}"]
    with checked():
        ((name, loaded),) = load_recipes("adapter_config.yaml", options.config, settings, "pictures")
        config = loaded.resolved()
        check_folders(config, trains=True)
        classes = count_classes(config)
        description = input_description(config.model, build_model(config, classes))
        loader = build_splits(config, 0, description=description).train
    assert loader is not None
    batches = endless(loader)
    image, label, *_ = next(batches)
    image, label = image.to(options.device), label.to(options.device)

    functions: dict[str, Callable[[], Any]] = {"loading": lambda: list(islice(batches, options.batches))}
    bare = replace(config, method=Plain(), legacy_double_normalization=False)
    for what, part in {"training, bare": bare, "training, with DEC": config}.items():
        model = build_model(part, classes).to(options.device).train()
        functions[what] = trained(model, image, label, config.train.amp)
    seconds = medians(functions, options.repeats, options.device)
    images = {what: len(image) * (options.batches if what == "loading" else 1) for what in seconds}
    rows = [{"what": what, "images per second": images[what] / time} for what, time in seconds.items()]
    notes = NOTES.format(recipe=name, batch=len(image), workers=workers_of(config.data))
    write("throughput", typed("throughput"), rows, notes)


def endless(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of one epoch after the other."""
    epoch = 0
    order: Any = loader.batch_sampler
    while True:
        order.seek(epoch)
        yield from loader
        epoch += 1


def trained(model: nn.Module, image: Tensor, label: Tensor, amp: str) -> Callable[[], None]:
    """A forward and a backward pass."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp, torch.float32)

    def autocast() -> AbstractContextManager:
        return torch.autocast(image.device.type, dtype=dtype, enabled=amp != "off")

    def step() -> None:
        with autocast():
            loss = F.cross_entropy(model(image).float(), label)
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
