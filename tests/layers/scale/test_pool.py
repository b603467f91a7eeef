"""ScalePool and GlobalMax."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layers.scale.pool import GlobalMax, ScaleMean, ScalePool
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools, fall_of_loss

MODES = ("pixel", "slice", "energy", "energy_abs")


@pytest.mark.parametrize("mode", MODES[:3])
def test_published_numbers(mode: str) -> None:
    numbers, _ = golden("scalepool_a")
    value, index = ScalePool(mode)(numbers["x"], return_indices=True)
    assert torch.equal(value, numbers[f"y_{mode}"])
    assert torch.equal(index, numbers[f"idx_{mode}"])


def test_published_global_maximum() -> None:
    numbers, _ = golden("scalepool_a")
    assert torch.equal(GlobalMax()(numbers["x"]), numbers["y_globalmax"])
    assert torch.equal(GlobalMax()(numbers["x"][:, :, 0]), numbers["x"][:, :, 0].amax((2, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_one_scale_stays_as_it_is(mode: str) -> None:
    x = torch.randn(2, 3, 1, 4, 5)
    assert torch.equal(ScalePool(mode)(x), x[:, :, 0])


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_scales_does_not_matter(mode: str) -> None:
    x, order = torch.randn(2, 3, 4, 5, 6), torch.tensor([2, 0, 3, 1])
    value, index = ScalePool(mode)(x, return_indices=True)
    permuted, places = ScalePool(mode)(x[:, :, order], return_indices=True)
    assert torch.equal(value, permuted) and torch.equal(index, order[places])


def test_each_mode_takes_the_scale_that_it_says() -> None:
    x = torch.zeros(1, 1, 4, 1, 3)
    x[0, 0, :, 0] = torch.tensor([[5.0, -9, -9], [2, 2, 2], [4, 1, 0.5], [0, 0, 0.0]])
    assert ScalePool("pixel")(x, return_indices=True)[1].tolist() == [[[[0, 1, 1]]]]
    chosen = {mode: ScalePool(mode)(x, return_indices=True)[1].item() for mode in MODES[1:]}
    assert chosen == {"slice": 0, "energy": 1, "energy_abs": 0}
    assert ScalePool("energy")(-x, return_indices=True)[1].item() == 0
    assert ScalePool("energy")(x[:, :, [0, 3]] - 1, return_indices=True)[1].item() == 1  # the emptiest map


def test_pixel_is_at_least_slice_and_shares_its_maxima() -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    pixel, of_slice = ScalePool("pixel")(x), ScalePool("slice")(x)
    assert (pixel >= of_slice).all() and torch.equal(pixel.amax((2, 3)), of_slice.amax((2, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_reaches_the_winner_alone(mode: str) -> None:
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    value, index = ScalePool(mode)(x, return_indices=True)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert gradient.sum() == value.numel()
    won = index if mode == "pixel" else index[:, :, None, None]
    assert torch.equal(gradient.argmax(2), won.expand(2, 3, 5, 6))


@pytest.mark.parametrize("mode", MODES)
def test_it_learns(mode: str) -> None:
    torch.manual_seed(0)
    lift = nn.Sequential(nn.Conv2d(1, 8, 5), nn.Unflatten(1, (4, 2)))
    assert fall_of_loss(nn.Sequential(lift, ScalePool(mode), GlobalMax(), nn.Linear(4, 2))) < 0.7


@pytest.mark.parametrize("mode", MODES)
def test_it_bears_the_tools(mode: str) -> None:
    lift = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Unflatten(1, (4, 2)))
    bears_tools(nn.Sequential(lift, ScalePool(mode), GlobalMax()), torch.randn(2, 1, 5, 6))


def test_the_mean_over_scales() -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    torch.testing.assert_close(ScaleMean()(x), sum(x.unbind(2)) / 4)
    assert torch.equal(ScaleMean()(x[:, :, :1]), x[:, :, 0])
    bears_tools(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Unflatten(1, (4, 2)), ScaleMean()), torch.randn(2, 1, 5, 6))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="mode is 'mean'; expected one of pixel, slice, energy, energy_abs"):
        ScalePool("mean")
    with pytest.raises(ValueError, match="ScalePool got a plain tensor"):
        ScalePool()(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"ScalePool got .*without a scale"):
        ScalePool("slice")(torch.zeros(1, 1, 0, 4, 4))
    with pytest.raises(ValueError, match="ScaleMean got a plain tensor"):
        ScaleMean()(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="GlobalMax got"):
        GlobalMax()(torch.zeros(1, 1))
