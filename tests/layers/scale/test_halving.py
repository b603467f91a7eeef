"""The second version of Deep Scale Spaces: smaller and smaller maps under one convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.halving import Halving, SharedConv, halve, matched
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def test_halving_is_bilinear_resizing_by_half() -> None:
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=0.5, mode="bilinear")
    torch.testing.assert_close(halve(x), expected, rtol=0, atol=1e-15)
    lifted = torch.randn(2, 3, 4, 8, 10)
    assert torch.equal(halve(lifted)[:, :, 2], halve(lifted[:, :, 2]))


def golden_convs() -> tuple[dict[str, Tensor], nn.Sequential]:
    numbers, _ = golden("dss_v2_b2")
    convs = nn.Sequential(SharedConv(2, 2, 3), SharedConv(2, 2, 3, bias=False)).double()
    weights = {"0.weight": numbers["weight1"][:, :, 0], "0.bias": numbers["bias1"]}
    convs.load_state_dict(weights | {"1.weight": numbers["weight2"][:, :, 0]})
    return numbers, convs


@pytest.mark.parametrize(("recursive", "met"), [(False, 3), (True, 2)])
def test_golden_numbers(recursive: bool, met: int) -> None:
    """The published levels are resized at one go. Halving meets the first two, and must not meet the third."""
    numbers, convs = golden_convs()
    levels = Halving(3, recursive=recursive)(numbers["x"])
    first = convs[0](levels)
    second = convs[1](first)
    for s in range(met):
        torch.testing.assert_close(levels[s], numbers[f"lift_{s}"], **CLOSE)
        torch.testing.assert_close(first[s], numbers[f"y1_{s}"], **CLOSE)
        torch.testing.assert_close(second[s], numbers[f"y2_{s}"], **CLOSE)
    lifted = matched(second)
    torch.testing.assert_close(lifted[:, :, :met], numbers["dim_matched"][:, :, :met], **CLOSE)
    if recursive:
        assert (levels[2] - numbers["lift_2"]).abs().max() > 0.3
    else:
        torch.testing.assert_close(lifted, numbers["dim_matched"], **CLOSE)
        torch.testing.assert_close(lifted.amax(2).relu(), numbers["scale_pooled"], **CLOSE)


@pytest.mark.parametrize("a", [1, 2])
def test_of_a_halved_image_all_results_are_those_of_higher_levels(a: int) -> None:
    torch.manual_seed(0)
    conv, x = SharedConv(2, 3, 3).double(), torch.randn(2, 2, 16, 24, dtype=torch.float64)
    small = x
    for _ in range(a):
        small = halve(small)
    whole, moved = conv(Halving(4)(x)), conv(Halving(4 - a)(small))
    for above, level in zip(whole[a:], moved, strict=True):
        assert torch.equal(above, level)
    at_one_go = Halving(4, recursive=False)(x)[a + 1]
    assert (Halving(4 - a, recursive=False)(small)[1] - at_one_go).abs().max() > 0.1


def test_levels_of_a_lifted_map_are_its_own() -> None:
    x = torch.randn(2, 3, 3, 8, 12, dtype=torch.float64)
    for recursive in (True, False):
        layer = Halving(3, recursive=recursive)
        for s, level in enumerate(layer(x)):
            assert torch.equal(level, layer(x[:, :, s])[s])
    moved = Halving(2)(halve(x[:, :, 1:]))
    assert all(torch.equal(*pair) for pair in zip(moved, Halving(3)(x)[1:], strict=True))


def test_other_bases_at_one_go() -> None:
    with pytest.warns(UserWarning, match="are 1, 1, 2, 3, and"):
        layer = Halving(4, base=1.5, recursive=False)
    assert [level.shape[-2:] for level in layer(torch.rand(1, 1, 13, 11))] == [(13, 11), (13, 11), (6, 5), (4, 3)]


def test_one_level_is_a_convolution() -> None:
    conv, x = SharedConv(2, 3, 5), torch.randn(2, 2, 9, 8)
    plain = nn.Conv2d(2, 3, 5, padding=2)
    plain.load_state_dict(conv.state_dict())
    (level,) = conv(Halving(1)(x))
    assert torch.equal(level, plain(x)) and torch.equal(matched([level])[:, :, 0], plain(x))


def test_matching_takes_the_maxima_also_where_sizes_do_not_divide() -> None:
    large, small = torch.randn(1, 2, 7, 9), torch.randn(1, 2, 3, 4)
    lifted = matched((large, small))
    assert lifted.shape == (1, 2, 2, 3, 4) and torch.equal(lifted[:, :, 1], small)
    assert lifted[:, :, 0].max() == large.max()  # nothing falls between the windows
    assert torch.equal(lifted[0, 0, 0, 0, 0], large[0, 0, :3, :3].max())


def test_gradients_reach_the_image_and_the_shared_weight() -> None:
    x = torch.randn(1, 1, 4, 8, dtype=torch.float64, requires_grad=True)
    conv = SharedConv(1, 2, 3).double()
    assert torch.autograd.gradcheck(lambda x: matched(conv(Halving(2)(x))), x)
    for level in conv(Halving(2)(x)):
        (gradient,) = torch.autograd.grad(level.sum(), conv.weight)
        assert gradient.abs().min() > 0


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1] = F.avg_pool2d(images[labels == 1], 3, 1, 1)
    conv, head = SharedConv(1, 8, 3), nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*conv.parameters(), *head.parameters()], 0.03)
    losses = []
    for _ in range(20):
        losses.append(F.cross_entropy(head(matched(conv(Halving(3)(images))).relu().amax((2, 3, 4))), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("recursive", [True, False])
def test_it_bears_the_tools(recursive: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.conv = Halving(3, recursive=recursive), SharedConv(2, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return matched(self.conv(self.lift(x)))

    bears_tools(Net(), torch.rand(2, 2, 8, 12))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"halve got 7 x 8.*expected even sides"):
        halve(torch.rand(1, 1, 7, 8))
    with pytest.raises(ValueError, match="levels is 0"):
        Halving(0)
    with pytest.raises(ValueError, match="base is 3 and recursive is True; expected base 2"):
        Halving(2, base=3)
    with pytest.raises(ValueError, match="base is 1; expected a number above 1"):
        Halving(2, base=1, recursive=False)
    with pytest.raises(ValueError, match=r"Halving got 12 x 10.*expected multiples of 4, to be halved 2 times"):
        Halving(3)(torch.rand(1, 1, 12, 10))
    with pytest.raises(ValueError, match=r"Halving got 3 x 9.*expected at least 4 pixels"):
        Halving(3, recursive=False)(torch.rand(1, 1, 3, 9))
    with pytest.raises(ValueError, match=r"Halving got 2 scales.*expected 3"):
        Halving(3)(torch.rand(1, 1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"Halving got \(8, 8\)"):
        Halving(3)(torch.rand(8, 8))
    with pytest.raises(ValueError, match="kernel_size is 2"):
        SharedConv(1, 1, 2)
    with pytest.raises(ValueError, match=r"SharedConv got a tensor \(1, 1, 8, 8\); expected a tuple"):
        SharedConv(1, 1, 3)(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="matched got no level"):
        matched(())
