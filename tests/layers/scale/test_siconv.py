"""SiConv2d: one kernel at many sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.pool import GlobalMax, ScalePool
from layers.scale.siconv import SiConv2d, resize_matrix, resized_kernel
from tests.layers.scale.golden import golden, weighting
from tests.layers.scale.trials import bears_tools, fall_of_loss

MODES = ("nearest", "bilinear", "bicubic", "area")
FILES = ("area_k5", "bicubic_k3_rect", "bicubic_k7", "bilinear_k3_padded", "nearest_k3", "nearest_k4_even")


@pytest.mark.parametrize("file", FILES)
def test_published_numbers(file: str) -> None:
    numbers, settings = golden(f"siconv_{file}")
    layer = SiConv2d(
        *(settings[key] for key in ("in_channels", "out_channels", "kernel_size", "num_scales")),
        interpolation=settings["interp_mode"],
        padding=settings["padding"],
    ).double()
    layer.load_state_dict({"weight": numbers["weight"], "bias": numbers["bias"]})
    for index, kernel in enumerate(layer.kernels()):
        torch.testing.assert_close(kernel, numbers[f"kernel_{index}"], rtol=1e-10, atol=1e-13)
    y = layer(numbers["x"])
    torch.testing.assert_close(y, numbers["y"], rtol=1e-10, atol=1e-12)
    (y * weighting(settings, y)).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, numbers[f"grad_{name}"], rtol=1e-10, atol=1e-11)


def of_rule(seed: int, index: int, shape: list[int], scale: float) -> Tensor:
    """Parameter ``index`` of a published model."""
    return torch.from_numpy(np.random.RandomState(1000 * seed + index).uniform(-1, 1, shape) * scale)


@pytest.mark.parametrize("model", ["conv3d", "slice_pool"])
def test_published_first_stage_of_all_29_sides(model: str) -> None:
    numbers, settings = golden(f"stir_model_{model}_C1_n10")
    layer = SiConv2d(1, 16, 7, 29, interpolation=settings["interpolation"]).double()
    seed = settings["seed"]
    weight = of_rule(seed, 0, [16, 1, 7, 7], (3 / 49) ** 0.5)
    layer.load_state_dict({"weight": weight, "bias": of_rule(seed, 1, [16], 0.1)})
    with torch.no_grad():
        y = layer(numbers["x"])
    if model == "slice_pool":
        y, index = ScalePool("slice")(y, return_indices=True)
        assert torch.equal(index, numbers["pool1_idx"])
    y = y.relu()
    assert list(y.shape) == numbers["stage1_shape"].tolist()
    torch.testing.assert_close(y.sum(), numbers["stage1_sum"], rtol=1e-9, atol=0)
    sample = y[:, ::8, :, ::9, ::9] if model == "conv3d" else y[:, ::5, ::8, ::8]
    torch.testing.assert_close(sample, numbers["stage1_sample"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_one_scale_is_a_plain_convolution(mode: str, padding: bool) -> None:
    layer = SiConv2d(2, 3, 5, 1, interpolation=mode, padding=padding).double()
    x = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    assert torch.equal(layer(x)[:, :, 0], F.conv2d(x, layer.weight, layer.bias, padding=2 if padding else 0))


@pytest.mark.parametrize("factor", [3, 5])
@pytest.mark.parametrize("mode", ["nearest", "area"])
def test_an_enlarged_image_answers_at_the_enlarged_kernel(mode: str, factor: int) -> None:
    layer = SiConv2d(2, 3, 3, (3 * factor - 3) // 2 + 1, interpolation=mode).double()
    one = SiConv2d(2, 3, 3, 1).double()
    one.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    enlarged = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    rim = layer.sides[-1] // 2 - 1
    answer = layer(enlarged)[:, :, -1, rim:-rim:factor, rim:-rim:factor]
    torch.testing.assert_close(answer, one(x)[:, :, 0], rtol=0, atol=1e-12)


def test_a_smooth_enlargement_is_no_exact_action() -> None:
    layer = SiConv2d(1, 1, 3, 4, interpolation="bicubic", bias=False).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    answer = layer(x.repeat_interleave(3, 2).repeat_interleave(3, 3))[:, :, 3, 3:-3:3, 3:-3:3]
    plain = F.conv2d(x, layer.weight)
    assert (answer - plain).norm() > 0.05 * plain.norm()


@pytest.mark.parametrize("mode", MODES)
def test_the_mass_of_a_constant_kernel_and_the_identity(mode: str) -> None:
    flat = torch.full((2, 1, 3, 3), 0.7, dtype=torch.float64)
    for side in range(3, 12):
        torch.testing.assert_close(resized_kernel(flat, side, mode).sum((2, 3)), flat.sum((2, 3)))
        torch.testing.assert_close(resize_matrix(3, side, mode).sum(1), torch.ones(side, dtype=torch.float64))
    kernel = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(resized_kernel(kernel, 5, mode), kernel, rtol=0, atol=1e-15)


def test_nearest_is_that_of_whole_numbers() -> None:
    """F.interpolate rounds 6/74 below its tap."""
    assert resize_matrix(6, 74, "nearest").argmax(1).tolist() == [i * 6 // 74 for i in range(74)]


@pytest.mark.parametrize("padding", [False, True])
def test_chosen_sides_are_some_of_all(padding: bool) -> None:
    every = SiConv2d(2, 3, 3, 5, interpolation="bicubic", padding=padding).double()
    some = SiConv2d(2, 3, 3, sides=(3, 5, 11), interpolation="bicubic", padding=padding).double()
    stepped = SiConv2d(2, 3, 3, 3, step=2, interpolation="bicubic", padding=padding).double()
    some.load_state_dict(every.state_dict())
    stepped.load_state_dict(every.state_dict())
    x = torch.randn(2, 2, 12, 11, dtype=torch.float64)
    torch.testing.assert_close(some(x), every(x)[:, :, [0, 1, 4]])
    torch.testing.assert_close(stepped(x), every(x)[:, :, [0, 2, 4]])


def test_scales_lie_upon_one_another_and_their_rims_are_zero() -> None:
    layer = SiConv2d(1, 2, 3, 3, interpolation="bilinear")
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    nn.init.ones_(layer.weight)
    y = layer(x) - layer.bias[:, None, None, None]
    assert all(torch.allclose(y[:, :, s, 1:-1, 1:-1], y[:, :, s, 1:-1, 1:-1].flip(-1, -2)) for s in range(2))
    assert not layer(x)[:, :, 1, 0].any() and not layer(x)[:, :, 2, :, 5:].any()


def test_every_scale_trains_the_one_kernel() -> None:
    layer = SiConv2d(2, 3, 3, 4)
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in nn.Conv2d(2, 3, 3).parameters())
    y = layer(torch.randn(1, 2, 10, 10))
    for scale in range(4):
        assert torch.autograd.grad(y[:, :, scale].square().sum(), layer.weight, retain_graph=True)[0].abs().min() > 0


def test_it_begins_as_a_plain_convolution_does() -> None:
    layer = SiConv2d(4, 64, 5, 2)
    bound = 1 / 10
    assert 0.9 * bound < layer.weight.abs().max() <= bound and layer.bias.abs().max() <= bound


@pytest.mark.parametrize("pool", ["pixel", "slice", "energy_abs"])
def test_it_learns(pool: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(SiConv2d(1, 8, 3, 4, interpolation="bicubic"), ScalePool(pool), GlobalMax(), nn.Linear(8, 2))
    assert fall_of_loss(net) < 0.7


@pytest.mark.parametrize("padding", [False, True])
def test_it_bears_the_tools(padding: bool) -> None:
    bears_tools(SiConv2d(2, 3, 3, 3, interpolation="area", padding=padding), torch.randn(2, 2, 9, 8))


def test_gradients_are_those_of_finite_differences() -> None:
    layer = SiConv2d(1, 2, 3, 3, interpolation="bicubic").double()
    assert torch.autograd.gradcheck(layer, torch.randn(1, 1, 7, 8, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("kernel_size is 0", {"kernel_size": 0, "scales": 2}),
        ("scales is 0; expected a whole number", {"scales": 0}),
        ("step is 0", {"scales": 2, "step": 0}),
        ("expected one of the two", {}),
        ("expected one of the two", {"scales": 2, "sides": (3, 5)}),
        ("a step only where sides are not given", {"sides": (3, 5), "step": 2}),
        ("sides is empty", {"sides": ()}),
        ("larger than the one before", {"sides": (3, 7, 7)}),
        ("kernel_size, 3, first and only odd", {"sides": (5, 7)}),
        ("kernel_size, 3, first and only odd", {"sides": (3, 6)}),
        ("a side is 5.0", {"sides": (3, 5.0)}),
        ("kernel_size is 4; expected an odd number with padding", {"kernel_size": 4, "scales": 2, "padding": True}),
        ("interpolation is 'cubic'; expected one of nearest, bilinear", {"scales": 2, "interpolation": "cubic"}),
    ],
)
def test_bad_arguments(message: str, arguments: dict) -> None:
    with pytest.raises(ValueError, match=message):
        SiConv2d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 3, **arguments})


def test_bad_input() -> None:
    layer = SiConv2d(1, 1, 3, 4)
    with pytest.raises(
        ValueError, match=r"SiConv2d got 7 x 12 for kernels of \[3, 5, 7, 9\]: the first 3, \[3, 5, 7\], f"
    ):
        layer(torch.zeros(1, 1, 7, 12))
    with pytest.raises(ValueError, match="none of them fits"):
        layer(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="SiConv2d got a lifted tensor"):
        layer(torch.zeros(1, 1, 4, 12, 12))
    with pytest.raises(ValueError, match="side is 3, below the kernel's own 5"):
        resized_kernel(torch.zeros(1, 1, 5, 5), 3, "area")
    with pytest.raises(ValueError, match="interpolation is 'no'"):
        resized_kernel(torch.zeros(1, 1, 5, 5), 7, "no")
