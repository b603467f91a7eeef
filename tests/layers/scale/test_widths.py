"""Widths that are learned: the published parametrisations, functions and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layers.scale.functions import LearnedFunctions, kernel_side, settle
from layers.scale.hermite import Family, Hermite, hermite_functions
from layers.scale.steerable import SAME, LiftingConv2d, ScaleConv2d
from layers.scale.widths import ScaleWidths
from tests.layers.scale.golden import golden, weighting

NAMES = {2: "direct", 3: "ratios", 4: "ratios_squared", 5: "ratio", 6: "ratio_squared"}
A3 = Family(kind="A", effective_size=3)


def family_of(settings: dict) -> Family:
    mult, order = (settings.get(key, settings.get(f"basis_{key}")) for key in ("mult", "max_order"))
    return Family(kind=settings["basis"], effective_size=settings["effective_size"], mult=mult, max_order=order)


def set_to(widths: ScaleWidths, base: float, change) -> None:
    with torch.no_grad():
        widths.base.fill_(base)
        widths.change.copy_(torch.as_tensor(change, dtype=torch.float64))


def test_published_starts() -> None:
    values, _ = golden("isr_init_table")
    for number, (mode, span, count, first) in enumerate(values["table"].tolist()):
        widths = ScaleWidths(int(count), first=first, span=span, learned=NAMES[int(mode)]).double()
        exact = ScaleWidths(int(count), first=first, span=span, learned=NAMES[int(mode)])
        wanted = values[f"param_{number}"]
        torch.testing.assert_close(exact.change.flatten(), wanted.float().flatten())
        set_to(widths, first, wanted.reshape(widths.change.shape))
        torch.testing.assert_close(widths(), values[f"sigmas_{number}"], rtol=1e-10, atol=0)
        assert widths.base.requires_grad == (mode != 2)


@pytest.mark.parametrize(
    "name",
    ["isr_A_direct", "isr_A_ratio_squared", "isr_A_single_negative", "isr_A_single_squared", "isr_B_single_squared"],
)
def test_published_functions_and_gradients(name: str) -> None:
    values, settings = golden(name)
    learned = NAMES[settings["mode_number"]]
    widths = ScaleWidths(settings["n_scales"], first=1.0, span=2.0, learned=learned).double()
    set_to(widths, settings["sigma_basis"], settings["scale_param"])
    torch.testing.assert_close(widths(), values["sigmas"], rtol=1e-10, atol=0)
    functions = LearnedFunctions(widths, family_of(settings), settings["k0"])
    found = functions()
    assert found.shape[-1] == int(values["kernel_size"])
    torch.testing.assert_close(found, values["basis"], rtol=1e-9, atol=1e-12)
    (found * weighting(settings, found)).sum().backward()
    torch.testing.assert_close(widths.change.grad, values["grad_scale_param"], rtol=1e-9, atol=1e-10)
    if "grad_sigma_basis" in values:
        torch.testing.assert_close(widths.base.grad, values["grad_sigma_basis"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["scale_learn_lift_A", "scale_learn_hh_n2_B"])
def test_published_layers(name: str) -> None:
    values, settings = golden(name)
    widths = ScaleWidths(settings["n_scales"], first=1.0, span=2.0).double()
    set_to(widths, settings["sigma_basis"], settings["rho"])
    functions = LearnedFunctions(widths, family_of(settings), settings["k0"])
    sizes, interaction = (settings["in_channels"], settings["out_channels"]), settings["scale_size"]
    layer: nn.Module = (
        LiftingConv2d(*sizes, functions, padding=SAME)
        if interaction is None
        else ScaleConv2d(*sizes, functions, interaction=interaction, padding=SAME)
    ).double()
    layer.load_state_dict({key: values[key] for key in ("weight", "bias")}, strict=False)
    y = layer(values["x"])
    torch.testing.assert_close(y, values["y"], rtol=1e-9, atol=1e-11)
    (y * weighting(settings, y)).sum().backward()
    for key, parameter in {
        "rho": widths.change, "sigma_basis": widths.base, "weight": layer.weight, "bias": layer.bias
    }.items():  # fmt: skip
        torch.testing.assert_close(parameter.grad, values[f"grad_{key}"], rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    widths = ScaleWidths(3, first=1.2, span=2.7).double()
    family = Family(kind="B", effective_size=4, mult=1.4, max_order=3)
    weights = torch.from_numpy(np.random.RandomState(0).standard_normal((16, 3, 15, 15)))

    def value() -> torch.Tensor:
        return (hermite_functions(family, widths(), 15) * weights).sum()

    value().backward()
    for parameter in (widths.base, widths.change):
        step = 1e-6
        with torch.no_grad():
            parameter += step
            above = value()
            parameter -= 2 * step
            below = value()
            parameter += step
        assert float(parameter.grad) == pytest.approx(float((above - below) / (2 * step)), rel=1e-7)


def test_fixed_widths_are_those_of_sesn() -> None:
    fixed = LearnedFunctions(ScaleWidths(4, first=1.5, span=2.0, learned="fixed").double(), A3)
    side = kernel_side(fixed.widths(), 4.0)
    basis = Hermite(kernel_size=side, sigmas=tuple(fixed.widths().tolist()), family=A3)
    assert torch.equal(fixed(), basis.functions())
    assert not list(fixed.parameters())


def test_widths_are_in_order_whatever_the_parameter() -> None:
    widths = ScaleWidths(4, first=1.5, span=2.0)
    for value in (-2.0, -0.3, 0.01, 0.7):
        set_to(widths, 1.5, value)
        assert bool((widths().diff() > 0).all())
    assert widths.span == pytest.approx((1 + 0.7**2) ** 3)


def test_two_parameters_for_all_layers_together() -> None:
    widths = ScaleWidths(3, first=1.0, span=2.0)
    functions = LearnedFunctions(widths, A3, 2.0)
    network = nn.Sequential(LiftingConv2d(1, 2, functions, padding=SAME), ScaleConv2d(2, 2, functions, padding=SAME))
    assert sum(p.numel() for p in network.parameters()) == 2 + (2 * 9 + 2) + (2 * 2 * 9 + 2)


def test_the_side_follows_the_widths_and_leaves_nothing_behind() -> None:
    widths = ScaleWidths(2, first=1.0, span=2.0)
    layer = LiftingConv2d(1, 2, LearnedFunctions(widths, A3, 2.0), padding=SAME)
    x = torch.rand(1, 1, 20, 20)
    first = layer(x)
    assert layer.functions().shape[-1] == 9
    set_to(widths, 2.0, 1.0)
    assert layer.functions().shape[-1] == 17 and not torch.equal(layer(x), first)
    set_to(widths, 1.0, 1.0)
    assert torch.equal(layer(x), first)


def test_settled_networks_compute_the_same() -> None:
    functions = LearnedFunctions(ScaleWidths(2, first=1.0, span=2.0), A3, 2.0)
    network = nn.Sequential(LiftingConv2d(1, 2, functions, padding=SAME), ScaleConv2d(2, 2, functions, padding=SAME))
    x = torch.rand(1, 1, 20, 20)
    expected = network(x)
    torch.testing.assert_close(settle(network)(x), expected)
    assert network[0].scales == network[1].scales == pytest.approx((1.0, 2.0))
    assert torch.export.export(network, (x,)).module()(x).shape == expected.shape


@pytest.mark.parametrize("learned", ["fixed", "direct", "ratios", "ratios_squared", "ratio", "ratio_squared"])
def test_in_bfloat16_functions_are_those_of_the_rounded_parameters(learned: str) -> None:
    """Made in bfloat16 they would be off by several per cent: He_4 of 2.5 is a difference of large numbers."""
    family = Family(kind="B", effective_size=5, mult=1.4, max_order=4)
    functions = LearnedFunctions(ScaleWidths(3, first=1.5, span=2.0, learned=learned), family).bfloat16()
    assert functions.widths().dtype == functions().dtype == torch.float32
    exact = functions.double()()
    found = LearnedFunctions(functions.widths, family).bfloat16()()
    if learned == "fixed":  # whose widths are exact again after double()
        exact = hermite_functions(family, functions.widths().double(), exact.shape[-1])
    assert (found.double() - exact).norm() < 1e-5 * exact.norm()
    layer = LiftingConv2d(1, 2, functions, padding=SAME).bfloat16()
    assert layer(torch.rand(1, 1, 20, 20).bfloat16()).dtype == torch.bfloat16
    assert settle(nn.Sequential(layer))[0].functions().dtype == torch.bfloat16


def test_widths_that_ran_away_are_refused_by_name() -> None:
    widths = ScaleWidths(3, first=1.0, span=2.0)
    functions = LearnedFunctions(widths, A3, 4.0)
    set_to(widths, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"ran away, to 25: with a reach of 8, .*wider than 255"):
        LearnedFunctions(widths, A3, 8.0)()
    assert kernel_side(torch.tensor([1.0, 127.0]), 1.0) == 255
    for width in (127.01, float("inf")):
        with pytest.raises(ValueError, match=f"a learned width ran away, to {width:g}: .* wider than 255 pixels"):
            kernel_side(torch.tensor([1.0, width]), 1.0)
    for width in (0.0, -1.5, float("nan")):
        with pytest.raises(ValueError, match=r"a learned width is .*; expected all above 0"):
            kernel_side(torch.tensor([width, 2.0]), 1.0)
    set_to(widths, -1.0, 0.5)
    with pytest.raises(ValueError, match=r"a learned width is -1.5625; expected all above 0"):
        functions()
    set_to(widths, 0.1, 2.0)
    with pytest.raises(ValueError, match=r"kernel_size is .* expected at least .* widths from 0.1 to 2.5"):
        LearnedFunctions(widths, A3, 1.0)()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0, "first": 1.0, "span": 2.0}, "count is 0"),
        ({"count": 3, "first": 0.0, "span": 2.0}, "first is 0.0; expected a width above 0"),
        ({"count": 3, "first": 1.0, "span": 1.0}, "span is 1.0; expected a range above 1"),
        ({"count": 3, "first": 1.0, "span": 2.0, "learned": "isr"}, "learned is 'isr'; expected one of fixed, direct"),
        ({"count": 1, "first": 1.0, "span": 1.0}, "with one scale, which has no ratio"),
    ],
)
def test_bad_input(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScaleWidths(**arguments)
