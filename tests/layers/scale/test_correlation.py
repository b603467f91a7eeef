"""The scale correlation of Deep Scale Spaces, and a whole network of its layers."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.correlation import ScaleCorrelation, near_identity_
from layers.scale.pool import ScalePool
from layers.scale.scale_space import ScaleSpace
from layers.scale.space_pool import SpacePool2d
from tests.layers.scale.golden import FOLDER, golden, weighting
from tests.layers.scale.trials import bears_tools


def layer_of(numbers: dict[str, Tensor], settings: dict, **options) -> ScaleCorrelation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layer = ScaleCorrelation(
            settings["in_channels"],
            settings["out_channels"],
            settings["kernel_size"],
            interaction=settings["N"],
            base=settings["base"],
            **options,
        ).double()
    layer.load_state_dict({"weight": numbers["weight"], "bias": numbers["bias"]})
    return layer


@pytest.mark.parametrize("name", ["dss_conv_b2_n1", "dss_conv_b2_n2", "dss_conv_b15_n3_floor"])
def test_golden_numbers(name: str) -> None:
    numbers, settings = golden(name)
    layer = layer_of(numbers, settings, levels=settings["S"])
    y = layer(numbers["x"])
    torch.testing.assert_close(y, numbers["y"], rtol=1e-10, atol=1e-12)
    (y * weighting(settings, y)).sum().backward()
    torch.testing.assert_close(layer.weight.grad, numbers["grad_weight"], rtol=1e-10, atol=1e-11)


def test_one_level_is_a_convolution() -> None:
    layer, x = ScaleCorrelation(3, 4, 5).double(), torch.rand(2, 3, 1, 12, 11, dtype=torch.float64)
    plain = nn.Conv2d(3, 4, 5, padding=2).double()
    plain.load_state_dict({"weight": layer.weight[:, :, 0], "bias": layer.bias})
    assert torch.equal(layer(x)[:, :, 0], plain(x[:, :, 0]))


@pytest.mark.parametrize(("base", "a"), [(2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("size", [(16, 24), (18, 27), (13, 11)])
@pytest.mark.parametrize("interaction", [1, 3])
def test_shrinking_moves_the_levels_exactly(base: int, a: int, size: tuple[int, int], interaction: int) -> None:
    """Of every base^a-th pixel, level s is level s + a of the whole: at borders and top levels too, for any size."""
    torch.manual_seed(0)
    layer = ScaleCorrelation(2, 3, 3, interaction=interaction, base=base).double()
    x, step = torch.randn(2, 2, 4, *size, dtype=torch.float64), base**a
    small = layer(x[:, :, a:, ::step, ::step])
    torch.testing.assert_close(small, layer(x)[:, :, a:, ::step, ::step], rtol=0, atol=1e-13)


def test_shrinking_before_is_shrinking_after_for_a_stack_with_dilated_pools() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        ScaleCorrelation(1, 4, 3, interaction=2), nn.ReLU(), SpacePool2d(), ScaleCorrelation(4, 3, 3), SpacePool2d()
    ).double()
    x = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(net(x[:, :, 1:, ::2, ::2]), net(x)[:, :, 1:, ::2, ::2], rtol=0, atol=1e-13)
    net[2].dilated = False
    assert (net(x[:, :, 1:, ::2, ::2]) - net(x)[:, :, 1:, ::2, ::2]).abs().max() > 0.1


def test_levels_are_made_of_themselves_and_of_those_above() -> None:
    layer = ScaleCorrelation(1, 1, 3, interaction=2).double()
    x = torch.rand(1, 1, 4, 9, 9, dtype=torch.float64, requires_grad=True)
    layer(x)[:, :, 1].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((0, 1, 3, 4)) > 0).tolist() == [False, True, True, False]


def test_gradients_are_right_for_input_weight_and_bias() -> None:
    layer = ScaleCorrelation(1, 2, 3, interaction=2).double()
    x = torch.rand(1, 1, 3, 5, 4, dtype=torch.float64, requires_grad=True)

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(of, (x, *layer.parameters()))


def test_a_base_that_is_not_whole_warns_of_its_dilations() -> None:
    with pytest.warns(UserWarning, match="base is 1.5.*dilations of the levels are 1, 1, 2, 3, and"):
        ScaleCorrelation(1, 1, 3, base=1.5, levels=4)
    with pytest.warns(UserWarning, match="are 1, 1, 1, 1, 2, 2, and"):
        ScaleCorrelation(1, 1, 3, base=1.2, levels=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ScaleCorrelation(1, 1, 3, base=2.0)


def test_weights_begin_as_he_says_and_biases_at_one() -> None:
    torch.manual_seed(0)
    layer = ScaleCorrelation(16, 32, 3, interaction=3)
    expected = math.sqrt(2 / (16 * 3 * 9))
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.03) and abs(layer.weight.mean()) < 0.03 * expected
    assert layer.weight.abs().max() > 3 * expected  # a normal distribution, no uniform one
    assert layer.bias is not None and torch.equal(layer.bias, torch.ones(32))
    assert ScaleCorrelation(1, 1, 3, bias=False).bias is None


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (4, 2), (2, 4), (6, 4)])
def test_the_delta_start_copies_channels_of_the_group(inputs: int, outputs: int) -> None:
    groups = math.gcd(inputs, outputs)
    weight = near_identity_(torch.empty(outputs, inputs, 2, 3, 3, dtype=torch.float64))
    middle = torch.zeros_like(weight)
    for o in range(outputs):
        for c in range(inputs):
            middle[o, c, 0, 1, 1] = groups / outputs if o * groups // outputs == c * groups // inputs else 0
    assert middle.sum() > 0 and (weight - middle).abs().max() <= 0.01 and (weight - middle).std() > 0.004


def test_the_delta_start_is_almost_the_identity() -> None:
    layer, x = ScaleCorrelation(4, 4, 3, interaction=2, bias=False, init="delta"), torch.rand(1, 4, 3, 8, 8)
    assert (layer(x) - x).abs().mean() < 0.1 * x.mean()


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1] = F.avg_pool2d(images[labels == 1], 3, 1, 1)
    net = nn.Sequential(ScaleSpace(3), ScaleCorrelation(1, 8, 3, interaction=2), nn.ReLU())
    head = nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], 0.02)
    losses = []
    for _ in range(20):
        losses.append(F.cross_entropy(head(net(images).amax((2, 3, 4))), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_it_bears_the_tools() -> None:
    bears_tools(ScaleCorrelation(2, 3, 3, interaction=2), torch.rand(2, 2, 3, 10, 9))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="kernel_size is 4; expected an odd number"):
        ScaleCorrelation(1, 1, 4)
    with pytest.raises(ValueError, match="interaction is 0; expected a whole number"):
        ScaleCorrelation(1, 1, 3, interaction=0)
    with pytest.raises(ValueError, match="interaction is 4; expected at most the 2 levels"):
        ScaleCorrelation(1, 1, 3, interaction=4, levels=2)
    with pytest.raises(ValueError, match="levels is 0; expected a whole number"):
        ScaleCorrelation(1, 1, 3, levels=0)
    with pytest.raises(ValueError, match="base is 1; expected a number above 1"):
        ScaleCorrelation(1, 1, 3, base=1)
    with pytest.raises(ValueError, match="init is 'zero'; expected 'he' or 'delta'"):
        ScaleCorrelation(1, 1, 3, init="zero")
    with pytest.raises(ValueError, match="in_channels is 0"):
        ScaleCorrelation(0, 1, 3)
    with pytest.raises(ValueError, match="out_channels is 0"):
        ScaleCorrelation(1, 0, 3)
    layer = ScaleCorrelation(2, 1, 3, levels=3)
    with pytest.raises(ValueError, match="ScaleCorrelation got a plain tensor"):
        layer(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="ScaleCorrelation got 2 scales"):
        layer(torch.rand(1, 2, 2, 8, 8))
    with pytest.raises(ValueError, match=r"ScaleCorrelation got 1 channels, of \(1, 1, 3, 8, 8\); expected 2"):
        layer(torch.rand(1, 1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"ScaleCorrelation got .*without a scale; expected at least one"):
        ScaleCorrelation(2, 1, 3)(torch.rand(1, 2, 0, 8, 8))
    with pytest.raises(TypeError, match="ScaleCorrelation got int64"):
        layer(torch.zeros(1, 2, 3, 8, 8, dtype=torch.int64))


def plain_network(width: int, levels: int, base: float = 2) -> nn.Sequential:
    """The published network for MNIST, which has no nonlinearity between its correlations."""
    widths = [(1, width, 1), (width, width, 3), (width, 2 * width, 3), (2 * width, 2 * width, 3)]
    one, two, three, four = (ScaleCorrelation(i, o, 3, interaction=n, base=base, bias=False) for i, o, n in widths)
    pool = SpacePool2d(kind="avg", dilated=False)
    embedding = nn.Sequential(ScaleSpace(levels), one, two, pool, three, four, pool, ScalePool("pixel"), nn.ReLU())
    return nn.Sequential(embedding, nn.Flatten(), nn.Linear(2 * width * 49, 10))


def test_golden_numbers_of_a_whole_network() -> None:
    numbers, settings = golden("dss_plain_b2")
    net = plain_network(settings["n"], settings["S"], settings["base"]).double()
    parameters = list(net.parameters())
    for i, (parameter, (_, shape, kind)) in enumerate(zip(parameters, settings["params"], strict=True)):
        u = np.random.RandomState(1000 * settings["seed"] + i).uniform(-1, 1, shape)
        scale = math.sqrt(3 / np.prod(shape[1:])) if kind == "W" else 0.1
        parameter.data = torch.from_numpy(u * scale).reshape(parameter.shape)
    lifted = net[0][0](numbers["x"])
    torch.testing.assert_close(lifted[:, :, -1], numbers["x_lifted_level_last"], rtol=1e-10, atol=1e-12)
    embedding = net[0](numbers["x"])
    torch.testing.assert_close(embedding, numbers["embedding"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net(numbers["x"]), numbers["logits"], rtol=1e-10, atol=1e-12)


def test_counts_of_parameters() -> None:
    with np.load(FOLDER / "seed003_param_counts.npz") as file:
        counts = dict(zip(file["models"].tolist(), file["counts"].tolist(), strict=True))
    for width in (8, 16, 32):
        for levels in (4, 8):
            found = sum(parameter.numel() for parameter in plain_network(width, levels).parameters())
            assert found == counts[f"dss_plain n={width} S={levels}"]
