"""What the networks of the zoo have in common: stages with scales, and what timm asks of a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.scale.halving import matched
from layers.scale.pool import ScalePool
from layers.scale.pyramid import pyramid
from models.scale_zoo.geometry import Geometry, behind
from models.scale_zoo.system import System


class Stage(nn.Module):
    """A layer of a system, perhaps a pool over its scales, and what a network has after it.

    Args:
        conv: the layer.
        pool: leaves one scale, if it does so here.
        after: ReLU, pool over space, norm, as the network has them.
    """

    def __init__(self, conv: nn.Module, pool: nn.Module | None, *after: nn.Module):
        super().__init__()
        self.conv = conv
        self.pool = nn.Identity() if pool is None else pool
        self.after = nn.Sequential(*after)

    def forward(self, x: Any) -> Any:
        return self.after(self.pool(self.conv(x)))


class FeatureMap(NamedTuple):
    """What a stage made of images, and where it lies in them.

    Args:
        value: (B, C, H, W), or (B, C, S, H, W) where there is a scale axis.
        is_lifted: whether there is one. The axis of turns that C4 and C8 have at its place is none.
        stride: pixels of the image from one place of the map to the next.
        start: the pixel of the image, along both axes, that the map's first place is the middle of.
        margins: per scale, how many places at each border have seen zeros from beyond the image. One number for all
            scales of a map without a scale axis.
    """

    value: Tensor
    is_lifted: bool
    stride: float
    start: float
    margins: tuple[int, ...]

    def valid(self, scale: int = 0) -> tuple[slice, slice]:
        """The rows and the columns that have seen the image alone, at a scale."""
        margin = self.margins[scale if len(self.margins) > 1 else 0]
        H, W = self.value.shape[-2:]
        return slice(margin, max(H - margin, margin)), slice(margin, max(W - margin, margin))


class ScaleIndex(NamedTuple):
    """Which scale answered best.

    Args:
        level: (B, C), or (B, C, H, W) where each place has its own; counted from 0.
        scales: what the levels stand for, such as sides of kernels; they grow with the level.
    """

    level: Tensor
    scales: tuple[float, ...]


class ScaleNetwork(nn.Module):
    """A network whose convolutions are layers of a system, as a timm model.

    A subclass registers its stages under the names that ``stages`` lists, ``fc`` and what stands before it, and then
    calls ``finish``.
    """

    stages: tuple[str, ...]
    fc: nn.Linear
    lift: nn.Module

    def __init__(self, system: System, num_classes: int, in_chans: int):
        super().__init__()
        self.system, self.num_classes, self.in_chans = system, num_classes, in_chans
        self.close = nn.Identity() if system.close is None else system.close()

    def finish(self, channels: tuple[int, ...], reductions: tuple[int, ...]) -> None:
        """Say what timm wants to know. What lifts comes last, so that parameters have the order of the published."""
        self.lift = nn.Identity() if self.system.lift is None else self.system.lift(self.in_chans)
        self.num_features = self.head_hidden_size = self.fc.in_features
        self.feature_info = [
            {"num_chs": count, "reduction": reduction, "module": name}
            for count, reduction, name in zip(channels, reductions, self.stages, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        if self.system.pyramid == 1:
            return self.forward_head(self.forward_features(x))
        levels = pyramid(x, self.system.pyramid)
        return torch.stack([self.forward_head(self.forward_features(level)) for level in levels]).mean(0)

    def forward_features(self, x: Tensor) -> Any:
        """The last stage's map, without what follows it."""
        x = self.prepare(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x

    def prepare(self, x: Tensor) -> Any:
        """What the first stage sees of the image."""
        return self.lift(x)

    def forward_head(self, x: Any, pre_logits: bool = False) -> Tensor:
        """Logits of the last stage's map, or what the last linear layer sees."""
        raise NotImplementedError

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer; 0 classes leave none. The pool is part of the system and stays."""
        self.num_classes = num_classes
        device, dtype = next(self.parameters()).device, next(self.parameters()).dtype
        fresh = nn.Linear(self.num_features, num_classes, device=device, dtype=dtype) if num_classes else nn.Identity()
        self.fc = fresh  # type: ignore[assignment]

    def feature_maps(self, x: Tensor) -> dict[str, FeatureMap]:
        """The map after every stage, of (B, C, H, W) images. An ensemble shows those of the image's own size."""
        found = {}
        side = min(x.shape[-2:])
        geometry = self.geometry(side)
        x = self.prepare(x)
        for name in self.stages:
            stage = self.get_submodule(name)
            for part in stage.children():
                geometry = behind(part, geometry)
            x = stage(x)
            value = matched(x) if isinstance(x, tuple) else x
            stride = geometry.stride * (x[0].shape[-1] / value.shape[-1] if isinstance(x, tuple) else 1)
            start = geometry.start + (stride - geometry.stride) / 2
            is_lifted = value.ndim == 5 and self.system.has_scales
            found[name] = FeatureMap(value, is_lifted, stride, start, geometry.margins)
        return found

    def geometry(self, side: int) -> Geometry:
        """Of what the first stage sees of an image of this side."""
        return behind(self.lift, Geometry(side=side))

    def scale_indices(self, x: Tensor) -> dict[str, ScaleIndex]:
        """Which scale was taken, wherever the network leaves one scale of several.

        Where that is at the end, for a whole map, it is per channel the scale that holds the largest answer.
        """
        found = {}
        x = self.prepare(x)
        for name in self.stages:
            stage = self.get_submodule(name)
            if isinstance(stage, Stage) and isinstance(stage.pool, ScalePool):
                _, index = stage.pool(stage.conv(x), return_indices=True)
                found[name] = ScaleIndex(index, self.scale_values(stage))
            x = stage(x)
        last, values = matched(x) if isinstance(x, tuple) else x, self.scale_values(stage)
        if last.ndim == 5 and values:
            _, index = ScalePool("slice")(last, return_indices=True)
            found[self.stages[-1]] = ScaleIndex(index, values)
        if not found:
            raise ValueError(f"{type(self).__name__} of this system never leaves one scale of several; it has no index")
        return found

    def scale_values(self, stage: nn.Module) -> tuple[float, ...]:
        """What the indices after a stage stand for; nothing, where they stand for no scales."""
        conv = getattr(stage, "conv", None)
        sides, widths = getattr(conv, "sides", None), getattr(getattr(conv, "functions", None), "widths", None)
        if sides is not None:
            return tuple(map(float, sides))
        if widths is not None:
            return tuple(widths().detach().tolist())
        return self.system.scales or ()


def square_side(img_size: int | tuple[int, int]) -> int:
    """The side of square images, which timm tells as (H, W)."""
    H, W = (img_size, img_size) if isinstance(img_size, int) else img_size
    if H != W:
        raise ValueError(f"img_size is {img_size}; expected a square, such as {max(H, W)}")
    return H
