"""What makes a scale-equivariant system: the layers that take the place of a network's convolutions, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from layers.scale.convolution import PlainConv2d
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.pool import ScalePool
from layers.scale.steerable import SAME, Basis, LiftingConv2d, ScaleConv2d
from layers.scale.xu import XuConv2d


class Place(NamedTuple):
    """Where in a network a layer stands.

    Args:
        kernel: side of the plain network's kernel there.
        side: of the map that arrives.
        same: whether the layer keeps the side, but for its stride.
        stride: of the layer, where the network has one.
        interaction: how many scales a layer on a lifted map reads.
        bias: whether the layer has one.
        shared: what ``System.share`` made for all layers of the network.
    """

    kernel: int
    side: int
    same: bool = False
    stride: int = 1
    interaction: int = 1
    bias: bool = True
    shared: Any = None

    @property
    def padding(self) -> int:
        """Of a kernel of that side."""
        return self.kernel // 2 if self.same else 0


Layer = Callable[[int, int, Place], nn.Module]  # of the numbers of channels
Maps = Literal["plain", "lifted", "columns", "levels"]


@dataclass(frozen=True, kw_only=True)
class System:
    """A way to meet scale, apart from the network that it is built into.

    Args:
        first: makes the layer that sees the image, or what ``lift`` made of it.
        later: makes the other layers; as ``first`` where it is not given.
        lift: makes what stands before the first layer, of the image's channels.
        pool: makes what leaves one scale behind each layer, before the ReLU.
        close: makes what leaves one scale at the end, where ``pool`` has not.
        maps: what goes from layer to layer: (B, C, H, W), or (B, C, S, H, W), whose norms share statistics over S
            ("lifted") or have their own at every scale ("columns"), or a tuple of maps of unequal size ("levels").
        pyramid: at how many sizes the network sees the image; its answers are averaged.
        share: makes what all layers of one network have in common, such as widths that are learned.
        scales: what the positions of the scale axis stand for, such as widths of kernels, where the layers do not tell.
        has_scales: whether the fifth axis of its maps, if there is one, is that of scales.
    """

    first: Layer
    later: Layer | None = None
    lift: Callable[[int], nn.Module] | None = None
    pool: Callable[[], nn.Module] | None = None
    close: Callable[[], nn.Module] | None = None
    maps: Maps = "plain"
    pyramid: int = 1
    share: Callable[[], Any] | None = None
    scales: tuple[float, ...] | None = None
    has_scales: bool = True


def made(factory: Callable[[], Any] | None) -> Any:
    """What a system makes for a network, or None where it makes nothing."""
    return None if factory is None else factory()


def plain(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """An ordinary convolution."""
    return PlainConv2d(in_channels, out_channels, at.kernel, at.stride, at.padding, bias=at.bias)


def kanazawa(in_channels: int, out_channels: int, at: Place, *, factors: tuple[float, ...]) -> nn.Module:
    """SI-ConvNet's, which rescales the map to each of the factors and back."""
    return KanazawaConv2d(in_channels, out_channels, at.kernel, factors, padding=at.padding)


def xu(sides: tuple[int, ...]) -> System:
    """SiCNN with columns of these sides, whose maps keep their size; without biases, as published."""

    def column(in_channels: int, out_channels: int, at: Place, *, lifted: bool) -> nn.Module:
        shape: Any = {"sides": sides, "lifted": lifted, "padding": max(sides) // 2}
        return XuConv2d(in_channels, out_channels, at.kernel, **shape, bias=False)

    return System(
        first=partial(column, lifted=False),
        later=partial(column, lifted=True),
        close=ScalePool,
        maps="columns",
        scales=tuple(map(float, sides)),
    )


def steerable(basis: Callable[[], Basis], scales: tuple[float, ...] | None, *, scalar: bool = False) -> System:
    """SESN or DISCO. Where it is scalar, each layer lifts and leaves one scale; else the scales stay to the end."""

    def lifting(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        padding = SAME if at.same else 0
        return LiftingConv2d(in_channels, out_channels, basis(), stride=at.stride, padding=padding, bias=at.bias)

    def later(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        shape = {"interaction": at.interaction, "stride": at.stride, "padding": SAME if at.same else 0}
        return ScaleConv2d(in_channels, out_channels, basis(), **shape, bias=at.bias)

    if scalar:
        return System(first=lifting, pool=ScalePool, scales=scales)
    return System(first=lifting, later=later, close=ScalePool, maps="lifted", scales=scales)


class EachLevel(nn.Module):
    """A layer without numbers of its own, on every map of a tuple."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(self.layer(level) for level in levels)


class ColumnNorm(nn.BatchNorm2d):
    """Batch norm with statistics and weights of its own at every scale of (B, C, S, H, W)."""

    def __init__(self, channels: int, columns: int):
        super().__init__(channels * columns)

    def forward(self, x: Tensor) -> Tensor:
        by_column = x.transpose(1, 2)
        return super().forward(by_column.flatten(1, 2)).unflatten(1, by_column.shape[1:3]).transpose(1, 2)


def relu(maps: Maps) -> nn.Module:
    """ReLU of what goes from layer to layer."""
    return EachLevel(nn.ReLU()) if maps == "levels" else nn.ReLU()


def norm(maps: Maps, channels: int, columns: int = 1) -> nn.Module:
    """Batch norm of what goes from layer to layer."""
    if maps == "columns":
        return ColumnNorm(channels, columns)
    return nn.BatchNorm3d(channels) if maps == "lifted" else nn.BatchNorm2d(channels)


def max_pool(maps: Maps, size: int, *, padding: int = 0) -> nn.Module:
    """The largest of ``size`` x ``size`` places, at every scale alike."""
    if maps == "plain":
        return nn.MaxPool2d(size, padding=padding)
    return nn.MaxPool3d((1, size, size), padding=(0, padding, padding))


def mean_pool(maps: Maps, size: int) -> nn.Module:
    """The mean of ``size`` x ``size`` places, at every scale alike."""
    return nn.AvgPool2d(size) if maps == "plain" else nn.AvgPool3d((1, size, size))
