"""What DEC costs: time against arithmetic, published, light and residual DECs against bare backbones."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.measure import medians, peak_bytes
from benchmarks.published import NETWORK
from benchmarks.report import typed, write
from evaluation.cost import multiply_adds
from hubconf import spec_of
from layers.canonicalizer import Canonicalizer, evaluate_in_parts
from layers.grid import random_warp_params
from layers.spec import DEC, Condition, Site, Solver
from models.dec import with_dec
from models.light import LIGHT

# Backbone, published recipe, share of the batch (the larger ones would take minutes a step).
BACKBONES = (
    ("deit_tiny_patch16_224", "dem_deit", 1.0),
    ("swin_tiny_patch4_window7_224", "dem_swin", 0.5),
    ("vit_base_patch16_224", "dem_vit", 0.25),
    ("resnet50", "dem_swin", 0.5),
)
SIZE = 224
# Of the residual equilibrium: its backbone, and per condition how often the map is evaluated in all.
RESIDUAL_BACKBONE = "deit_tiny_patch16_224"
EVALUATIONS: dict[Condition, int] = {"image": 4, "early": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="python -m benchmarks.cost --batch 16 --repeats 5")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true", help="no compiled maps; compiling takes minutes per backbone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    # Every map is compiled for training and for inference; beyond the default limit some would run eagerly unnoticed.
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    rows = map_rows(images(arguments.batch, arguments.device), arguments.repeats)
    for name, recipe, share in BACKBONES:
        batch = arguments.batch if arguments.device == "cuda" else max(1, int(arguments.batch * share))
        rows += backbone_rows(name, recipe, images(batch, arguments.device), arguments.repeats, arguments.eager)
        print(rows[-1], flush=True)
    write("cost" if arguments.device == "cpu" else "cost_cuda", typed("cost"), rows, notes(arguments.device))


def notes(device: str) -> str:
    """What the columns mean."""
    kind = (
        "bfloat16 autocast, the backbones compiled; `graph` is the whole model in one replayed CUDA graph"
        if device == "cuda"
        else "float32"
    )
    return (
        f"Medians of interleaved calls, {kind}; the same batch for all models of a backbone. A training step is one "
        "forward and backward pass: per site five evaluations of the published map without gradient, then one with; of "
        "the light map at most four, then one. The residual map is evaluated four times in all where it reads the "
        "image, and twice where it reads early features of the backbone. "
        "`G` are billions of multiply-adds per image, counted while the model runs. `ratio` is the time, `G ratio` "
        "the multiply-adds, against the bare backbone's, and `overhead` the first over the second: 1 is a DEC that "
        "costs what its arithmetic costs. `MB` is the peak memory of a training step. `map` rows: one evaluation of "
        "the published ImageNet map, its warp included, against its two bare convolutions in their fastest layout."
    )


def images(batch: int, device: str) -> Tensor:
    """A batch of noise."""
    return torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(device)


@torch.no_grad()
def map_rows(image: Tensor, repeats: int) -> list[dict[str, Any]]:
    """One evaluation of the map, eager and compiled, against its two convolutions alone."""
    canonicalizer = Canonicalizer([6], **NETWORK).to(image.device)
    source = canonicalizer.prepared(image)
    update = canonicalizer.module_list[0]
    phi = random_warp_params(len(image), update.grid_size, 1.0, device=image.device)
    compiled = Canonicalizer([6], **NETWORK).to(image.device).module_list[0]
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
        {"model": f"map, {name}", "forward ms": seconds[name] * 1e3, "forward ratio": seconds[name] / bare}
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


def backbone_rows(name: str, recipe: str, image: Tensor, repeats: int, is_eager: bool) -> list[dict[str, Any]]:
    """Bare and adapted: forward pass and training step, in time, arithmetic and memory."""
    torch._dynamo.reset()  # a process may compile one function only so many times

    def adapted(spec: DEC) -> nn.Module:
        return with_dec(timm.create_model(name).to(image.device), spec)

    published = DEC(sites=spec_of(recipe).sites, **NETWORK)
    models = {
        "bare": timm.create_model(name).to(image.device),
        "published": adapted(published),
        "light": adapted(LIGHT),
    }
    if name == RESIDUAL_BACKBONE:
        models |= {f"residual, {condition}": adapted(residual(condition)) for condition in EVALUATIONS}
    if not is_eager:
        models |= {"published, maps compiled": adapted(published), "light, maps compiled": adapted(LIGHT)}
    forward_adds = {kind: multiply_adds(partial(infer, model, image)) for kind, model in models.items()}
    step_adds = {kind: multiply_adds(partial(train, model, image)) for kind, model in models.items()}
    for kind, model in models.items():
        if "compiled" in kind:
            for update in model.canonicalizer.module_list:
                update.compile()
        if image.is_cuda:
            getattr(model, "backbone", model).compile()
    device = image.device.type
    step = medians({kind: partial(train, model, image) for kind, model in models.items()}, repeats, device)
    peak = {kind: peak_bytes(partial(train, model, image), device) for kind, model in models.items()}
    calls = {kind: partial(infer, model, image) for kind, model in models.items()}
    if image.is_cuda:
        for kind, spec in (("published", published), ("light", LIGHT)):
            whole = torch.compile(adapted(spec).eval(), mode="reduce-overhead")
            calls[f"{kind}, graph"] = partial(infer, whole, image)
    forward = medians(calls, repeats, device)
    rows = []
    for kind in calls:
        count = kind.removesuffix(", graph")
        row: dict[str, Any] = {"model": f"{name}, {kind}", "batch": len(image)}
        row |= columns("forward", forward[kind], forward["bare"], forward_adds[count], forward_adds["bare"], image)
        if kind in step:
            row |= columns("step", step[kind], step["bare"], step_adds[kind], step_adds["bare"], image)
            row |= {"images/s": len(image) / step[kind], "step MB": peak[kind] / 1e6}
        rows.append(row)
    return rows


def residual(condition: Condition) -> DEC:
    """A residual DEC that evaluates its map as often as ``EVALUATIONS`` says, whether it has converged or not.

    Untrained maps are done at once, and would be evaluated no more.
    """
    before_the_last = EVALUATIONS[condition] - 1
    return DEC(
        sites=(Site("image", 8),),
        equilibrium="residual",
        condition=condition,
        solver=Solver(name="fixed_point", max_steps=before_the_last, early_stop=False),
        images_at_once=16,
    )


def columns(what: str, seconds: float, bare: float, adds: float, bare_adds: float, image: Tensor) -> dict[str, float]:
    """Time and arithmetic against the bare backbone's."""
    ratio, adds_ratio = seconds / bare, adds / bare_adds
    values = {"ms": seconds * 1e3, "G": adds / len(image) / 1e9, "ratio": ratio, "G ratio": adds_ratio}
    return {f"{what} {key}": value for key, value in values.items()} | {f"{what} overhead": ratio / adds_ratio}


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


if __name__ == "__main__":
    main()
