"""What every layer refuses, in the same words; and what the positions of a scale axis stand for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from layers.scale.checks import require_increasing, require_padding
from layers.scale.correlation import ScaleCorrelation
from layers.scale.deformable import DeformableConv2d
from layers.scale.deformable_scale import DeformableScaleCorrelation
from layers.scale.disco import Disco
from layers.scale.functions import FixedFunctions, LearnedFunctions
from layers.scale.halving import SharedConv
from layers.scale.hermite import Family, Hermite
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.mixing import ScaleConv1x1
from layers.scale.rotations import RotationConv, RotationLifting
from layers.scale.scale_space import ScaleSpace
from layers.scale.siconv import SiConv2d
from layers.scale.steerable import LiftingConv2d, ScaleConv2d
from layers.scale.transformer import SpatialTransformer
from layers.scale.widths import ScaleWidths
from layers.scale.xu import XuConv2d

A3 = Family(kind="A", effective_size=3)
BASIS = Hermite(kernel_size=7, sigmas=(1.0, 1.5), family=A3)
Make = Callable[..., nn.Module]
PLAIN: dict[str, Make] = {
    "LiftingConv2d": lambda *n, **k: LiftingConv2d(*n, BASIS, **k),
    "SiConv2d": lambda *n, **k: SiConv2d(*n, 3, 2, **k),
    "RotationLifting": lambda *n, **k: RotationLifting(*n, 3, **k),
    "KanazawaConv2d": lambda *n, **k: KanazawaConv2d(*n, 3, (1, 1.5), **k),
    "XuConv2d": lambda *n, **k: XuConv2d(*n, 3, sides=(3, 5), **k),
    "DeformableConv2d": lambda *n, **k: DeformableConv2d(*n, 3, **k),
    "SharedConv": lambda *n, **k: SharedConv(*n, 3, **k),
}
LIFTED: dict[str, Make] = {
    "ScaleConv2d": lambda *n, **k: ScaleConv2d(*n, BASIS, **k),
    "RotationConv": lambda *n, **k: RotationConv(*n, 3, **k),
    "ScaleCorrelation": lambda *n, **k: ScaleCorrelation(*n, 3, **k),
    "DeformableScaleCorrelation": lambda *n, **k: DeformableScaleCorrelation(*n, 3, **k),
    "ScaleConv1x1": lambda *n, **k: ScaleConv1x1(*n, **k),
}
PADDED = ["LiftingConv2d", "ScaleConv2d", "RotationLifting", "RotationConv", "KanazawaConv2d", "XuConv2d"]


@pytest.mark.parametrize("name", PLAIN | LIFTED)
def test_other_channels_are_refused_by_name(name: str) -> None:
    levels = [4 if name.startswith("Rotation") else 2] if name in LIFTED else []
    x = torch.zeros(1, 3, *levels, 9, 9)
    with pytest.raises(ValueError, match=rf"{name} got 3 channels, of \(1, 3, .*\); expected 2"):
        (PLAIN | LIFTED)[name](2, 4)((x,) if name == "SharedConv" else x)


def test_the_transformer_too() -> None:
    with pytest.raises(ValueError, match=r"SpatialTransformer got 3 channels, of .*; expected 1"):
        SpatialTransformer(1)(torch.zeros(1, 3, 9, 9))
    with pytest.raises(ValueError, match="in_channels is 0"):
        SpatialTransformer(0)


@pytest.mark.parametrize("name", PLAIN | LIFTED)
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_channels_are_counted(name: str, wrong) -> None:
    make = (PLAIN | LIFTED)[name]
    with pytest.raises(ValueError, match=f"in_channels is {wrong}; expected a whole number of at least 1"):
        make(wrong, 2)
    with pytest.raises(ValueError, match=f"out_channels is {wrong}; expected a whole number of at least 1"):
        make(2, wrong)


@pytest.mark.parametrize("name", [*PADDED, "DeformableConv2d"])
@pytest.mark.parametrize("wrong", [-2, 0.5, True])
def test_padding_is_counted(name: str, wrong) -> None:
    with pytest.raises(ValueError, match=f"padding is {wrong}; expected a whole number of pixels"):
        (PLAIN | LIFTED)[name](2, 2, padding=wrong)


def test_padding_of_minus_one_is_for_steerable_layers_alone() -> None:
    for name in PADDED[2:]:
        with pytest.raises(ValueError, match="padding is -1; expected a whole number of pixels, at least 0"):
            (PLAIN | LIFTED)[name](2, 2, padding=-1)
    require_padding(-1, least=-1)


def test_strides_are_counted() -> None:
    for name in ("stride", "dilation", "groups"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            DeformableConv2d(2, 2, 3, **{name: 0})
    with pytest.raises(ValueError, match="interaction is 0"):
        ScaleConv2d(2, 2, BASIS, interaction=0)
    with pytest.raises(ValueError, match="stride is 0"):
        LiftingConv2d(2, 2, BASIS, stride=0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scales_are_finite_numbers(wrong: float) -> None:
    for values in ((wrong,), (1.0, wrong), (wrong, 2.0)):
        with pytest.raises(ValueError, match=r"scales is .*; expected finite numbers"):
            require_increasing("scales", values)
    with pytest.raises(ValueError, match="expected finite numbers"):
        Disco(kernel_size=15, scales=(1.0, wrong), family=A3, sigma=0.9)
    with pytest.raises(ValueError, match="each above 0"):
        KanazawaConv2d(1, 1, 3, (1, wrong))
    with pytest.raises(ValueError, match="each above 0"):
        XuConv2d(1, 1, 3, factors=(1, wrong))


def test_what_the_scale_axis_stands_for() -> None:
    disco = Disco(kernel_size=5, scales=(1.0, 2.0), family=A3, sigma=0.9)
    assert LiftingConv2d(1, 1, BASIS).scales == ScaleConv2d(1, 1, BASIS).scales == (1.0, 1.5)
    assert LiftingConv2d(1, 1, disco).scales == (1.0, 2.0)
    assert LiftingConv2d(1, 1, BASIS.functions()).scales is None
    assert LiftingConv2d(1, 1, FixedFunctions(BASIS.functions(), (3, 4.5))).scales == (3.0, 4.5)
    assert SiConv2d(1, 1, 3, 3).scales == (3.0, 5.0, 7.0)
    assert XuConv2d(1, 1, 3, sides=(5, 3)).scales == (5.0, 3.0)
    assert ScaleSpace(3).scales == (1.0, 2.0, 4.0)
    for layer in (ScaleCorrelation(1, 1, 3), DeformableScaleCorrelation(1, 1, 3), ScaleConv1x1(1, 1)):
        assert layer.scales is None
    with pytest.raises(ValueError, match=r"widths is \[1.0\]; expected one for each of the 2 scales"):
        FixedFunctions(BASIS.functions(), (1.0,))


def test_learned_widths_are_told_as_they_are_now() -> None:
    widths = ScaleWidths(2, first=1.0, span=2.0)
    layer = LiftingConv2d(1, 1, LearnedFunctions(widths, A3, 2.0))
    assert layer.scales == pytest.approx((1.0, 2.0))
    with torch.no_grad():
        widths.base.fill_(1.5)
    assert layer.scales == pytest.approx((1.5, 3.0))


@pytest.mark.parametrize("shape", [(9, 7, 7), (9, 2, 4, 4), (9, 2, 5, 7), (0, 2, 5, 5), (9, 0, 5, 5)])
def test_functions_that_cannot_be_kernels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the functions of a basis are .*; expected \(F, S, K, K\), with an odd K"):
        LiftingConv2d(1, 1, torch.zeros(shape))


def test_a_basis_is_no_name() -> None:
    with pytest.raises(TypeError, match="basis is 'hermite'; expected Hermite, Disco"):
        LiftingConv2d(1, 1, "hermite")  # type: ignore[arg-type]
