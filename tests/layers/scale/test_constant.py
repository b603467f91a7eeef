"""Constants keep their digits, and layers are built on the device "meta"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from layers.scale.constant import Constant, WithConstants
from layers.scale.correlation import ScaleCorrelation
from layers.scale.deformable import DeformableConv2d
from layers.scale.deformable_scale import DeformableScaleCorrelation
from layers.scale.disco import Disco, _impulse_versions
from layers.scale.functions import LearnedFunctions
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
HERMITE = Hermite(kernel_size=7, sigmas=(1.0, 1.5), family=A3)
DISCO = Disco(kernel_size=5, scales=(1.0, 1.5, 2.0), family=A3, sigma=0.9)
PLAIN, LIFTED, TURNS = (2, 2, 14, 12), (2, 2, 2, 14, 12), (2, 2, 8, 14, 12)


def learned(parametrisation: str) -> LearnedFunctions:
    return LearnedFunctions(ScaleWidths(2, first=1.0, span=1.5, learned=parametrisation), A3, 2.0)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "hermite": (lambda: LiftingConv2d(2, 3, HERMITE), PLAIN),
    "disco": (lambda: LiftingConv2d(2, 3, DISCO), PLAIN),
    "later": (lambda: ScaleConv2d(2, 3, HERMITE, interaction=2), LIFTED),
    "learned": (lambda: LiftingConv2d(2, 3, learned("ratio_squared")), PLAIN),
    "direct": (lambda: LiftingConv2d(2, 3, learned("direct")), PLAIN),
    "fixed": (lambda: LiftingConv2d(2, 3, learned("fixed")), PLAIN),
    "one": (lambda: ScaleConv1x1(2, 3), LIFTED),
    "space": (lambda: ScaleSpace(3), PLAIN),
    "siconv": (lambda: SiConv2d(2, 3, 3, 3, interpolation="bicubic"), PLAIN),
    "turns": (lambda: RotationLifting(2, 3, 3, order=8), PLAIN),
    "turns of turns": (lambda: RotationConv(2, 3, 3, order=8), TURNS),
    "correlation": (lambda: ScaleCorrelation(2, 3, 3, init="delta"), LIFTED),
    "deformable": (lambda: DeformableConv2d(2, 3, 3), PLAIN),
    "deformable correlation": (lambda: DeformableScaleCorrelation(2, 3, 3), LIFTED),
    "kanazawa": (lambda: KanazawaConv2d(2, 3, 3, (1, 1.5)), PLAIN),
    "xu": (lambda: XuConv2d(2, 3, 3, sides=(3, 5)), PLAIN),
    "transformer": (lambda: SpatialTransformer(2), PLAIN),
    "shared": (lambda: SharedConv(2, 3, 3), ()),
}


def images(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_built_on_meta_it_is_the_same_layer(name: str) -> None:
    make, shape = LAYERS[name]
    _impulse_versions.cache_clear()  # so that DISCO is found, or read, on meta too
    with torch.device("meta"):
        layer = make()
    assert all(tensor.is_meta for tensor in [*layer.parameters(), *layer.buffers()])
    built = make().double()
    layer = layer.double().to_empty(device="cpu")
    layer.load_state_dict(built.state_dict())
    if shape:
        assert torch.equal(layer(images(shape)), built(images(shape)))


@pytest.mark.parametrize("name", LAYERS)
def test_casts_and_devices_cost_no_digits(name: str) -> None:
    make, shape = LAYERS[name]
    if not shape:
        return
    layer = make().double()
    learnt = {key: value.clone() for key, value in layer.state_dict().items()}
    expected = layer(images(shape))
    layer = layer.bfloat16().float().to("meta").to_empty(device="cpu").half().double()
    layer.load_state_dict(learnt)
    assert torch.equal(layer(images(shape)), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_model_in_float32_has_no_buffer_in_float64(name: str) -> None:
    assert not any(buffer.dtype == torch.float64 for buffer in LAYERS[name][0]().buffers())


def test_a_constant_follows_its_model() -> None:
    exact = torch.tensor([1 / 3, 2.0], dtype=torch.float64)
    constant = Constant(exact)
    assert constant().dtype == torch.float32 and not constant.state_dict()
    assert torch.equal(constant.bfloat16()(), exact.bfloat16())
    assert torch.equal(constant.double()(), exact) and torch.equal(constant.exact, exact)


def test_whole_numbers_stay_whole() -> None:
    layer = WithConstants()
    layer.hold("places", torch.tensor([2, 0, 1]))
    moved = layer.double().half().type(torch.float32).to("meta").to_empty(device="cpu")
    assert moved.places.dtype == torch.int64 and moved.places.tolist() == [2, 0, 1]
