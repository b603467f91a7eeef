"""What DEC costs: one evaluation of the published map against its bare convolutions, adapted against bare backbones."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.report import medians, write
from hubconf import PUBLISHED_NETWORK, PUBLISHED_SITES
from layers.canonicalizer import Canonicalizer, evaluate_in_parts
from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from models.dec import DECModel, with_dec

BACKBONES = {
    "deit_tiny_patch16_224": "dem_deit",
    "swin_tiny_patch4_window7_224": "dem_swin",
    "resnet50": "dem_swin",
}
SIZE = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.cost --batch 16 --repeats 7")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    image = torch.rand(arguments.batch, 3, SIZE, SIZE, device=arguments.device)
    rows = map_rows(image, arguments.repeats)
    for name, recipe in BACKBONES.items():
        rows += backbone_rows(name, recipe, image, arguments.repeats)
    command = f"python -m benchmarks.cost --device {arguments.device} --batch {arguments.batch}"
    command += f" --repeats {arguments.repeats} --threads {arguments.threads}"
    name = "cost" if arguments.device == "cpu" else f"cost_{arguments.device}"
    write(name, command, rows, notes())


def notes() -> str:
    """What the columns mean."""
    return (
        "Medians of interleaved calls, milliseconds, float32 on the CPU, bfloat16 autocast on CUDA. `map`: one "
        "evaluation of the published ImageNet map (3, 64, 128 channels, kernels 5 and 3, pools 4 and 2), its warp "
        "included, and its ratio to the two bare convolutions in their fastest memory layout. Backbones: recipe "
        "`dem_deit` or `dem_swin`, two sites, six evaluations each; the same batch for bare and adapted. Of the "
        "adapted forward pass, `maps` is the evaluations, `warps` the sites' warps of image and feature, `solver` "
        "the search around maps that cost nothing."
    )


@torch.no_grad()
def map_rows(image: Tensor, repeats: int) -> list[dict[str, Any]]:
    """One evaluation of the map, eager and compiled, against its two convolutions alone."""
    canonicalizer = published(1).to(image.device)
    source = canonicalizer.prepared(image)
    update = canonicalizer.module_list[0]
    phi = random_warp_params(len(image), update.grid_size, 1.0, device=image.device)
    compiled = published(1).to(image.device).module_list[0]
    compiled.load_state_dict(update.state_dict())
    compiled.compile()
    calls = {
        "eager": partial(evaluate_in_parts, update, source, phi),
        "compiled": partial(evaluate_in_parts, compiled, source, phi),
    }
    for layout in (torch.contiguous_format, torch.channels_last):
        calls[f"bare {layout}"] = bare_convolutions(image, layout)
    with autocast(image):
        seconds = medians(calls, repeats, image.device.type)
    bare = min(value for name, value in seconds.items() if name.startswith("bare"))
    return [
        {"what": f"map, {name}", "forward ms": seconds[name] * 1e3, "forward ratio": seconds[name] / bare}
        for name in ("eager", "compiled")
    ]


def bare_convolutions(image: Tensor, layout: torch.memory_format) -> Callable[[], None]:
    """3 to 64 channels with kernel 5 at full size, 64 to 128 with kernel 3 at a quarter of it."""
    first = nn.Conv2d(3, 64, 5, padding=2).to(image.device, memory_format=layout)
    second = nn.Conv2d(64, 128, 3, padding=1).to(image.device, memory_format=layout)
    whole = image.to(memory_format=layout)
    pooled = torch.rand(len(image), 64, SIZE // 4, SIZE // 4, device=image.device).to(memory_format=layout)

    def run() -> None:
        first(whole)
        second(pooled)

    return run


def backbone_rows(name: str, recipe: str, image: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Bare and adapted: forward pass, training step, and where the adapted forward pass spends its time."""
    torch._dynamo.reset()  # a process may compile one function only so many times
    bare = timm.create_model(name, pretrained=False).to(image.device)
    adapted = with_dec(
        timm.create_model(name, pretrained=False).to(image.device), PUBLISHED_SITES[recipe], **PUBLISHED_NETWORK
    )
    compiled = with_dec(
        timm.create_model(name, pretrained=False).to(image.device), PUBLISHED_SITES[recipe], **PUBLISHED_NETWORK
    )
    for update in compiled.canonicalizer.module_list:
        update.compile()
    models: dict[str, nn.Module] = {"bare": bare, "adapted": adapted, "adapted, maps compiled": compiled}
    forward = medians({k: partial(infer, model, image) for k, model in models.items()}, repeats, image.device.type)
    step = medians(
        {k: partial(train, model, image) for k, model in models.items()}, max(3, repeats // 2), image.device.type
    )
    rows = []
    for kind in models:
        row: dict[str, Any] = {"what": f"{name}, {kind}", "forward ms": forward[kind] * 1e3}
        row |= {"forward ratio": forward[kind] / forward["bare"], "step ms": step[kind] * 1e3}
        row |= {"step ratio": step[kind] / step["bare"]}
        if kind == "adapted":
            row |= split(adapted, image, repeats)
        rows.append(row)
    return rows


@torch.no_grad()
def split(model: DECModel, image: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds of the maps' evaluations, of the sites' warps, and of the solver around the maps."""
    model.eval()
    canonicalizer = model.canonicalizer
    source = canonicalizer.prepared(image)
    sizes = [(3, SIZE, SIZE), (model.backbone.feature_info[0]["num_chs"], *model.sites[1].size)]
    calls: dict[str, Callable[[], Any]] = {}
    for site, update in enumerate(canonicalizer.module_list):
        phi = random_warp_params(len(image), update.grid_size, 0.5, device=image.device)
        # Around a map that costs nothing, the solver's own time is left.
        calls[f"solver {site}"] = partial(canonicalizer.solver, moved, phi)
        calls[f"map {site}"] = partial(evaluate_in_parts, update, source, phi)
        calls[f"warp {site}"] = partial(monotone_warp, torch.rand(len(image), *sizes[site], device=image.device), phi)
    with autocast(image):
        seconds = medians(calls, repeats, image.device.type)
    total = {
        kind: 1e3 * sum(value for name, value in seconds.items() if name.startswith(kind))
        for kind in ("map", "warp", "solver")
    }
    return {"maps ms": 6 * total["map"], "warps ms": total["warp"], "solver ms": total["solver"]}


def moved(phi: WarpParams) -> WarpParams:
    """A map of no cost and without a fixed point."""
    return WarpParams(phi.x + 1, phi.y + 1)


def infer(model: nn.Module, image: Tensor) -> None:
    """One forward pass without gradient."""
    model.eval()
    with torch.no_grad(), autocast(image):
        model(image)


def train(model: nn.Module, image: Tensor) -> None:
    """One forward and backward pass."""
    model.train()
    with autocast(image):
        loss = model(image).float().square().mean()
    loss.backward()
    model.zero_grad(set_to_none=True)


def autocast(image: Tensor) -> torch.autocast:
    """bfloat16 on CUDA, nothing on the CPU."""
    return torch.autocast(image.device.type, torch.bfloat16, enabled=image.device.type == "cuda")


def published(num_sites: int) -> Canonicalizer:
    """The published ImageNet canonicalizer on 6 x 6 knots."""
    return Canonicalizer([6] * num_sites, **PUBLISHED_NETWORK)


if __name__ == "__main__":
    main()
