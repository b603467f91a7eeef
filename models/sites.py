"""Where a timm backbone can be adapted: the stages that ``feature_info`` names, and how each lays out its feature.

Nothing about a layout is guessed. One forward pass shows the shapes; where a shape can be read in several ways, and for
the first stage always, the place at which two impulses in the image arrive must agree with the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.frame import Size
from layers.layout import Layout

IMPULSES = ((0.25, 0.75), (0.625, 0.125))  # (y, x); no symmetry of the square maps one onto the other or itself
STEM_NAMES = ("stem", "act", "bn", "norm")


class Doorway(nn.Module):
    """What the hooks of an adapted backbone belong to."""


class StageInfo(NamedTuple):
    """A stage that can be adapted, and the feature that arrives there.

    Args:
        stage: its number, block of a plain transformer or stage of a hierarchical network.
        module: name of the module that a site there wraps.
        layout: of the arriving feature.
        size: its (H, W) for an image of the size that was probed.
        channels: its C.
    """

    stage: int
    module: str
    layout: Layout
    size: Size
    channels: int


@dataclass(frozen=True)
class Probe:
    """What one look at a backbone found.

    Args:
        image_size: (H, W) of the images it was probed with.
        image_channels: their C.
        stages: what can be adapted: no stage that gets a map with a scale axis, or a tuple of maps. Where the first one
            does, there is none, and sites are on the image alone.
        outputs: per stage the layout of what it returns, or why that cannot be restored.
        has_scales: whether there are further stages, which get maps with a scale axis.
    """

    image_size: Size
    image_channels: int
    stages: list[StageInfo]
    outputs: list[Layout | str]
    has_scales: bool = False


def sites_of(backbone: nn.Module, image_size: Size | int | None = None) -> list[StageInfo]:
    """List the stages of a timm backbone that can be adapted.

    Args:
        backbone: any timm model with ``feature_info``.
        image_size: (H, W) that the backbone takes, where neither it nor its ``pretrained_cfg`` tells.
    """
    return probe(backbone, image_size).stages


def probe(backbone: nn.Module, image_size: Size | int | None = None) -> Probe:
    """Look at a backbone once; a ``ValueError`` says why it cannot be adapted."""
    if any(isinstance(_owner(hook), Doorway) for part in backbone.modules() for hook in _hooks(part)):
        raise ValueError("this backbone is adapted already; build a new one, or use the DECModel that holds it")
    names = _stage_names(backbone)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size or _image_size(backbone)
    seen, channels_of_image = _watched_forward(backbone, names, size)
    stages: list[StageInfo] = []
    outputs: list[Layout | str] = []
    has_scales = False
    for name in names:
        if len(seen[name]) != 1:
            raise ValueError(
                f"{_kind(backbone)} calls '{name}' {len(seen[name])} times in a forward pass; a site needs exactly one"
            )
        arriving, leaving = seen[name][0]
        if _is_image(arriving, size) and not stages:
            continue  # the stem: it reads the image itself
        if _has_scales(arriving):
            has_scales = True
            break  # and so do the stages behind it
        readings = _readings(backbone, arriving, size)
        if len(readings) > 1 or not stages:
            readings = [reading for reading in readings if _is_in_place(*reading, arriving)]
        if len(readings) != 1:
            raise ValueError(
                f"{_kind(backbone)} cannot be adapted: the layout of what arrives at '{name}' could not be proven. It "
                f"is {_shape(arriving)} for {1 + len(IMPULSES)} images of {size[0]} x {size[1]}"
            )
        layout, at = readings[0]
        channels = arriving.shape[1] if layout.order == "NCHW" else arriving.shape[-1]
        stages.append(StageInfo(len(stages), name, layout, at, channels))
        outputs.append(_output_layout(backbone, layout, leaving, size))
    if not stages and not has_scales:
        raise ValueError(f"{_kind(backbone)} cannot be adapted: its feature_info names nothing but the stem")
    return Probe(size, channels_of_image, stages, outputs, has_scales)


def _stage_names(backbone: nn.Module) -> list[str]:
    info = getattr(backbone, "feature_info", None)
    if not info:
        raise ValueError(f"{_kind(backbone)} has no feature_info that names its stages; only backbones with one fit")
    names = [entry.get("module", "") for entry in info]
    first = names[0].split(".")
    if any(part.startswith("stem") for part in first) or first[-1].rstrip("0123456789") in STEM_NAMES:
        names = names[1:]
    modules = dict(backbone.named_modules())
    absent = sorted({name for name in names if name not in modules})
    if absent:
        raise ValueError(
            f"{_kind(backbone)} cannot be adapted: its feature_info names {absent}, which it does not have"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{_kind(backbone)} cannot be adapted: its feature_info names {twice} more than once")
    return names


def _image_size(backbone: nn.Module) -> Size:
    """The size that the backbone was built for, which the configuration of its weights does not tell."""
    for module in backbone.modules():
        size = getattr(module, "img_size", None)
        if size is not None:
            return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    config = getattr(backbone, "pretrained_cfg", None) or getattr(backbone, "default_cfg", None) or {}
    if "input_size" not in config:
        raise ValueError(f"{_kind(backbone)} does not tell which image size it takes; pass image_size=(H, W)")
    return config["input_size"][1], config["input_size"][2]


def _watched_forward(backbone: nn.Module, names: list[str], size: Size) -> tuple[dict[str, list[tuple[Any, Any]]], int]:
    """Per module what it got and gave, for noise and for the same noise with each impulse; and the image's channels."""
    seen: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}

    def watch(name: str):
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            seen[name].append((args[0] if args else None, output))

        return hook

    handles = [backbone.get_submodule(name).register_forward_hook(watch(name)) for name in names]
    # What a first convolution reads need not be the image: some stems move pixels into channels before it.
    convolution = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    problem: Exception | None = None
    try:
        told: int = getattr(backbone, "in_chans", 3)
        for channels in dict.fromkeys((told, 3, convolution.in_channels if convolution is not None else 3)):
            try:
                with torch.no_grad(), evaluating(backbone):
                    backbone(_impulses(backbone, channels, size))
                return seen, channels
            except (RuntimeError, AssertionError, ValueError, IndexError) as error:
                problem = problem or error
                for calls in seen.values():
                    calls.clear()
    finally:
        for handle in handles:
            handle.remove()
    raise ValueError(
        f"{_kind(backbone)} does not run on images of {size[0]} x {size[1]} ({problem}); pass the image_size it takes"
    ) from problem


@contextmanager
def evaluating(backbone: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every module's own mode again."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _impulses(backbone: nn.Module, channels: int, size: Size) -> Tensor:
    H, W = size
    weight = next(backbone.parameters())
    noise = torch.rand(1, channels, H, W, generator=torch.Generator().manual_seed(0))
    image = noise.repeat(1 + len(IMPULSES), 1, 1, 1)
    side = max(2, min(H, W) // 16)
    for index, (y, x) in enumerate(IMPULSES, start=1):
        top, left = int(y * H) - side // 2, int(x * W) - side // 2
        image[index, :, top : top + side, left : left + side] += 4
    return image.to(device=weight.device, dtype=weight.dtype)


def _readings(backbone: nn.Module, feature: Any, size: Size) -> list[tuple[Layout, Size]]:
    """Every layout that the shape of a feature admits, with its (H, W)."""
    if not isinstance(feature, Tensor) or feature.shape[0] != 1 + len(IMPULSES):
        return []
    if feature.ndim == 4:
        maps = [(Layout("NCHW"), feature.shape[2:]), (Layout("NHWC"), feature.shape[1:3])]
        return [(layout, (at[0], at[1])) for layout, at in maps if _has_aspect(at, size)]
    if feature.ndim != 3:
        return []
    readings = []
    for at in _token_grids(backbone, size):
        prefix = feature.shape[1] - at[0] * at[1]
        if prefix in (0, getattr(backbone, "num_prefix_tokens", 0)):
            readings.append((Layout("tokens", prefix), at))
    return readings


def _token_grids(backbone: nn.Module, size: Size) -> list[Size]:
    """The grids that timm describes: that of the patch embedding, and the image over each level's reduction."""
    described = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    grids = {(int(described[0]), int(described[1]))} if described else set()
    for entry in backbone.feature_info:  # type: ignore[union-attr]
        reduction = entry.get("reduction")
        if reduction:
            grids.add((size[0] // reduction, size[1] // reduction))
            grids.add((-(-size[0] // reduction), -(-size[1] // reduction)))
    return sorted(grids)


def _has_aspect(at: Any, size: Size) -> bool:
    """Whether a grid has the image's aspect ratio, up to the rounding of one row or column."""
    return abs(at[0] * size[1] - at[1] * size[0]) < max(size) and at[0] <= size[0] and at[1] <= size[1]


def _is_in_place(layout: Layout, at: Size, feature: Tensor) -> bool:
    """Whether every impulse changes the feature most where it lies in the image."""
    grid = layout.to_grid(feature, at).float()
    for index, place in enumerate(IMPULSES, start=1):
        change = (grid[index] - grid[0]).abs().sum(0)
        peak = divmod(int(change.argmax()), at[1])
        for found, share, length in zip(peak, place, at, strict=True):
            if abs(found + 0.5 - share * length) > max(1.0, 0.1 * length) + 0.5:
                return False
        if not change.max() > 0:
            return False
    return True


def _output_layout(backbone: nn.Module, layout: Layout, output: Any, size: Size) -> Layout | str:
    readings = _readings(backbone, output, size)
    if len(readings) > 1:  # a stage that gives what it could have got keeps its layout
        readings = [reading for reading in readings if reading[0] == layout]
    return readings[0][0] if len(readings) == 1 else f"it returns {_shape(output)}, whose layout could not be proven"


def _hooks(module: nn.Module) -> list[Callable]:
    return [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]


def _owner(hook: Callable) -> Any:
    return getattr(hook, "__self__", None)


def _is_image(feature: Any, size: Size) -> bool:
    return isinstance(feature, Tensor) and feature.ndim == 4 and feature.shape[1] <= 4 and feature.shape[2:] == size


def _has_scales(feature: Any) -> bool:
    """Whether this is a lifted map (B, C, S, H, W), or the same as a tuple of maps of unequal size."""
    is_tuple = isinstance(feature, tuple) and len(feature) > 1
    return (is_tuple and all(isinstance(part, Tensor) and part.ndim == 4 for part in feature)) or (
        isinstance(feature, Tensor) and feature.ndim == 5
    )


def _kind(backbone: nn.Module) -> str:
    return type(backbone).__name__


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {', '.join(_shape(part) for part in value)}"
    return type(value).__name__
