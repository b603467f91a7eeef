"""Convolutions over turns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.pool import GlobalMax
from layers.scale.rotations import RotationConv, RotationLifting, turning_matrices
from tests.layers.scale.trials import bears_tools, fall_of_loss


def quarter(x: Tensor) -> Tensor:
    return torch.rot90(x, 1, (-2, -1))


@pytest.mark.parametrize("side", [1, 3, 4, 7])
def test_quarter_turns_are_those_of_the_grid_in_both_orders(side: int) -> None:
    kernel = torch.randn(side, side, dtype=torch.float64)
    for order in (4, 8):
        for index, matrix in enumerate(turning_matrices(side, order)[:: order // 4]):
            assert torch.equal((matrix @ kernel.flatten()).reshape(side, side), torch.rot90(kernel, index))


def test_an_eighth_turn_goes_the_way_of_the_quarter_and_is_bilinear() -> None:
    eighth = turning_matrices(5, 8)[1]
    right = torch.zeros(5, 5, dtype=torch.float64)
    right[2, 4] = 1
    turned = (eighth @ right.flatten()).reshape(5, 5)
    assert turned.argmax() == 0 * 5 + 4 or turned.argmax() == 1 * 5 + 3  # from the right to the upper right
    row, column = torch.meshgrid(*[torch.arange(-2.0, 3).double()] * 2, indexing="ij")
    inside = row.square() + column.square() <= 4  # a plane is turned exactly where the corners do not matter
    plane = (eighth @ column.flatten()).reshape(5, 5)
    torch.testing.assert_close(plane[inside], ((column - row) / 2**0.5)[inside])


@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_an_eighth_turn_is_about_the_middle_and_commutes_with_quarters(side: int) -> None:
    eighth = turning_matrices(side, 8)[1]
    kernel = torch.randn(side, side, dtype=torch.float64)
    turned = (eighth @ torch.rot90(kernel).flatten()).reshape(side, side)
    torch.testing.assert_close(turned, torch.rot90((eighth @ kernel.flatten()).reshape(side, side)))


@pytest.mark.parametrize("order", [4, 8])
@pytest.mark.parametrize("kernel", [3, 4])
def test_turning_the_image_turns_the_maps_and_rolls_the_axis(order: int, kernel: int) -> None:
    lift = RotationLifting(2, 3, kernel, order=order, padding=1).double()
    group = RotationConv(3, 4, kernel, order=order, padding=1).double()
    x = torch.randn(2, 2, 8, 7, dtype=torch.float64)
    for net in (lift, nn.Sequential(lift, nn.ReLU(), group)):
        expected = quarter(net(x)).roll(order // 4, 2)
        torch.testing.assert_close(net(quarter(x)), expected, rtol=0, atol=1e-12)
    top = nn.Sequential(lift, nn.ReLU(), group, GlobalMax())
    torch.testing.assert_close(top(quarter(x)), top(x), rtol=0, atol=1e-12)


def test_eighth_turns_are_nearly_kept_for_smooth_kernels() -> None:
    """Of a smooth kernel inside the circle, the eighth turn twice is the quarter turn within a fifth or so."""
    row, column = torch.meshgrid(*[torch.arange(-4.0, 5).double()] * 2, indexing="ij")
    kernel = (column * torch.exp(-(row**2 + column**2) / 4)).flatten()
    eighth = turning_matrices(9, 8)[1]
    twice, exact = eighth @ (eighth @ kernel), torch.rot90(kernel.reshape(9, 9)).flatten()
    assert (twice - exact).norm() < 0.25 * exact.norm()
    assert (eighth @ kernel - exact).norm() > 0.5 * exact.norm()


@pytest.mark.parametrize("order", [4, 8])
def test_the_turn_zero_is_a_plain_convolution(order: int) -> None:
    lift, x = RotationLifting(2, 3, 3, order=order, padding=1), torch.randn(2, 2, 6, 5)
    expected = F.conv2d(x, lift.weight, lift.bias, padding=1)
    torch.testing.assert_close(lift(x)[:, :, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [4, 8])
def test_the_group_layer_is_the_double_sum_over_turns(order: int) -> None:
    layer = RotationConv(2, 3, 3, order=order).double()
    x = torch.randn(1, 2, order, 6, 5, dtype=torch.float64)
    turns = turning_matrices(3, order)
    for r in range(order):
        kernels = [
            (layer.weight[:, :, (h - r) % order].flatten(2) @ turns[r].T).unflatten(-1, (3, 3)) for h in range(order)
        ]
        expected = sum(F.conv2d(x[:, :, h], kernel) for h, kernel in enumerate(kernels))
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(layer(x)[:, :, r], expected + layer.bias[:, None, None], rtol=0, atol=1e-12)


def test_parameters() -> None:
    assert sum(p.numel() for p in RotationLifting(2, 3, 5, order=8).parameters()) == 3 * 2 * 25 + 3
    assert sum(p.numel() for p in RotationConv(2, 3, 5, order=8, bias=False).parameters()) == 3 * 2 * 8 * 25
    assert RotationConv(4, 64, 5, order=4).weight.abs().max() <= 1 / 20
    assert set(RotationConv(2, 3, 5).state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("order", [4, 8])
def test_it_learns(order: int) -> None:
    torch.manual_seed(0)
    lift, group = RotationLifting(1, 4, 3, order=order), RotationConv(4, 8, 3, order=order)
    assert fall_of_loss(nn.Sequential(lift, nn.ReLU(), group, GlobalMax(), nn.Linear(8, 2))) < 0.7


@pytest.mark.parametrize("order", [4, 8])
def test_it_bears_the_tools(order: int) -> None:
    bears_tools(RotationLifting(2, 3, 3, order=order), torch.randn(2, 2, 7, 6))
    bears_tools(RotationConv(2, 3, 3, order=order), torch.randn(2, 2, order, 7, 6))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="order is 6; expected 4 or 8"):
        RotationLifting(1, 1, 3, order=6)
    with pytest.raises(ValueError, match="kernel_size is 0"):
        RotationConv(1, 1, 0)
    with pytest.raises(ValueError, match="RotationLifting got a lifted tensor"):
        RotationLifting(1, 1, 3)(torch.zeros(1, 1, 4, 9, 9))
    with pytest.raises(ValueError, match=r"RotationLifting got 2 channels.* expected 1"):
        RotationLifting(1, 1, 3)(torch.zeros(1, 2, 9, 9))
    with pytest.raises(ValueError, match="RotationConv got a plain tensor"):
        RotationConv(1, 1, 3)(torch.zeros(1, 1, 9, 9))
    with pytest.raises(ValueError, match=r"RotationConv got 3 turns.* expected 4"):
        RotationConv(1, 1, 3)(torch.zeros(1, 1, 3, 9, 9))
    with pytest.raises(ValueError, match=r"RotationConv got 2 channels.* expected 1"):
        RotationConv(1, 1, 3)(torch.zeros(1, 2, 4, 9, 9))
