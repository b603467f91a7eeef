"""KanazawaConv2d: one kernel, the image at many sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.kanazawa import KanazawaConv2d, rescaled, scaled_size
from layers.scale.pool import GlobalMax
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools, fall_of_loss


@pytest.mark.parametrize("file", ["stir", "stir_rect"])
def test_published_numbers(file: str) -> None:
    numbers, settings = golden(f"kanazawa_{file}")
    names = ("in_channels", "out_channels", "kernel_size", "scales")
    layer = KanazawaConv2d(*(settings[name] for name in names)).double()
    layer.load_state_dict({"weight": numbers["weight"], "bias": numbers["bias"]})
    x = numbers["x"]
    assert [list(scaled_size(*x.shape[-2:], s)) for s in layer.factors] == numbers["rescaled_sizes"].tolist()
    torch.testing.assert_close(layer(x), numbers["y"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_factor_one_is_a_plain_convolution(padding: int) -> None:
    layer, x = KanazawaConv2d(2, 3, 3, [1], padding=padding), torch.randn(2, 2, 7, 6)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=padding))
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in nn.Conv2d(2, 3, 3).parameters())


def test_more_factors_never_answer_less_and_their_order_does_not_matter() -> None:
    x = torch.randn(2, 2, 12, 11, dtype=torch.float64)
    layer, more, turned = (KanazawaConv2d(2, 3, 3, f).double() for f in ([1, 2], [1, 2, 0.6], [0.6, 2, 1]))
    more.load_state_dict(layer.state_dict())
    turned.load_state_dict(layer.state_dict())
    assert (more(x) >= layer(x)).all() and (more(x) > layer(x)).any()
    assert torch.equal(more(x), turned(x))


def test_the_middle_stays_the_middle() -> None:
    """All excess is even here, so a mirrored image and kernel answer with the mirrored map."""
    layer = KanazawaConv2d(1, 2, 3, [1, 3, 1 / 3], padding=1).double()
    mirrored = KanazawaConv2d(1, 2, 3, [1, 3, 1 / 3], padding=1).double()
    mirrored.load_state_dict({"weight": layer.weight.flip(-1, -2), "bias": layer.bias})
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(mirrored(x.flip(-1, -2)), layer(x).flip(-1, -2), rtol=0, atol=1e-13)


def test_a_ramp_is_rescaled_exactly_and_half_a_pixel_goes_left() -> None:
    ramp = torch.arange(5, dtype=torch.float64)
    x = (10 * ramp[:, None] + ramp)[None, None]
    kept = (torch.arange(5, dtype=torch.float64) + 3) * 4 / 9  # of 10 pixels from corner to corner, 3 to 7
    torch.testing.assert_close(rescaled(x, 2.0)[0, 0], 10 * kept[:, None] + kept, rtol=0, atol=1e-13)
    small = rescaled(torch.ones(1, 1, 5, 5), 0.5)[0, 0]  # 2 x 2, with one pixel of rim before and two after
    assert small.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_it_learns() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(KanazawaConv2d(1, 8, 5, [0.7, 1, 1.4]), GlobalMax(), nn.Linear(8, 2))
    assert fall_of_loss(net) < 0.7


def test_it_bears_the_tools() -> None:
    bears_tools(KanazawaConv2d(2, 3, 3, [0.5, 1, 1.5], padding=1), torch.randn(2, 2, 9, 8))


def test_gradients_are_those_of_finite_differences() -> None:
    layer = KanazawaConv2d(1, 2, 3, [0.6, 1, 1.5]).double()
    assert torch.autograd.gradcheck(layer, torch.randn(1, 1, 8, 7, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("factors", [[], [1, 0], [1, -2], [1, 2, 1.0]])
def test_bad_factors(factors: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one, each above 0 and none twice"):
        KanazawaConv2d(1, 1, 3, factors)


def test_bad_input() -> None:
    layer = KanazawaConv2d(1, 1, 3, [1, 1.05, 0.1])
    with pytest.raises(ValueError, match=r"factors 1.0 and 1.05 both make 9 x 9 of 9 x 9"):
        layer(torch.zeros(1, 1, 9, 9))
    with pytest.raises(ValueError, match=r"factor 0.1 leaves nothing of 9 x 40"):
        KanazawaConv2d(1, 1, 3, [0.1])(torch.zeros(1, 1, 9, 40))
    with pytest.raises(ValueError, match=r"factor 9.0 leaves nothing of 9 x 40 or of its answers"):
        KanazawaConv2d(1, 1, 3, [9])(torch.zeros(1, 1, 9, 40))
    with pytest.raises(ValueError, match=r"got 2 x 9, smaller than its kernel of 3; take padding of 1"):
        layer(torch.zeros(1, 1, 2, 9))
    with pytest.raises(ValueError, match="KanazawaConv2d got a lifted tensor"):
        layer(torch.zeros(1, 1, 2, 9, 9))
    with pytest.raises(ValueError, match="kernel_size is 0"):
        KanazawaConv2d(1, 1, 0, [1])
