"""The pyramid and its ensemble."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layers.scale.pool import GlobalMax
from layers.scale.pyramid import PyramidEnsemble, halved, pyramid
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools, fall_of_loss


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), GlobalMax(), nn.Linear(8, 2))


def test_published_numbers() -> None:
    numbers, settings = golden("pyramid_24")
    levels = pyramid(numbers["x"], settings["max_level"])
    assert len(levels) == 3
    for index, level in enumerate(levels):
        torch.testing.assert_close(level, numbers[f"level_{index}"], rtol=1e-10, atol=1e-14)


def test_one_level_is_the_bare_net() -> None:
    base, x = net(), torch.randn(2, 1, 8, 8)
    assert torch.equal(PyramidEnsemble(base, 1)(x), base(x))
    assert pyramid(x, 1)[0] is x


def test_the_levels_of_a_level_are_the_levels_after_it() -> None:
    x = torch.randn(1, 2, 30, 25, dtype=torch.float64)
    for here, there in zip(pyramid(x, 4)[1:], pyramid(halved(x), 3), strict=True):
        assert torch.equal(here, there)
    assert [tuple(level.shape[-2:]) for level in pyramid(x, 4)] == [(30, 25), (15, 12), (7, 6), (3, 3)]


def test_logits_are_the_mean_over_levels() -> None:
    base, x = net().double(), torch.randn(2, 1, 16, 12, dtype=torch.float64)
    ensemble = PyramidEnsemble(base)
    torch.testing.assert_close(ensemble(x), sum(base(level) for level in pyramid(x, 3)) / 3)
    assert ensemble.levels == 3 and sum(1 for _ in ensemble.parameters()) == sum(1 for _ in base.parameters())


def test_even_sizes_are_halved_symmetrically_and_grey_stays_grey() -> None:
    x = torch.randn(1, 1, 12, 8, dtype=torch.float64)
    for axes in ([-1], [-2]):
        torch.testing.assert_close(halved(x.flip(axes)), halved(x).flip(axes))
    torch.testing.assert_close(halved(x.mT), halved(x).mT)
    torch.testing.assert_close(halved(torch.full((1, 1, 9, 6), 0.3)), torch.full((1, 1, 4, 3), 0.3))


def test_it_learns() -> None:
    torch.manual_seed(0)
    assert fall_of_loss(PyramidEnsemble(net(), 2), side=12) < 0.7


def test_it_bears_the_tools() -> None:
    bears_tools(PyramidEnsemble(net(), 2), torch.randn(2, 1, 9, 8))


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(halved, torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True))


def test_bad_input() -> None:
    assert len(pyramid(torch.zeros(1, 1, 12, 24), 4)) == 4  # 12, 6, 3, 1
    with pytest.raises(ValueError, match="pyramid got 12 x 24 for 5 levels; at most 4 fit"):
        pyramid(torch.zeros(1, 1, 12, 24), 5)
    with pytest.raises(ValueError, match="at most 1 fit"):
        pyramid(torch.zeros(1, 1, 2, 2), 2)
    with pytest.raises(ValueError, match="levels is 0"):
        pyramid(torch.zeros(1, 1, 9, 9), 0)
    with pytest.raises(ValueError, match="levels is 0"):
        PyramidEnsemble(net(), 0)
    with pytest.raises(ValueError, match="pyramid got a lifted tensor"):
        pyramid(torch.zeros(1, 1, 2, 9, 9), 2)
