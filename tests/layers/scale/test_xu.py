"""XuConv2d: columns of one kernel at many sides."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.pool import GlobalMax
from layers.scale.xu import XuConv2d, column_kernels, convolve_columns, rounded_sides
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools, fall_of_loss

FILES = {"sesn_clean": 3, "sesn_mnist_factors": 4, "stir_published_faulty": 5}


@pytest.mark.parametrize("file", FILES)
def test_published_assembly_of_given_kernels(file: str) -> None:
    numbers, _ = golden(f"xu_{file}")
    columns, padding = FILES[file], numbers["kernels1"].shape[-1] // 2
    first = convolve_columns(numbers["x"], numbers["kernels1"], columns, padding=padding)
    second = convolve_columns(first.relu(), numbers["kernels2"], columns, padding=padding)
    for y, name in ((first, "y1"), (second, "y2")):
        torch.testing.assert_close(y.transpose(1, 2).flatten(1, 2), numbers[name], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(second.amax(2), numbers["y_pooled"], rtol=1e-10, atol=1e-12)


def test_published_kernels_and_maps_where_their_geometry_is_clean() -> None:
    numbers, settings = golden("xu_sesn_clean")
    layers = []
    for index, lifted in ((1, False), (2, True)):
        weight = numbers[f"weight{index}"]
        layer = XuConv2d(
            *(weight.shape[1], weight.shape[0], 3), factors=settings["factors"], lifted=lifted, padding=4, bias=False
        ).double()
        layer.load_state_dict({"weight": weight})
        kernels = column_kernels(layer.weight, layer.sides)
        torch.testing.assert_close(kernels, numbers[f"kernels{index}"], rtol=1e-10, atol=1e-13)
        layers.append(layer)
    pooled = layers[1](layers[0](numbers["x"]).relu()).amax(2)
    torch.testing.assert_close(pooled, numbers["y_pooled"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_one_column_is_a_plain_convolution(bias: bool) -> None:
    first, later = (XuConv2d(2, 3, 5, sides=[5], padding=2, lifted=x, bias=bias).double() for x in (False, True))
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    assert sum(p.numel() for p in first.parameters()) == sum(
        p.numel() for p in nn.Conv2d(2, 3, 5, bias=bias).parameters()
    )
    for layer, given in ((first, x), (later, x[:, :, None])):
        expected = F.conv2d(x, layer.weight, layer.bias, padding=2)
        torch.testing.assert_close(layer(given)[:, :, 0], expected, rtol=0, atol=1e-13)


def test_every_filter_keeps_its_l1_norm_and_its_middle() -> None:
    weight, sides = torch.randn(3, 2, 5, 5, dtype=torch.float64), (1, 3, 5, 7, 11, 15)
    kernels = column_kernels(weight, sides)
    assert kernels.shape == (18, 2, 15, 15)
    expected = weight.abs().sum((2, 3)).repeat(6, 1)
    torch.testing.assert_close(kernels.abs().sum((2, 3)), expected)
    for side, kernel in zip(sides, kernels.unflatten(0, (6, 3)), strict=True):
        rim = (15 - side) // 2
        assert kernel[..., rim : 15 - rim, rim : 15 - rim].ne(0).all()
        assert kernel.ne(0).sum() == 6 * side**2
    torch.testing.assert_close(column_kernels(weight.flip(-1), sides), kernels.flip(-1))


def test_shrinking_keeps_corners_and_enlarging_repeats_taps() -> None:
    weight = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    small, own, large = column_kernels(weight, (3, 5, 15)).unflatten(0, (3, 3))
    rescaled = (
        weight[..., ::2, ::2]
        * (weight[..., ::2, ::2].abs().sum((2, 3)) / weight.abs().sum((2, 3)))[..., None, None] ** -1
    )
    torch.testing.assert_close(small[..., 6:9, 6:9], rescaled)
    torch.testing.assert_close(own[..., 5:10, 5:10], weight)
    torch.testing.assert_close(large, weight.repeat_interleave(3, 2).repeat_interleave(3, 3) / 9)


def test_an_enlarged_image_answers_in_the_enlarged_column() -> None:
    layer = XuConv2d(1, 2, 3, sides=(3, 9), bias=False).double()
    x = torch.randn(1, 1, 7, 6, dtype=torch.float64)
    big = layer(x.repeat_interleave(3, 2).repeat_interleave(3, 3))[:, :, 1, ::3, ::3]
    # Kept is the L1 norm, and each pixel counts nine times in the image and in the norm of nine equal taps.
    torch.testing.assert_close(big, F.conv2d(x, layer.weight), rtol=0, atol=1e-13)


def test_columns_do_not_mix_and_follow_their_sides() -> None:
    x = torch.randn(2, 2, 3, 8, 9, dtype=torch.float64)
    layer = XuConv2d(2, 4, 3, sides=(1, 3, 5), padding=2, lifted=True).double()
    turned = XuConv2d(2, 4, 3, sides=(5, 1, 3), padding=2, lifted=True).double()
    turned.load_state_dict(layer.state_dict())
    torch.testing.assert_close(turned(x[:, :, [2, 0, 1]]), layer(x)[:, :, [2, 0, 1]])
    without = x.clone()
    without[:, :, 1] = 0
    assert torch.equal(layer(without)[:, :, [0, 2]], layer(x)[:, :, [0, 2]])
    assert not torch.equal(layer(without)[:, :, 1], layer(x)[:, :, 1])


def test_a_filter_of_zeros_stays_one() -> None:
    weight = torch.zeros(1, 1, 5, 5, requires_grad=True)
    kernels = column_kernels(weight, (3, 5, 7))
    kernels.square().sum().backward()
    assert not kernels.any() and weight.grad is not None and weight.grad.isfinite().all()


def test_it_learns() -> None:
    torch.manual_seed(0)
    first = XuConv2d(1, 6, 3, sides=(3, 5, 7), padding=3)
    later = XuConv2d(6, 8, 3, sides=(3, 5, 7), padding=3, lifted=True)
    assert fall_of_loss(nn.Sequential(first, nn.ReLU(), later, GlobalMax(), nn.Linear(8, 2))) < 0.7


@pytest.mark.parametrize("lifted", [False, True])
def test_it_bears_the_tools(lifted: bool) -> None:
    x = torch.randn(2, 2, *[3] * lifted, 9, 8)
    bears_tools(XuConv2d(2, 3, 5, sides=(1, 3, 7), padding=3, lifted=lifted), x)


def test_gradients_are_those_of_finite_differences() -> None:
    weight = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: column_kernels(w, (3, 5, 7)), weight)


def test_factors_round_to_odd_sides() -> None:
    assert rounded_sides(7, [0.3, 0.67, 1, 1.49, 2.23]) == (3, 5, 7, 11, 15)
    assert XuConv2d(1, 1, 5, factors=[0.45, 1, 1.49]).sides == (3, 5, 7)
    with pytest.raises(ValueError, match=r"kernel of 7 round to the sides \[3, 3, 7\]"):
        rounded_sides(7, [0.3, 0.45, 1])
    for factors in ([], [1, 0], [-1]):
        with pytest.raises(ValueError, match=r"factors is .* each above 0"):
            rounded_sides(7, factors)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("kernel_size is 4; expected an odd", {"kernel_size": 4, "sides": (3, 5)}),
        ("sides is None and factors is None", {}),
        ("expected one of the two", {"sides": (3, 5), "factors": (1, 2)}),
        ("at least one, and none twice", {"sides": ()}),
        ("at least one, and none twice", {"sides": (3, 3)}),
        ("a side is 4; expected an odd", {"sides": (3, 4)}),
        ("factors is \\[\\]", {"factors": ()}),
    ],
)
def test_bad_arguments(message: str, arguments: dict) -> None:
    with pytest.raises(ValueError, match=message):
        XuConv2d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 3, **arguments})


def test_bad_input() -> None:
    first, later = XuConv2d(2, 1, 3, sides=(3, 9), padding=1), XuConv2d(2, 1, 3, sides=(3, 9), lifted=True)
    with pytest.raises(ValueError, match="XuConv2d got a lifted tensor"):
        first(torch.zeros(1, 2, 2, 9, 9))
    with pytest.raises(ValueError, match="XuConv2d got a plain tensor"):
        later(torch.zeros(1, 2, 9, 9))
    with pytest.raises(ValueError, match=r"got 3 scales.* expected the 2"):
        later(torch.zeros(1, 2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"XuConv2d got 4 channels.* expected 2"):
        later(torch.zeros(1, 4, 2, 9, 9))
    with pytest.raises(ValueError, match="got 6 x 9 with padding of 1 for kernels of 9; take padding of 4"):
        first(torch.zeros(1, 2, 6, 9))
