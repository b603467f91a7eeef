"""What the local-scale test costs beyond the model's own calls: composing, converting and comparing the images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.inputs import checked, mnist_test
from benchmarks.measure import medians
from benchmarks.report import write
from dataloader.digits.items import ScaledDigits
from dataloader.digits.single import embedded_digits
from evaluation.metrics import local_scale_error
from evaluation.predictions import undisturbed
from evaluation.scales import draw_scales, model_input

MODELS = {"deit_tiny_patch16_224": 224, "resnet10t": None, "test_vit": 160}  # the size that images are resized to


class Resizing(nn.Module):
    """A model that takes images of any size."""

    def __init__(self, model: nn.Module, size: int | None):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, image: Tensor) -> Tensor:
        if self.size is not None:
            image = F.interpolate(image, size=(self.size, self.size), mode="bilinear", antialias=True)
        return self.model(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.evaluation --root data")
    parser.add_argument("--root", help="folder of MNIST's files; scikit-learn's digits if left out")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with checked():
        digits = ScaledDigits(*(mnist_test(arguments.root) if arguments.root else embedded_digits(False)))
    images = same_images(digits, arguments.items, arguments.draws)
    rows: list[dict[str, Any]] = []
    for name, size in MODELS.items():
        model = Resizing(timm.create_model(name, pretrained=False, num_classes=digits.num_classes), size)
        calls: dict[str, Callable[[], Any]] = {
            "alone": partial(run_alone, model, images),
            "metric": partial(local_scale_error, model, digits, items=arguments.items, draws=arguments.draws),
        }
        seconds = medians(calls, arguments.repeats)
        rows.append(
            {
                "model": name,
                "images": len(images),
                "model alone s": seconds["alone"],
                "local_scale_error s": seconds["metric"],
                "ratio": seconds["metric"] / seconds["alone"],
            }
        )
    command = f"python -m benchmarks.evaluation{' --root DIR' if arguments.root else ''}"
    command += f" --items {arguments.items} --draws {arguments.draws} --repeats {arguments.repeats}"
    command += f" --threads {arguments.threads}"
    write("evaluation", command, rows, notes(bool(arguments.root)))


def notes(is_mnist: bool) -> str:
    """What the columns mean."""
    source = "MNIST's test digits" if is_mnist else "scikit-learn's digits"
    return (
        f"Medians of interleaved calls, seconds. `model alone`: the model's calls for the images of the test, composed "
        f"and converted beforehand, in batches of 64. `local_scale_error`: the whole metric with its floor. Images of "
        f"210 x 210 pixels from {source}, resized by the model where it has a fixed size."
    )


def same_images(digits: ScaledDigits, items: int, draws: int) -> Tensor:
    """The model's input for the images of the test, in any order."""
    pixels = []
    for index in range(items):
        pixels.append(digits.item(index, [1.0] * digits.n_digits)[0])
        for draw in range(draws):
            scales = draw_scales(0, index, draw, digits.scales)
            pixels += [digits.item(index, scales)[0], digits.restored_item(index, scales)[0]]
    return torch.cat([model_input(digits, part[None], "cpu") for part in pixels])


def run_alone(model: nn.Module, images: Tensor) -> None:
    """All images through the model, in batches of 64."""
    with undisturbed(model):
        for batch in images.split(64):
            model(batch)


if __name__ == "__main__":
    main()
