"""Deformable convolution, of both versions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.deformable import DeformableConv2d
from tests.layers.scale.golden import FOLDER, golden, weighting

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("name", ["deform_v1_g1", "deform_v1_k5_groups", "deform_v2_g2"])
def test_golden_numbers(name: str) -> None:
    numbers, settings = golden(name)
    layer = DeformableConv2d(
        numbers["x"].shape[1],
        len(numbers["bias"]),
        settings["kernel_size"],
        stride=settings["stride"],
        padding=settings["padding"],
        dilation=settings["dilation"],
        groups=settings["weight_groups"],
        offset_groups=settings["offset_groups"],
        modulated="mask" in numbers,
    ).double()
    layer.load_state_dict({"weight": numbers["weight"], "bias": numbers["bias"]}, strict=False)
    x, offset = numbers["x"].requires_grad_(), numbers["offset"].requires_grad_()
    y = layer.convolve(x, offset, numbers.get("mask"))
    torch.testing.assert_close(y, numbers["y"], **CLOSE)
    (y * weighting(settings, y)).sum().backward()
    torch.testing.assert_close(x.grad, numbers["grad_x"], **CLOSE)
    torch.testing.assert_close(offset.grad, numbers["grad_offset"], **CLOSE)


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 1}, {"padding": 2, "dilation": 2, "stride": 2}, {"groups": 2}, {"offset_groups": 4}],
    ids=str,
)
def test_it_begins_as_a_convolution(options: dict) -> None:
    layer, x = DeformableConv2d(4, 6, 3, **options).double(), torch.randn(2, 4, 9, 8, dtype=torch.float64)
    options = {name: value for name, value in options.items() if name != "offset_groups"}
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, **options), rtol=0, atol=1e-14)


def test_masks_begin_at_one_half() -> None:
    layer, x = DeformableConv2d(2, 3, 3, modulated=True).double(), torch.randn(2, 2, 9, 8, dtype=torch.float64)
    expected = F.conv2d(x, layer.weight / 2, layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-14)
    assert layer.offset.bias is not None
    layer.offset.bias.data[18:] = 50.0
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias), rtol=0, atol=1e-13)


def with_offsets(layer: DeformableConv2d, offsets: list[tuple[float, float]]) -> DeformableConv2d:
    """The same (dy, dx) everywhere, one pair per tap."""
    assert layer.offset.bias is not None
    layer.offset.bias.data[: 2 * layer.taps] = torch.tensor(offsets, dtype=torch.float64).flatten()
    return layer


@pytest.mark.parametrize("r", [2, 3])
def test_offsets_can_make_it_a_dilated_convolution(r: int) -> None:
    """So it can follow any whole change of scale."""
    x = torch.randn(2, 2, 12, 11, dtype=torch.float64)
    taps = [((r - 1.0) * i, (r - 1.0) * j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    layer = with_offsets(DeformableConv2d(2, 3, 3, padding=1).double(), taps)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=r, dilation=r)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-13)


def test_one_whole_offset_moves_the_image() -> None:
    """First down, then to the right: (2, 1) reads two rows lower and one column to the right."""
    x = torch.randn(1, 1, 10, 9, dtype=torch.float64)
    layer = with_offsets(DeformableConv2d(1, 1, 3).double(), [(2.0, 1.0)] * 9)
    plain = F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x)[..., :-2, :-1], plain[..., 2:, 1:], rtol=0, atol=1e-13)


def test_half_an_offset_reads_between_pixels() -> None:
    x = torch.randn(1, 1, 10, 9, dtype=torch.float64)
    layer = with_offsets(DeformableConv2d(1, 1, 3).double(), [(0.5, 0.0)] * 9)
    plain = F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x)[..., :-1, :], (plain[..., :-1, :] + plain[..., 1:, :]) / 2, rtol=0, atol=1e-13)


def test_gradients_are_right_through_the_offsets() -> None:
    torch.manual_seed(0)
    layer = DeformableConv2d(2, 1, 3, modulated=True, padding=1).double()
    nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    layer(x).sum().backward()
    assert layer.offset.weight.grad is not None and layer.offset.weight.grad.abs().min() > 0


def test_the_number_of_parameters_of_the_published_network() -> None:
    """Of version two; that of version one is published without some of the biases."""
    net = nn.ModuleList([nn.Conv2d(1, 8, 3, bias=False), nn.Conv2d(8, 20, 3), nn.Linear(256, 10)])
    net.extend([DeformableConv2d(i, o, 3, offset_groups=10, modulated=True) for i, o in ((20, 40), (40, 64))])
    net.extend([nn.BatchNorm2d(width) for width in (8, 20, 40, 64)])
    with np.load(FOLDER / "seed003_param_counts.npz") as file:
        counts = dict(zip(file["models"].tolist(), file["counts"].tolist(), strict=True))
    assert sum(parameter.numel() for parameter in net.parameters()) == counts["deformable v2 G=10"]


@pytest.mark.parametrize("modulated", [False, True])
def test_the_loss_falls_and_the_offsets_move(modulated: bool) -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1] = F.avg_pool2d(images[labels == 1], 3, 1, 1)
    layer, head = DeformableConv2d(1, 8, 3, modulated=modulated), nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], 0.03)
    losses = []
    for _ in range(20):
        losses.append(F.cross_entropy(head(layer(images).relu().amax((2, 3))), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0] and layer.offset.weight.abs().max() > 0


@pytest.mark.parametrize("modulated", [False, True])
def test_compile_export_autocast_and_copies(modulated: bool) -> None:
    layer, x = DeformableConv2d(2, 3, 3, modulated=modulated), torch.rand(2, 2, 10, 9)
    nn.init.normal_(layer.offset.weight, std=0.1)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
        again = layer(torch.cat([rough, rough[:, :1]], 1)[:, :2])
    assert rough.dtype == again.dtype == torch.bfloat16 and (rough - layer(x)).abs().max() < 0.05
    assert copy.deepcopy(layer).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="kernel_size is 2; expected an odd number"):
        DeformableConv2d(1, 1, 2)
    with pytest.raises(ValueError, match="offset_groups is 0"):
        DeformableConv2d(2, 1, 3, offset_groups=0)
    with pytest.raises(ValueError, match="offset_groups is 3; expected a divisor of the 4 in_channels"):
        DeformableConv2d(4, 1, 3, offset_groups=3)
    layer = DeformableConv2d(2, 1, 5, padding=1, dilation=2)
    with pytest.raises(ValueError, match="DeformableConv2d got a lifted tensor"):
        layer(torch.rand(1, 2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"DeformableConv2d got 3 channels.*expected 2"):
        layer(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"got 6 x 9.*expected at least 7 pixels a side, for its kernel spans 9"):
        layer(torch.rand(1, 2, 6, 9))
    assert layer(torch.rand(1, 2, 7, 7)).shape == (1, 1, 1, 1)


def test_the_given_tensor_is_left_as_it_was() -> None:
    x: Tensor = torch.rand(1, 2, 8, 8)
    before = x.clone()
    DeformableConv2d(2, 1, 3)(x)
    assert torch.equal(x, before)
