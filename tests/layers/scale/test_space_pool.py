"""Pooling of lifted maps over space."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.pool import ScaleMean
from layers.scale.space_pool import SpacePool2d


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(("base", "size", "a"), [(2, 2, 1), (2, 2, 2), (3, 2, 1), (2, 3, 1)])
def test_dilated_pooling_keeps_the_equivariance_exactly(kind: str, base: int, size: int, a: int) -> None:
    torch.manual_seed(0)
    side = size * base**a * 4
    x, step = -torch.rand(2, 3, 4, side, 2 * side, dtype=torch.float64) - 1, base**a
    pool = SpacePool2d(size, kind, base=base)
    assert torch.equal(pool(x[:, :, a:, ::step, ::step]), pool(x)[:, :, a:, ::step, ::step])
    plain = SpacePool2d(size, kind, dilated=False)
    assert (plain(x[:, :, a:, ::step, ::step]) - plain(x)[:, :, a:, ::step, ::step]).abs().max() > 0.1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_level_and_undilated_are_ordinary_pooling(size: int) -> None:
    x = torch.randn(2, 3, 4, 11, 13, dtype=torch.float64)
    for kind, ordinary in (("max", F.max_pool2d), ("avg", F.avg_pool2d)):
        expected = torch.stack([ordinary(level, size) for level in x.unbind(2)], 2)
        torch.testing.assert_close(SpacePool2d(size, kind, dilated=False)(x), expected, rtol=0, atol=1e-15)
        torch.testing.assert_close(SpacePool2d(size, kind)(x[:, :, :1]), expected[:, :, :1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("base", [2, 3])
def test_against_a_loop_over_places(size: int, base: int) -> None:
    x = torch.randn(1, 1, 3, 7, 9, dtype=torch.float64)
    largest, mean = SpacePool2d(size, base=base)(x), SpacePool2d(size, "avg", base=base)(x)
    assert largest.shape == mean.shape == (1, 1, 3, 7 // size, 9 // size)
    for s in range(3):
        for i in range(7 // size):
            for j in range(9 // size):
                seen = [(size * i + base**s * u, size * j + base**s * v) for u in range(size) for v in range(size)]
                values = [x[0, 0, s, u, v] for u, v in seen if u < 7 and v < 9]
                assert largest[0, 0, s, i, j] == max(values)
                assert mean[0, 0, s, i, j].item() == pytest.approx(sum(values).item() / size**2, abs=1e-12)


@pytest.mark.parametrize("dilated", [False, True])
def test_indices_lead_to_the_values(dilated: bool) -> None:
    x = torch.randn(2, 3, 3, 11, 9)
    value, indices = SpacePool2d(dilated=dilated)(x, return_indices=True)
    assert torch.equal(x.flatten(3).gather(3, indices.flatten(3)).view_as(value), value)
    assert torch.equal(value, SpacePool2d(dilated=dilated)(x))


@pytest.mark.parametrize("layer", [SpacePool2d(), SpacePool2d(kind="avg")])
def test_gradients(layer: nn.Module) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize("layer", [SpacePool2d(), SpacePool2d(kind="avg")])
def test_compile_export_autocast_and_copies(layer: nn.Module) -> None:
    x = torch.rand(2, 1, 3, 8, 9)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert (layer(x.bfloat16()) - layer(x)).abs().max() < 0.01


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    maps, labels = torch.rand(64, 2, 2, 8, 8), torch.arange(64) % 2
    maps[labels == 1, 0] *= 0.4
    head = nn.Linear(2, 2)
    net = nn.Sequential(SpacePool2d(kind="avg"), ScaleMean(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), head)
    optimizer = torch.optim.Adam(head.parameters(), 0.3)
    losses = []
    for _ in range(20):
        losses.append(F.cross_entropy(net(maps), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="size is 0; expected a whole number"):
        SpacePool2d(0)
    with pytest.raises(ValueError, match="kind is 'sum'; expected 'max' or 'avg'"):
        SpacePool2d(kind="sum")
    with pytest.raises(ValueError, match=r"base is 0.5; expected a number above 1"):
        SpacePool2d(base=0.5)
    with pytest.warns(UserWarning, match="are 1, 1, 2, 3, and"):
        SpacePool2d(base=1.5)
    with pytest.raises(ValueError, match="SpacePool2d got a plain tensor"):
        SpacePool2d()(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"SpacePool2d got 2 x 8.*expected at least 3 x 3"):
        SpacePool2d(3)(torch.rand(1, 1, 2, 2, 8))
    with pytest.raises(ValueError, match="an average has no winner"):
        SpacePool2d(kind="avg")(torch.rand(1, 1, 2, 8, 8), return_indices=True)
