"""Deformable scale correlation on the lattices of the levels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.correlation import ScaleCorrelation
from layers.scale.deformable_scale import DeformableScaleCorrelation, interleaved, polyphase
from tests.layers.scale.trials import bears_tools


def test_polyphase_takes_every_dth_pixel_and_interleaved_puts_them_back() -> None:
    x = torch.randn(2, 3, 8, 12)
    parts = polyphase(x, 4)
    assert parts.shape == (32, 3, 2, 3)
    assert torch.equal(parts[16 + 4 * 1 + 2], x[1, :, 1::4, 2::4])
    assert torch.equal(interleaved(parts, 4), x)
    assert torch.equal(polyphase(x, (2, 3))[3 + 2], x[0, :, 1::2, 2::3])
    assert torch.equal(interleaved(polyphase(x, (2, 3)), (2, 3)), x)
    assert torch.equal(polyphase(x, 1), x)


def test_a_convolution_of_the_parts_is_a_dilated_one() -> None:
    x, weight = torch.randn(2, 3, 9, 12, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    found = interleaved(F.conv2d(polyphase(x, 3), weight, padding=1), 3)
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=3, dilation=3), rtol=0, atol=1e-13)


def moved_layer(**options) -> DeformableScaleCorrelation:
    """One whose offsets are real numbers of about a step."""
    torch.manual_seed(0)
    layer = DeformableScaleCorrelation(2, 3, 3, **options).double()
    nn.init.normal_(layer.offset.weight, std=0.3)
    assert layer.offset.bias is not None
    nn.init.normal_(layer.offset.bias)
    return layer


@pytest.mark.parametrize("options", [{}, {"modulated": True}, {"offset_groups": 2}, {"base": 3}], ids=str)
@pytest.mark.parametrize("size", [(16, 24), (18, 9), (13, 11)])
def test_shrinking_moves_the_levels_exactly_for_any_offsets(options: dict, size: tuple[int, int]) -> None:
    layer = moved_layer(**options)
    x = torch.randn(2, 2, 4, *size, dtype=torch.float64)
    for a in (1, 2):
        step = layer.base**a
        small, whole = layer(x[:, :, a:, ::step, ::step]), layer(x)[:, :, a:, ::step, ::step]
        torch.testing.assert_close(small, whole, rtol=0, atol=1e-13)


def test_offsets_between_pixels_would_break_it() -> None:
    """The naive version: dilation 2^s, and offsets of 2^s pixels, read between neighbouring pixels."""
    layer = moved_layer()
    x = torch.randn(1, 2, 2, 16, 16, dtype=torch.float64)
    offset = F.conv2d(x[:, :, 1], layer.offset.weight, layer.offset.bias, padding=2, dilation=2)
    layer.dilation, layer.padding = (2, 2), (2, 2)
    naive = layer.convolve(x[:, :, 1], 2 * offset)[..., ::2, ::2]
    layer.dilation, layer.padding = (1, 1), (1, 1)
    exact = layer(x[:, :, 1:, ::2, ::2])[:, :, 0]
    assert (naive - exact).norm() > 0.5 * exact.norm()


@pytest.mark.parametrize(("base", "kernel"), [(2, 3), (3, 3), (2, 5)])
@pytest.mark.parametrize("size", [(16, 16), (5, 14)])
def test_without_offsets_it_is_the_scale_correlation(base: int, kernel: int, size: tuple[int, int]) -> None:
    layer, plain = (made(2, 3, kernel, base=base).double() for made in (DeformableScaleCorrelation, ScaleCorrelation))
    layer.load_state_dict({"weight": plain.weight[:, :, 0], "bias": plain.bias}, strict=False)
    x = torch.randn(2, 2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-13)


def test_one_level_is_a_convolution() -> None:
    layer, x = DeformableScaleCorrelation(2, 3, 3).double(), torch.randn(2, 2, 1, 9, 8, dtype=torch.float64)
    expected = F.conv2d(x[:, :, 0], layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x)[:, :, 0], expected, rtol=0, atol=1e-14)


def test_the_weights_serve_all_levels() -> None:
    few, many = DeformableScaleCorrelation(2, 3, 3, levels=1), DeformableScaleCorrelation(2, 3, 3, levels=8)
    assert {name: p.shape for name, p in few.named_parameters()} == {
        name: p.shape for name, p in many.named_parameters()
    }
    layer, x = moved_layer(), torch.randn(1, 2, 3, 8, 8, dtype=torch.float64)
    for s in range(3):
        found = torch.autograd.grad(layer(x)[:, :, s].sum(), [layer.weight, layer.offset.weight])
        assert all(gradient.abs().max() > 0 for gradient in found)


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    layer = DeformableScaleCorrelation(1, 1, 3).double()
    nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(1, 1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


def test_the_loss_falls_and_the_offsets_move() -> None:
    torch.manual_seed(0)
    maps, labels = torch.rand(64, 1, 2, 8, 8), torch.arange(64) % 2
    maps[labels == 1] = F.avg_pool3d(maps[labels == 1], (1, 3, 3), 1, (0, 1, 1))
    layer, head = DeformableScaleCorrelation(1, 8, 3), nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], 0.03)
    losses = []
    for _ in range(20):
        losses.append(F.cross_entropy(head(layer(maps).relu().amax((2, 3, 4))), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0] and layer.offset.weight.abs().max() > 0


def test_it_bears_the_tools() -> None:
    bears_tools(moved_layer().float(), torch.rand(2, 2, 3, 10, 9))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="polyphase got 8 x 9; expected multiples of 2 and 2"):
        polyphase(torch.rand(1, 1, 8, 9), 2)
    with pytest.raises(ValueError, match="interleaved got 6 images; expected a multiple of 4"):
        interleaved(torch.rand(6, 1, 2, 2), 2)
    for base in (1, 1.5, float("inf")):
        with pytest.raises(ValueError, match=f"base is {base}; expected a whole number of at least 2"):
            DeformableScaleCorrelation(1, 1, 3, base=base)
    with pytest.raises(ValueError, match="levels is 0"):
        DeformableScaleCorrelation(1, 1, 3, levels=0)
    with pytest.raises(ValueError, match="kernel_size is 4"):
        DeformableScaleCorrelation(1, 1, 4)
    layer = DeformableScaleCorrelation(2, 1, 3, levels=3)
    with pytest.raises(ValueError, match="DeformableScaleCorrelation got a plain tensor"):
        layer(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="DeformableScaleCorrelation got 2 scales"):
        layer(torch.rand(1, 2, 2, 8, 8))
    with pytest.raises(ValueError, match=r"DeformableScaleCorrelation got 1 channels.*expected 2"):
        layer(torch.rand(1, 1, 3, 8, 8))
