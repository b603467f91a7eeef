"""What is exactly true of each scale-equivariant system, and how far its own layers are from it in float64.

Where a system promises nothing about scale, the identity is its reduction, such as the plain convolution that it begins
as; the words say so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.deformable_scale import DeformableScaleCorrelation
from layers.scale.functions import LearnedFunctions
from layers.scale.halving import halve
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.pool import GlobalMax, ScalePool
from layers.scale.pyramid import PyramidEnsemble, halved
from layers.scale.siconv import SiConv2d
from layers.scale.steerable import LiftingConv2d
from layers.scale.widths import ScaleWidths
from layers.scale.xu import XuConv2d
from models.scale_zoo.stir2 import DISCO, HERMITE, KERNEL, LEVELS, SIDES, SYSTEMS
from models.scale_zoo.system import Place

SIDE, CHANNELS = 32, (2, 3)
LARGER = 3  # by how much SiConv's image is enlarged


class Identity(NamedTuple):
    """What holds of a system.

    Args:
        words: it.
        error: computes the largest difference, relative to the largest value, on random weights and images.
        bound: what rounding may leave of it.
    """

    words: str
    error: Callable[[], float]
    bound: float = 1e-12


def random(*shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64)


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float(((found - wanted).abs().max() / wanted.abs().max()).detach())


def layers_of(name: str) -> tuple[nn.Module, nn.Module]:
    """The first layer of a system and a later one, as ``stir2`` has them, for few channels and small images."""
    system = SYSTEMS[name]
    place = Place(KERNEL, SIDE, shared=None if system.share is None else system.share())
    first = system.first(CHANNELS[0], CHANNELS[1], place)
    later = (system.later or system.first)(CHANNELS[1], CHANNELS[0], place)
    return first.double(), later.double()


def translation() -> float:
    first, later = layers_of("standard")
    x = random(2, CHANNELS[0], SIDE, SIDE)
    return difference(later(first(x[..., 2:, 1:]).relu()), later(first(x).relu())[..., 2:, 1:])


def enlarged(layer: Any, rim: int = 0) -> float:
    """Of a layer with kernels of two sides, one LARGER times the other; its maps may have a rim of zeros."""
    x = random(2, CHANNELS[0], SIDE // LARGER, SIDE // LARGER)
    found = layer(x.repeat_interleave(LARGER, -2).repeat_interleave(LARGER, -1))[:, :, 1]
    places = slice(rim, found.shape[-1] - rim, LARGER)
    return difference(found[..., places, places], F.conv2d(x, layer.weight, layer.bias))


def siconv_enlarged() -> float:
    kinds: tuple[Any, ...] = ("nearest", "area")
    layers = [SiConv2d(*CHANNELS, KERNEL, sides=(KERNEL, LARGER * KERNEL), interpolation=kind) for kind in kinds]
    return max(enlarged(layer.double(), rim=(LARGER - 1) * KERNEL // 2) for layer in layers)


def siconv_one_side(mode: Any) -> float:
    layer = SiConv2d(*CHANNELS, KERNEL, sides=(KERNEL,), interpolation="bicubic").double()
    x = random(2, CHANNELS[0], SIDE, SIDE)
    return difference(ScalePool(mode)(layer(x)), F.conv2d(x, layer.weight, layer.bias))


def conv3d_shifted(name: str) -> float:
    _, head = layers_of(name)
    x = random(1, CHANNELS[1], 9, 9, 9)
    return difference(head(x[:, :, 1:]), head(x)[:, :, 1:])


def pyramid_shared() -> float:
    net = nn.Sequential(nn.Conv2d(1, 4, KERNEL, padding=KERNEL // 2), nn.ReLU(), GlobalMax(), nn.Linear(4, 3)).double()
    x = random(2, 1, SIDE, SIDE)
    whole, smaller = PyramidEnsemble(net, 3), PyramidEnsemble(net, 2)
    return difference(3 * whole(x), net(x) + 2 * smaller(halved(x)))


def transformer_begins(name: str) -> float:
    system, x = SYSTEMS[name], random(2, 1, SIDE, SIDE)
    assert system.lift is not None
    return difference(system.lift(1).double()(x), x)


def xu_enlarged() -> float:
    return enlarged(XuConv2d(*CHANNELS, KERNEL, sides=(KERNEL, LARGER * KERNEL), bias=False).double())


def xu_own_side() -> float:
    first, later = layers_of("xu")
    own, margin = SIDES.index(KERNEL), KERNEL // 2
    x = random(2, CHANNELS[0], SIDE, SIDE)
    columns = first(x)
    plain = F.conv2d(x, first.weight, padding=margin)  # type: ignore[arg-type]
    after = F.conv2d(plain, later.weight, padding=margin)  # type: ignore[arg-type]
    return max(difference(columns[:, :, own], plain), difference(later(columns)[:, :, own], after))


def kanazawa_one_factor() -> float:
    layer = KanazawaConv2d(*CHANNELS, KERNEL, (1.0,)).double()
    x = random(2, CHANNELS[0], SIDE, SIDE)
    return difference(layer(x), F.conv2d(x, layer.weight, layer.bias))


def stuffed(x: Tensor) -> Tensor:
    """Twice as large, with zeros between the pixels."""
    y = x.new_zeros(*x.shape[:-2], 2 * x.shape[-2] - 1, 2 * x.shape[-1] - 1)
    y[..., ::2, ::2] = x
    return y


def hermite_stuffed() -> float:
    first, later = layers_of("hermite")
    middle = HERMITE.kernel_size // 2
    worst = 0.0
    for layer, channels, scales in ((first, CHANNELS[0], ()), (later, CHANNELS[1], (len(HERMITE.sigmas),))):
        x = random(1, channels, *scales, SIDE, SIDE)
        moved = x.roll(-1, 2) if scales else x  # what was the first scale is the last one
        small, large = layer(x), layer(stuffed(moved))
        worst = max(worst, difference(large[:, :, -1, middle:-middle:2, middle:-middle:2], small[:, :, 0] / 4))
    return worst


def disco_shrunk() -> float:
    first, _ = layers_of("disco")
    x, taps = random(1, CHANNELS[0], SIDE, SIDE), random(1, 1, 4, 4)

    def filtered(image: Tensor) -> Tensor:
        flat = F.pad(image.flatten(0, 1)[:, None], (1, 2, 1, 2), mode="circular")
        return F.conv2d(flat, taps)[:, 0, ::2, ::2].unflatten(0, image.shape[:2])

    def answers(image: Tensor) -> Tensor:
        return first(F.pad(image, [DISCO.kernel_size // 2] * 4, mode="circular"))

    return difference(filtered(answers(x)[:, :, -1]), answers(filtered(x))[:, :, 0])


def learned_gradients() -> float:
    """A step away from where the kernels' side would change, for there is no gradient of that."""
    widths = ScaleWidths(3, first=1.2, span=2.7).double()
    layer = LiftingConv2d(1, 2, LearnedFunctions(widths, HERMITE.family, reach=2.0)).double()
    x, step = random(1, 1, SIDE, SIDE), 1e-6
    layer(x).square().sum().backward()
    worst = 0.0
    with torch.no_grad():
        for parameter in (widths.base, widths.change):
            assert isinstance(parameter, nn.Parameter) and parameter.grad is not None
            start, ends = parameter.clone(), []
            for sign in (1, -1):
                parameter.copy_(start + sign * step)
                ends.append(layer(x).square().sum())
            parameter.copy_(start)
            worst = max(worst, difference((ends[0] - ends[1]) / (2 * step), parameter.grad.sum()))
    return worst


def levels_move(name: str) -> float:
    """Of the two layers, and of every second pixel and of every fourth."""
    layers = layers_of(name)
    for layer in layers:
        if isinstance(layer, DeformableScaleCorrelation):
            assert layer.offset.bias is not None
            nn.init.normal_(layer.offset.weight, std=0.1)
            nn.init.normal_(layer.offset.bias)
    x = random(1, CHANNELS[0], LEVELS, SIDE, SIDE)

    def answers(x: Tensor) -> Tensor:
        return layers[1](layers[0](x).relu())

    whole = answers(x)
    return max(
        difference(answers(x[:, :, a:, :: 2**a, :: 2**a]), whole[:, :, a:, :: 2**a, :: 2**a]) for a in range(1, LEVELS)
    )


def halves_move() -> float:
    conv, _ = layers_of("dss_v2")
    lift: Any = SYSTEMS["dss_v2"].lift
    x = random(1, CHANNELS[0], 2 * SIDE, 2 * SIDE)
    whole, smaller = (conv(lift(CHANNELS[0])(image)) for image in (x, halve(x)))
    return max(difference(smaller[level], whole[level + 1]) for level in range(LEVELS - 1))


def deformable_dilates(name: str) -> float:
    layer: Any = layers_of(name)[0]
    reach = KERNEL // 2
    tap = torch.arange(-reach, reach + 1, dtype=torch.float64)
    offsets = torch.stack(torch.meshgrid(tap, tap, indexing="ij"), -1).flatten()
    x = random(1, CHANNELS[0], SIDE, SIDE)
    places = SIDE - KERNEL + 1
    mask = torch.ones(1, layer.taps, places, places, dtype=torch.float64) if layer.modulated else None
    found = layer.convolve(x, offsets[None, :, None, None].expand(1, -1, places, places), mask)
    return difference(found[..., reach:-reach, reach:-reach], F.conv2d(x, layer.weight, layer.bias, dilation=2))


def quarter_turns(name: str) -> float:
    first, later = layers_of(name)
    x = random(1, CHANNELS[0], SIDE, SIDE)

    def answers(x: Tensor) -> Tensor:
        return later(first(x).relu())

    whole = answers(x)
    turned = whole.rot90(1, (-2, -1)).roll(whole.shape[2] // 4, 2)
    return difference(answers(x.rot90(1, (-2, -1))), turned)


def _pooled(mode: str) -> Identity:
    words = (
        "an image enlarged 3 times answers at side 21 as the image does at side 7, of kernels enlarged by nearest or "
        f"area; bicubic, as here, nearly. With one side, the layer and its {mode} pool are a plain convolution"
    )
    return Identity(words, lambda: max(siconv_enlarged(), siconv_one_side(mode)))


def _coarse(mode: str) -> Identity:
    words = (
        f"reduction: with one side, the layer and its {mode} pool are a plain convolution; no side is 3 times another"
    )
    return Identity(words, lambda: siconv_one_side(mode))


def _of(words: str, error: Callable[[str], float], *names: str) -> dict[str, Identity]:
    return {name: Identity(words, partial(error, name)) for name in names}


IDENTITIES: dict[str, Identity] = {
    "standard": Identity("none of scale; an image moved by whole pixels moves the map", translation),
    **{f"{mode}_pool": _pooled(mode) for mode in ("pixel", "slice", "energy", "energy_abs")},
    **{f"{mode}_pool_coarse": _coarse(mode) for mode in ("pixel", "slice", "energy")},
    **_of(
        "none of scale; a shift of the axis of sides shifts the answer, but no rescaled image makes that shift",
        conv3d_shifted,
        "conv3d",
        "conv3d_coarse",
    ),
    "ensemble": Identity(
        "an image and its half share two of their three levels, and what is said of these", pyramid_shared
    ),
    **_of(
        "reduction: before training, the image is left as it is",
        transformer_begins,
        "spatial_transform",
        "spatial_transform_scale",
    ),
    "xu": Identity(
        "reduction: the column of side 7, through both layers, is a network of plain convolutions. An image enlarged 3 "
        "times answers at side 21 as the image does at side 7, but no side here is 3 times 7",
        lambda: max(xu_own_side(), xu_enlarged()),
    ),
    "kanazawa": Identity("reduction: with the factor 1 alone it is a plain convolution", kanazawa_one_factor),
    "hermite": Identity(
        "an image enlarged twice with zeros between its pixels answers at width 4 with 1/4 of the answer at width 2",
        hermite_stuffed,
    ),
    "disco": Identity(
        "any filter and then every second pixel, after the kernel of scale 2 or before that of scale 1; borders meet",
        disco_shrunk,
    ),
    "learned_scales": Identity(
        "gradients of both widths' parameters are those of finite differences, to the step's precision",
        learned_gradients,
        1e-6,
    ),
    **_of(
        "of every 2^a-th pixel and without the first a levels, level s is level s + a of the whole; up to all borders",
        levels_move,
        "dss",
        "dss_max",
    ),
    "dss_v2": Identity("of an image halved, level s is level s + 1 of the whole", halves_move),
    **_of(
        "as dss, for any offsets, between pixels too",
        levels_move,
        "deformable_dss",
    ),
    **_of(
        "none of scale; offsets of one tap each make it the convolution of dilation 2 (masks of 1, where it has masks)",
        deformable_dilates,
        "deformable",
        "deformable_v2",
    ),
    **_of(
        "none of scale; a quarter turn of the image turns the maps and rolls the axis of turns",
        quarter_turns,
        "c4",
        "c8",
    ),
}


def error_of(name: str) -> float:
    """How far a system is from its identity; the same numbers each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IDENTITIES[name].error()
