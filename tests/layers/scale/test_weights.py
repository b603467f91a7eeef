"""Where weights begin: as those of PyTorch's convolutions, by how many of them make one output."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from layers.scale.hermite import Family, Hermite
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.mixing import ScaleConv1x1
from layers.scale.rotations import RotationConv, RotationLifting
from layers.scale.siconv import SiConv2d
from layers.scale.steerable import LiftingConv2d, ScaleConv2d
from layers.scale.weights import uniform_
from layers.scale.xu import XuConv2d

BASIS = Hermite(kernel_size=5, sigmas=(1.0,), family=Family(kind="A", effective_size=3))
WIDE = {  # a layer, and how many weights make one output of it
    "lifting": (lambda: LiftingConv2d(32, 64, BASIS), 32 * 9),
    "later": (lambda: ScaleConv2d(16, 64, BASIS, interaction=2), 16 * 2 * 9),
    "one": (lambda: ScaleConv1x1(64, 128, interaction=2), 64 * 2),
    "siconv": (lambda: SiConv2d(32, 64, 3, 2), 32 * 9),
    "kanazawa": (lambda: KanazawaConv2d(32, 64, 3, (1, 2)), 32 * 9),
    "xu": (lambda: XuConv2d(32, 64, 3, sides=(3, 5)), 32 * 9),
    "turns": (lambda: RotationLifting(32, 64, 3), 32 * 9),
    "turns of turns": (lambda: RotationConv(16, 64, 3), 16 * 4 * 9),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_layers(name: str) -> None:
    torch.manual_seed(0)
    make, fan_in = WIDE[name]
    layer, bound = make(), 1 / math.sqrt(fan_in)
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert 0.99 * bound < layer.weight.abs().max() <= bound and abs(layer.weight.mean()) < 0.03 * bound
    if name in ("lifting", "later", "one"):
        assert not layer.bias.any()
    else:
        assert 0.8 * bound < layer.bias.abs().max() <= bound


def test_it_is_that_of_a_convolution() -> None:
    torch.manual_seed(0)
    plain, ours = nn.Conv2d(64, 64, 3), torch.empty(64, 64, 3, 3)
    uniform_([ours], 64 * 9)
    assert ours.abs().max().item() == pytest.approx(plain.weight.abs().max().item(), rel=1e-3)
