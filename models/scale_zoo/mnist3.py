"""The three-layer network of the MNIST-scale comparisons, with the systems that were compared on it.

    32, 63, 95 channels by kernels of 7 x 7; after each ReLU a pool over space and batch norm; then two linear layers

Networks named ``_56`` see the 28 x 28 image at twice its size. Those named ``_plus`` have the settings that were
published for training with random scales.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from layers.scale.correlation import ScaleCorrelation
from layers.scale.disco import Disco
from layers.scale.functions import LearnedFunctions
from layers.scale.hermite import Family, Hermite, geometric
from layers.scale.pool import ScalePool
from layers.scale.scale_space import ScaleSpace
from layers.scale.space_pool import SpacePool2d
from layers.scale.steerable import SAME, LiftingConv2d, ScaleConv2d
from layers.scale.widths import Parametrisation, ScaleWidths
from models.scale_zoo.network import ScaleNetwork, Stage, square_side
from models.scale_zoo.registry import register
from models.scale_zoo.system import (
    Maps,
    Place,
    System,
    kanazawa,
    made,
    max_pool,
    mean_pool,
    norm,
    plain,
    relu,
    steerable,
    xu,
)

KERNEL, SIDE, WIDTHS, HIDDEN = 7, 28, (32, 63, 95), 256
FACTORS = (0.3, 0.45, 0.67, 1.0, 1.49, 2.23, 3.33)
SIDES = (1, 3, 5, 7, 11, 15, 23)  # the odd sides nearest to those factors of 7 that leave seven of them
Close = Literal["before", "after"]
Pools = Literal["max", "mean", "dilated"]


class Mnist3(ScaleNetwork):
    """The network, with a system's layers.

    Args:
        system: it.
        num_classes: of the last layer.
        in_chans: of the image.
        img_size: its side, 28; where the image would be enlarged, 56 is taken as it is.
        enlarged: whether the first layer sees the image at twice its size.
        close: whether the scales that are left at the end go before the last ReLU, or after the last norm.
        pools: over space. "max" is the usual. "mean": the first two are means, and the last one a maximum around every
            place before a mean, as DISCO has it. "dilated": the windows of the first two grow with the level, which
            keeps the equivariance of Deep Scale Spaces exact.
        relus: whether there is a ReLU after the first two layers, or after the last one alone.
    """

    stages = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        system: System,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = SIDE,
        *,
        enlarged: bool = False,
        close: Close = "before",
        pools: Pools = "max",
        relus: bool = True,
    ):
        super().__init__(system, num_classes, in_chans)
        side = SIDE * 2 if enlarged else SIDE
        if square_side(img_size) not in (SIDE, side):
            raise ValueError(f"img_size is {img_size}; expected {SIDE}, for which the linear layers are made")
        if pools == "mean" and not enlarged:
            raise ValueError("pools is 'mean', whose last windows need 14 x 14 places; it needs enlarged=True")
        maps, columns = system.maps, len(system.scales or ())
        is_closed = close == "before" and system.close is not None
        self.img_size = square_side(img_size)
        growth = side // self.img_size
        enlarge = nn.Upsample(scale_factor=2) if growth == 2 else nn.Identity()
        later = system.later or system.first
        place = Place(KERNEL, side, same=True, shared=made(system.share))
        for number, (entering, leaving) in enumerate(zip((in_chans, *WIDTHS), WIDTHS, strict=False), start=1):
            layer = system.first if number == 1 else later
            conv = layer(entering, leaving, place._replace(side=side))
            scale_pool = made(system.pool)
            between = relu(maps) if relus else nn.Identity()
            after: list[nn.Module] = [between, _pool(pools, maps), norm(maps, leaving, columns)]
            if number == 3:
                if is_closed:
                    scale_pool, self.close, maps = self.close, nn.Identity(), "plain"
                last = _disco_tail() if pools == "mean" else [max_pool(maps, 8 if enlarged else 4, padding=2)]
                after = [relu(maps), *last, norm(maps, leaving, columns)]
            before = enlarge if number == 1 and system.lift is None else None
            self.add_module(f"layer{number}", Stage(conv, scale_pool, *after, before=before))
            side //= 2
        self.fc1 = nn.Sequential(
            *(nn.Linear(4 * WIDTHS[-1], HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Dropout(0.7)),
        )
        last_reduction = 32 if enlarged and pools != "mean" else 16
        self.finish(system, HIDDEN, WIDTHS, (2 // growth, 4 // growth, last_reduction // growth))
        if system.lift is not None:
            self.lift = nn.Sequential(enlarge, self.lift)

    def features_of(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (2, 2):
            found, side = tuple(x.shape[-2:]), self.img_size
            raise ValueError(f"Mnist3 has {found} places in the end; expected 2 x 2, of images of {side}")
        return self.fc1(x.flatten(1))


def _pool(pools: Pools, maps: Maps) -> nn.Module:
    if pools == "dilated":
        return SpacePool2d()
    return mean_pool(maps, 2) if pools == "mean" else max_pool(maps, 2)


def _disco_tail() -> list[nn.Module]:
    return [nn.MaxPool2d(KERNEL, stride=1), nn.AvgPool2d(2, stride=4)]


def dss(*, scalar: bool) -> System:
    """Two levels, and no interaction between them; where it is scalar, each layer lifts and leaves one of them."""

    def correlation(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return ScaleCorrelation(in_channels, out_channels, at.kernel, bias=False)

    def lifting(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return nn.Sequential(ScaleSpace(2, blur=0.25), correlation(in_channels, out_channels, at))

    if scalar:
        return System(first=lifting, pool=ScalePool, scales=(1.0, 2.0))
    return System(
        first=correlation, lift=lambda _: ScaleSpace(2, blur=0.25), close=ScalePool, maps="lifted", scales=(1.0, 2.0)
    )


def hermite(count: int, span: float, first: float, mult: float, side: int, *, scalar: bool = False) -> System:
    """SESN with ``count`` widths from ``first`` to ``span`` times it, in kernels of ``side``."""
    widths = geometric(first, span, count, digits=2)
    family = Family(kind="B", effective_size=7, mult=mult, max_order=4)
    return steerable(lambda: Hermite(kernel_size=side, sigmas=widths, family=family), widths, scalar=scalar)


def disco(mult: float) -> System:
    """DISCO at four scales."""
    scales = (1.0, 1.26, 1.59, 2.0)
    family = Family(kind="B", effective_size=7, mult=mult, max_order=4)
    return steerable(lambda: Disco(kernel_size=15, scales=scales, family=family, sigma=1.9), scales)


def learned(parametrisation: Parametrisation, *, own_width: bool = False) -> System:
    """SESN that learns its widths. Layers share them, or they share ratios and each has a first width of its own."""
    family = Family(kind="B", effective_size=7, mult=1.4, max_order=4)
    fresh = partial(ScaleWidths, 4, first=1.5, span=2.0, learned=parametrisation)

    def functions(at: Place) -> LearnedFunctions:
        if not own_width:
            return LearnedFunctions(at.shared, family)
        widths = fresh()
        widths.change = at.shared.change
        return LearnedFunctions(widths, family)

    def first(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return LiftingConv2d(in_channels, out_channels, functions(at), padding=SAME)

    def later(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return ScaleConv2d(in_channels, out_channels, functions(at), padding=SAME)

    return System(first=first, later=later, close=ScalePool, maps="lifted", share=fresh)


def _register(name: str, system: System, **fixed: Any) -> None:
    images: Any = {"input_size": (1, SIDE, SIDE), "mean": 0.0607, "std": 0.2161}
    register(f"mnist3_{name}", Mnist3, system, first_conv="layer1.conv", **images, **fixed)


for _end, _enlarged in (("", False), ("_56", True)):
    _register(f"standard{_end}", System(first=plain), enlarged=_enlarged)
    _register(f"kanazawa{_end}", System(first=partial(kanazawa, factors=FACTORS)), enlarged=_enlarged)
    _register(f"xu{_end}", xu(SIDES), enlarged=_enlarged, close="after")
    _register(f"dss{_end}", dss(scalar=False), enlarged=_enlarged, close="after")
    _register(f"dss_scalar{_end}", dss(scalar=True), enlarged=_enlarged)
_register("dss_exact", dss(scalar=False), close="after", pools="dilated")
_register("hermite", hermite(3, 3.0, 1.5, 1.5, 13))
_register("hermite_plus", hermite(3, 3.0, 1.5, 1.4, 15))
_register("hermite_scalar", hermite(4, 3.0, 1.7, 1.5, 15, scalar=True))
_register("hermite_scalar_plus", hermite(4, 3.0, 1.5, 1.4, 13, scalar=True))
_register("hermite_56", hermite(4, 2.0, 2.0, 1.5, 15), enlarged=True)
_register("hermite_56_plus", hermite(4, 2.0, 1.5, 1.4, 13), enlarged=True)
_register("hermite_scalar_56", hermite(3, 2.0, 2.0, 1.4, 15, scalar=True), enlarged=True)
_register("hermite_scalar_56_plus", hermite(3, 3.0, 1.0, 1.4, 17, scalar=True), enlarged=True)
_register("hermite_mean_56", hermite(4, 2.0, 1.5, 1.4, 15), enlarged=True, pools="mean")  # beside DISCO, as published
_register("hermite_mean_56_plus", hermite(4, 2.0, 1.7, 1.5, 15), enlarged=True, pools="mean")
_register("disco_56", disco(1.5), enlarged=True, pools="mean")
_register("disco_56_plus", disco(1.9), enlarged=True, pools="mean")
for _name in ("fixed", "direct", "ratios", "ratios_squared", "ratio", "ratio_squared"):
    _end = "" if _name == "ratio_squared" else f"_{_name}"
    _register(f"learned_scales{_end}", learned(_name))  # type: ignore[arg-type]
_register("learned_scales_per_layer", learned("ratio_squared", own_width=True))
_register("learned_scales_published", learned("ratio_squared"), relus=False)
