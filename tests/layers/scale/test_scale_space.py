"""The lifting of Deep Scale Spaces."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy.special import ive
from torch import nn

from layers.scale.dilation import check_base, level_dilations
from layers.scale.scale_space import ScaleSpace, discrete_gaussian, level_variances
from tests.layers.scale.golden import golden


@pytest.mark.parametrize("variance", [0.0, 0.01, 0.1875, 1.0, 15.75, 63.0, 4095.75])
def test_the_taps_are_those_of_the_bessel_function(variance: float) -> None:
    radius = 4 * math.ceil(math.sqrt(variance)) + 5
    expected = torch.from_numpy(ive(abs(torch.arange(-radius, radius + 1)).numpy(), variance))
    torch.testing.assert_close(discrete_gaussian(variance, radius), expected, rtol=0, atol=1e-15)


def test_many_levels_take_no_table() -> None:
    """Level 13 has 32 769 taps, and a table of them by the points would take 26 GB."""
    layer = ScaleSpace(14).double()
    taps = layer.taps13[16384 : 16384 + 200]
    variance = level_variances(14, 2, 0.5)[13]
    expected = torch.from_numpy(ive(torch.arange(200).numpy(), variance))
    torch.testing.assert_close(taps / taps[0], expected / expected[0], rtol=1e-9, atol=0)
    assert layer.taps13.sum().item() == pytest.approx(1, abs=1e-12)


def test_blurring_twice_is_blurring_once_by_the_sum() -> None:
    first, second, both = discrete_gaussian(0.8, 40), discrete_gaussian(2.7, 40), discrete_gaussian(3.5, 40)
    twice = torch.nn.functional.conv1d(first[None, None], second[None, None], padding=40)[0, 0]
    torch.testing.assert_close(twice, both, rtol=0, atol=1e-15)


def test_the_variance_is_that_asked_for() -> None:
    """The tails are kept here; where 4 standard deviations are, as in the layer, it is a little less."""
    places = torch.arange(-100, 101, dtype=torch.float64)
    for variance in (0.1875, 63.0):
        taps = discrete_gaussian(variance, 100)
        assert (taps * places**2).sum().item() == pytest.approx(variance, abs=1e-9)


def test_the_blur_of_a_level_is_that_of_a_smaller_image_after_the_shrinking() -> None:
    t = level_variances(6, 3, 0.7)
    assert t[0] == 0
    for a in range(3):
        for k in range(3):
            assert t[a + k] == pytest.approx(t[a] + 3 ** (2 * a) * t[k], rel=1e-12)


@pytest.mark.parametrize("name", ["dss_lift_b2", "dss_lift_b2_rgb_z025"])
def test_golden_numbers(name: str) -> None:
    numbers, settings = golden(name)
    layer = ScaleSpace(settings["n_scales"], base=settings["base"], blur=settings["zero_scale"]).double()
    variances = level_variances(layer.levels, layer.base, layer.blur)[1:]
    torch.testing.assert_close(torch.tensor(variances, dtype=torch.float64), numbers["variances"], rtol=1e-14, atol=0)
    for level in range(1, layer.levels):
        taps = layer.get_buffer(f"taps{level}")
        assert len(taps) == 2 * numbers["half_widths"][level - 1] + 1
        torch.testing.assert_close(taps, numbers[f"kernel_level{level}"], rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(layer(numbers["x"]), numbers["y"], rtol=1e-10, atol=1e-12)


def test_one_level_is_the_image() -> None:
    x = torch.rand(2, 3, 9, 8)
    assert torch.equal(ScaleSpace(1)(x), x[:, :, None])
    assert torch.equal(ScaleSpace(3)(x)[:, :, 0], x)


def test_taps_beyond_the_image_change_nothing() -> None:
    """Level 4 reaches 32 pixels; the image has 6 x 5, and nothing around it."""
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64)
    wide = torch.nn.functional.pad(x, (40, 40, 40, 40))
    lifted = ScaleSpace(5)(wide)[..., 40:46, 40:45]
    torch.testing.assert_close(ScaleSpace(5)(x), lifted, rtol=1e-13, atol=1e-15)


def test_a_scene_from_twice_as_far_is_one_level_lower() -> None:
    """A spot of 3 pixels, blurred by the camera by 1: from twice as far it has 1.5 pixels, and the same blur."""
    place = torch.arange(64, dtype=torch.float64) - 32

    def seen(scene: float, place: torch.Tensor) -> torch.Tensor:
        variance = scene**2 + 1
        return torch.exp(-(place[:, None] ** 2 + place**2) / (2 * variance))[None, None] * scene**2 / variance

    near, far = ScaleSpace(4, blur=1.0)(seen(3.0, place)), ScaleSpace(3, blur=1.0)(seen(1.5, place[::2] / 2))
    above, same = near[:, :, 1:, ::2, ::2], near[:, :, :3, ::2, ::2]
    assert (above - far).norm() < 0.01 * far.norm() < 0.2 * (same - far).norm()


def test_the_gradient_reaches_the_image() -> None:
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ScaleSpace(3), x)


def test_the_buffers_are_no_part_of_a_checkpoint_and_keep_their_digits() -> None:
    layer = ScaleSpace(3)
    assert not layer.state_dict() and not list(layer.parameters())
    assert torch.equal(layer.bfloat16().double().taps2, ScaleSpace(3).double().taps2)
    assert ScaleSpace(3)(torch.rand(1, 1, 8, 8)).dtype == torch.float32
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


def test_it_learns_behind_the_lifting() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1] = images[labels == 1].mean((2, 3), keepdim=True)
    net = nn.Sequential(ScaleSpace(2), nn.Flatten(1, 2), nn.Conv2d(2, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1))
    net.extend([nn.Flatten(), nn.Linear(8, 2)])
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for _ in range(20):
        losses.append(nn.functional.cross_entropy(net(images), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_compile_export_and_autocast() -> None:
    layer, x = ScaleSpace(3), torch.rand(2, 1, 12, 10)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    assert (rough - layer(x)).abs().max() < 0.02


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="levels is 0; expected a whole number"):
        ScaleSpace(0)
    with pytest.raises(ValueError, match="base is 1; expected a number above 1"):
        ScaleSpace(2, base=1)
    with pytest.raises(ValueError, match="blur is 0; expected a number of pixels above 0"):
        ScaleSpace(2, blur=0)
    with pytest.raises(ValueError, match="variance is -1; expected a number of at least 0"):
        discrete_gaussian(-1, 3)
    with pytest.raises(ValueError, match="radius is -1; expected a whole number"):
        discrete_gaussian(1, -1)
    with pytest.raises(ValueError, match="ScaleSpace got a lifted tensor"):
        ScaleSpace(2)(torch.rand(1, 1, 2, 8, 8))
    with pytest.raises(TypeError, match="ScaleSpace got uint8"):
        ScaleSpace(2)(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_dilations_are_rounded_down_and_told() -> None:
    assert level_dilations(2, 4) == [1, 2, 4, 8]
    assert level_dilations(1.2, 4) == [1, 1, 1, 1]
    assert level_dilations(1.3, 4) == [1, 1, 1, 2]
    assert level_dilations(math.sqrt(3), 5) == [1, 1, 3, 5, 9]  # its square is 2.9999999999999996
    assert level_dilations(math.sqrt(2), 7) == [1, 1, 2, 2, 4, 5, 8]
    assert level_dilations(2 ** (1 / 3), 10)[::3] == [1, 2, 4, 8]
    assert level_dilations(10 ** (1 / 3), 4)[3] == 10
    with pytest.warns(UserWarning, match="dilations of the levels are 1, 1, 2, 3, and"):
        check_base(1.5)
    with pytest.raises(ValueError, match="base is nan"):
        check_base(math.nan)
