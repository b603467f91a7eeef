"""What the networks of the zoo have in common: stages with scales, and what timm asks of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.scale.checks import require_plain
from layers.scale.halving import matched
from layers.scale.pool import ScaleMean, ScalePool
from layers.scale.pyramid import pyramid
from layers.scale.siconv import SiConv2d
from models.scale_zoo.geometry import Geometry, behind
from models.scale_zoo.system import System


class Stage(nn.Module):
    """A layer of a system, perhaps a pool over its scales, and what a network has after it.

    Args:
        conv: the layer.
        pool: leaves one scale, if it does so here.
        after: ReLU, pool over space, norm, as the network has them.
        before: what stands before the layer, if anything.
    """

    def __init__(self, conv: nn.Module, pool: nn.Module | None, *after: nn.Module, before: nn.Module | None = None):
        super().__init__()
        self.before = nn.Identity() if before is None else before
        self.conv = conv
        self.pool = nn.Identity() if pool is None else pool
        self.after = nn.Sequential(*after)

    def forward(self, x: Any) -> Any:
        return self.after(self.pool(self.scales_of(x)))

    def scales_of(self, x: Any) -> Any:
        """What the pool over scales sees, if there is one."""
        return self.conv(self.before(x))

    def behind(self, geometry: Geometry) -> Geometry:
        """A place of a pooled map has seen what any of its scales has. But a kernel of SiConv that reaches beyond the
        border answers 0 there by design, and so is none of those counted."""
        geometry = behind(self.conv, behind(self.before, geometry))
        if not isinstance(self.pool, nn.Identity):
            counted = geometry.margins[:1] if isinstance(self.conv, SiConv2d) else geometry.margins
            geometry = replace(geometry, margins=(max(counted),))
        return behind(self.after, geometry)


class FeatureMap(NamedTuple):
    """What a stage made of images, and where it lies in them.

    Args:
        value: (B, C, H, W), or (B, C, S, H, W) where there is a scale axis.
        is_lifted: whether there is one. The axis of turns that C4 and C8 have at its place is none.
        stride: pixels of the image from one place of the map to the next.
        start: the pixel of the image, along both axes, that the map's first place is the middle of.
        margins: per scale, how many places at each border have seen zeros from beyond the image. One number for a map
            without a scale axis. Offsets that are learned, and the map of a spatial transformer, are not known of.
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
        level: (B, C), or (B, C, H, W) where each place has its own; counted from 0. A channel that answers nothing
            takes none, which is -1.
        scales: what the levels stand for, such as sides of kernels.
    """

    level: Tensor
    scales: tuple[float, ...]


class ScaleNetwork(nn.Module, ABC):
    """A network whose convolutions are layers of a system, as a timm model.

    A subclass registers its stages under the names that ``stages`` lists, and then calls ``finish``.
    """

    stages: tuple[str, ...]
    fc: nn.Module
    lift: nn.Module

    def __init__(self, system: System, num_classes: int, in_chans: int):
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.pyramid, self.scales, self.has_scales = system.pyramid, system.scales, system.has_scales
        self.close = nn.Identity() if system.close is None else system.close()

    def finish(self, system: System, features: int, channels: tuple[int, ...], reductions: tuple[int, ...]) -> None:
        """Add the last layer, and say what timm wants to know.

        What lifts the image is registered last, so that parameters have the order of the published networks.

        Args:
            system: of the network.
            features: that the last layer sees.
            channels: of the stages.
            reductions: of the stages, pixels of the image per place.
        """
        self.num_features = self.head_hidden_size = features
        self.fc = nn.Linear(features, self.num_classes) if self.num_classes else nn.Identity()
        self.lift = nn.Identity() if system.lift is None else system.lift(self.in_chans)
        self.feature_info = [
            {"num_chs": count, "reduction": reduction, "module": name}
            for count, reduction, name in zip(channels, reductions, self.stages, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, type(self).__name__)
        if self.pyramid == 1:
            return self.forward_head(self.forward_features(x))
        levels = pyramid(x, self.pyramid)
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
        features = self.features_of(self.close(self.closing(x)))
        return features if pre_logits else self.fc(features)

    def closing(self, x: Any) -> Tensor:
        """The map that ``close`` takes one scale of."""
        return matched(x) if isinstance(x, tuple) else x

    @abstractmethod
    def features_of(self, x: Tensor) -> Tensor:
        """(B, features) of what ``close`` left."""

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, intermediates_only: bool = False, **_: Any
    ) -> Any:
        """The maps of some stages as (B, C, H, W): of a map with scales, the largest answers over them.

        timm asks this of models for ``features_only=True``. Its other options, such as the norm of a transformer, have
        no meaning here.
        """
        count = len(self.stages)
        if indices is None or isinstance(indices, int):
            indices = range(count) if indices is None else range(count)[-indices:]
        wanted = [range(count)[index] for index in indices]
        last, found = self.prepare(x), []
        for name in self.stages:
            last = self.get_submodule(name)(last)
            value = matched(last) if isinstance(last, tuple) else last
            found.append(value.amax(2) if value.ndim == 5 else value)
        chosen = [found[index] for index in wanted]
        return chosen if intermediates_only else (last, chosen)

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer; 0 classes leave none. The pool is part of the system and stays."""
        self.num_classes = num_classes
        like = next(self.parameters())
        fresh = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.fc = fresh.to(like.device, like.dtype)

    def feature_maps(self, x: Tensor) -> dict[str, FeatureMap]:
        """The map after every stage, of (B, C, H, W) images. An ensemble shows those of the image's own size."""
        found, geometry = {}, self.geometry()
        x = self.prepare(x)
        for name in self.stages:
            stage = self.get_submodule(name)
            geometry, x = behind(stage, geometry), stage(x)
            value = matched(x) if isinstance(x, tuple) else x
            stride = geometry.stride * (x[0].shape[-1] / value.shape[-1] if isinstance(x, tuple) else 1)
            start = geometry.start + (stride - geometry.stride) / 2
            is_lifted = value.ndim == 5 and self.has_scales
            found[name] = FeatureMap(value, is_lifted, stride, start, geometry.margins)
        return found

    def geometry(self) -> Geometry:
        """Of what the first stage sees."""
        return behind(self.lift, Geometry())

    def scale_indices(self, x: Tensor) -> dict[str, ScaleIndex]:
        """Which scale was taken, wherever the network leaves one scale of several, by the stage.

        Where that is at the end, for a whole map, it is per channel the scale that holds the largest answer. There it
        is taken behind the ReLU, where the scales of a silent channel tie at 0.
        """
        found: dict[str, ScaleIndex] = {}
        x = self.prepare(x)
        for name in self.stages:
            stage: Any = self.get_submodule(name)
            parts = stage if isinstance(stage, nn.Sequential) else [stage]
            for part in parts:
                own = part.scales_of(x) if isinstance(part, Stage) else x
                pool = part.pool if isinstance(part, Stage) else part
                if isinstance(pool, ScalePool):
                    _, level = pool(own, return_indices=True)
                    found[name] = ScaleIndex(level, self.scale_values(part))
                x = part(x)
        last, values = self.closing(x), self.scale_values(part)
        if last.ndim == 5 and values and not isinstance(self.close, ScaleMean):
            _, level = ScalePool("slice")(last, return_indices=True)
            found[self.stages[-1]] = ScaleIndex(level.where(last.amax((2, 3, 4)) > 0, -1), values)
        if not found:
            raise ValueError(f"{type(self).__name__} of this system never leaves one scale of several; it has no index")
        return found

    def scale_values(self, stage: nn.Module) -> tuple[float, ...]:
        """What the levels after a stage stand for; nothing, where they stand for no scales."""
        own = getattr(getattr(stage, "conv", None), "scales", None)
        return tuple(map(float, own or self.scales or ()))


def square_side(img_size: int | tuple[int, int]) -> int:
    """The side of square images, which timm tells as (H, W)."""
    H, W = (img_size, img_size) if isinstance(img_size, int) else img_size
    if H != W:
        raise ValueError(f"img_size is {img_size}; expected a square, such as {max(H, W)}")
    return H
