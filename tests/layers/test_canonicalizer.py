"""The canonicalizer: the reference's numbers and gradients, and one image at a time."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.canonicalizer import Canonicalizer, ResidualBlock, UpdateMap, evaluate_in_parts, load_reference_state
from layers.fixed_point import FixedPointSolver
from layers.grid import WarpParams, knot_grid
from tests.layers.test_monotone import smooth

GOLDEN = Path(__file__).parents[1] / "golden"
PUBLISHED = {"channels": (3, 64, 128), "kernel_sizes": (5, 3), "pools": (4, 2)}


def golden(name: str) -> tuple[dict[str, torch.Tensor], Canonicalizer]:
    stored = np.load(GOLDEN / f"canonicalizer_{name}.npz")
    config = json.loads(str(stored["config"]))
    values = {key: torch.tensor(stored[key]) for key in stored if key != "config"}
    n = config["adapter_num_layers"]
    canonicalizer = Canonicalizer(
        config["adapter_coarse_resolution"],
        config["adapter_channels"][: n + 1],
        config["adapter_filter_size"][:n],
        config["adapter_pool_rate"][:n],
    )
    state = {key.removeprefix("param."): value for key, value in values.items() if key.startswith("param.")}
    load_reference_state(canonicalizer, state)
    return values, canonicalizer


def small(**options) -> Canonicalizer:
    torch.manual_seed(0)
    return Canonicalizer(
        **{"grid_sizes": (4, 5), "channels": (3, 6, 8), "kernel_sizes": (3, 3), "pools": (2, 2)} | options
    )


class PlainBlock(nn.Module):
    """What a residual block means, written as the formula stands: sum, norm, softplus, then pool."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.block, self.stride = block, block.conv1.stride

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        block = self.block
        margin = block.conv1.kernel_size[0] // 2
        a = F.conv2d(F.pad(z, (margin,) * 4, mode="reflect"), block.conv1.weight, block.conv1.bias, self.stride)
        r = (z if block.projection is None else block.projection(z))[..., :: self.stride[0], :: self.stride[1]]
        return F.max_pool2d(F.softplus(block.norm1(a + r)), block.pool)


@pytest.mark.parametrize(
    "sizes", [(3, 8, 5, 4), (8, 8, 3, 2), (3, 8, 3, 1), (4, 6, 1, 3), (3, 8, 5, 2, 2), (8, 8, 3, 1, 3)]
)
def test_the_fast_block_is_the_plain_one(sizes):
    """Also for negative and zero gains, for which max-pooling and norm do not commute as they stand."""
    torch.manual_seed(0)
    block = ResidualBlock(*sizes).double()
    with torch.no_grad():
        block.norm1.weight.uniform_(-2, 2)
        block.norm1.weight[0] = 0
        block.norm1.bias.normal_()
    z = torch.randn(2, sizes[0], 23, 18, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(block(z), PlainBlock(block)(z), rtol=1e-9, atol=1e-9)
    parameters = [z, block.conv1.weight, block.norm1.bias]
    mine, theirs = (torch.autograd.grad(network(z).pow(2).sum(), parameters) for network in (block, PlainBlock(block)))
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["mnist", "imagenet"])
def test_reference_values_and_gradients(name):
    values, canonicalizer = golden(name)
    source = canonicalizer.prepared(values["image"])
    for site, update in enumerate(canonicalizer.module_list):
        with torch.no_grad():
            once = update(WarpParams.identity(2, update.grid_size), source)
        torch.testing.assert_close(once.x, values[f"one_evaluation_phi_x.{site}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(once.y, values[f"one_evaluation_phi_y.{site}"], rtol=0, atol=1e-5)
    form = canonicalizer(values["image"])
    for site, phi in enumerate(form.phis):
        torch.testing.assert_close(phi.x, values[f"phi_x.{site}"], rtol=0, atol=1e-3)
        torch.testing.assert_close(phi.y, values[f"phi_y.{site}"], rtol=0, atol=1e-3)
    loss = sum(phi.x.pow(2).mean() + phi.y.pow(3).mean() for phi in form.phis)
    torch.testing.assert_close(loss, values["loss"], rtol=1e-4, atol=0)
    loss.backward()
    for parameter_name, parameter in canonicalizer.named_parameters():
        expected = values[f"grad.{parameter_name}"]
        error = (parameter.grad - expected).norm()
        if expected.abs().max() < 1e-4:  # biases that instance normalisation cancels: rounding on both sides
            assert (parameter.grad - expected).abs().max() <= 1e-4
        else:
            assert error <= 0.01 * expected.norm(), parameter_name


@pytest.mark.parametrize("name", ["mnist", "imagenet"])
def test_the_state_goes_there_and_back_under_the_references_names(name):
    values, canonicalizer = golden(name)
    names = {key.removeprefix("param.") for key in values if key.startswith("param.")}
    assert set(canonicalizer.state_dict()) == names
    state = {key: torch.randn_like(value) for key, value in canonicalizer.state_dict().items()}
    load_reference_state(canonicalizer, state)
    for key, value in canonicalizer.state_dict().items():
        assert torch.equal(value, state[key])


def test_every_name_that_does_not_fit_is_listed():
    canonicalizer = small()
    state = canonicalizer.state_dict()
    state["module_list.0.0.conv2.weight"] = torch.zeros(1)
    del state["module_list.1.3.bias"]
    state["module_list.0.2.bias"] = torch.zeros(3)
    with pytest.raises(ValueError) as error:
        load_reference_state(canonicalizer, state)
    for line in (
        "unknown: module_list.0.0.conv2.weight",
        "missing: module_list.1.3.bias",
        r"wrong shape: module_list.0.2.bias is (3,), expected (2,)",
    ):
        assert line in str(error.value)


def test_published_sizes():
    mnist = Canonicalizer((4,), (3, 32, 64), (3, 3), (2, 2))
    beit = Canonicalizer((4,), (3, 32, 64, 128, 128), (3,) * 4, (2, 2, 2, 1))
    imagenet = Canonicalizer((4,), **PUBLISHED)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (mnist, beit, imagenet)]
    assert counts == [21_958, 252_358, 87_942]


@pytest.mark.parametrize("R", [2, 3, 4, 10])
def test_shapes_and_range(R):
    form = small(grid_sizes=(R,))(torch.rand(3, 3, 40, 56))
    for part in form.phis[0]:
        assert part.shape == (3, R, R - 1) and part.min() > 0 and part.max() < 1
    assert form.steps.shape == form.residual.shape == (3, 1)


def test_exactly_six_evaluations_per_site(monkeypatch):
    calls = []
    evaluate = UpdateMap.forward

    def counted(self, phi, source):
        calls.append((self.grid_size, torch.is_grad_enabled()))
        return evaluate(self, phi, source)

    monkeypatch.setattr(UpdateMap, "forward", counted)
    canonicalizer = small()
    for mode in (True, False):
        calls.clear()
        canonicalizer.train(mode)(torch.rand(1, 3, 32, 32))
        assert calls == [(R, step == 5) for R in (4, 5) for step in range(6)]


def test_the_one_step_gradient_is_that_of_the_last_evaluation():
    canonicalizer = small(grid_sizes=(4,), input_size=None, normalize=False)
    image = torch.rand(2, 3, 32, 32)
    source = canonicalizer.prepared(image)
    form = canonicalizer(image)
    update = canonicalizer.module_list[0]
    estimate = None

    def watched(phi):
        nonlocal estimate
        estimate = phi.detach()
        return evaluate_in_parts(update, source, phi)

    FixedPointSolver()(watched, WarpParams.identity(2, 4))
    once = evaluate_in_parts(update, source, estimate)
    parameters = list(canonicalizer.parameters())
    for left, right in zip(
        torch.autograd.grad(form.phis[0].x.square().sum(), parameters),
        torch.autograd.grad(once.x.square().sum(), parameters),
        strict=True,
    ):
        assert torch.equal(left, right)


def test_strength_bounds_phi_and_scales_the_map():
    image = torch.rand(2, 3, 32, 32)
    full, weak = small(grid_sizes=(4,)), small(grid_sizes=(4,), strength=0.25)
    weak.load_state_dict(full.state_dict())
    source, start = full.prepared(image), WarpParams.identity(2, 4)
    one, quarter = (network.module_list[0](start, source) for network in (full, weak))
    torch.testing.assert_close(quarter.x - 0.5, 0.25 * (one.x - 0.5))
    with torch.no_grad():
        weak.module_list[0][-1].weight.fill_(100)
    for part in weak(image).phis[0]:
        assert (part - 0.5).abs().max() <= 0.125


def test_a_blind_network_finds_the_identity():
    canonicalizer = small(grid_sizes=(5,))
    with torch.no_grad():
        canonicalizer.module_list[0][-2].weight.zero_()
        canonicalizer.module_list[0][-1].bias.normal_()
    form = canonicalizer(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(knot_grid(form.phis[0]), knot_grid(WarpParams.identity(2, 5)), rtol=0, atol=1e-6)
    assert (form.residual < 1e-6).all() and (form.steps == 2).all()


@pytest.mark.parametrize("tol", [1e-6, 1e-2])
def test_an_image_finds_the_same_warp_in_every_batch(tol):
    """Also noise, on which the map amplifies every difference of rounding by several times per step."""
    canonicalizer = small(solver=FixedPointSolver(max_steps=12, tol=tol), input_size=48)
    image = torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    image[1] = image[1].mean()  # flat: converges at once
    together = canonicalizer(image)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = canonicalizer(image[order])
    for site in range(2):
        for part in range(2):
            whole = together.phis[site][part]
            alone = torch.cat([canonicalizer(image[b : b + 1]).phis[site][part] for b in range(5)])
            torch.testing.assert_close(alone, whole, rtol=0, atol=1e-5)
            torch.testing.assert_close(permuted.phis[site][part], whole[order], rtol=0, atol=1e-5)
    assert torch.equal(permuted.steps, together.steps[order])


def test_sites_share_nothing():
    canonicalizer = small()
    image = torch.rand(2, 3, 32, 32)
    before = canonicalizer(image)
    with torch.no_grad():
        canonicalizer.module_list[1][0].conv1.weight.normal_()
    after = canonicalizer(image)
    assert torch.equal(before.phis[0].x, after.phis[0].x) and not torch.equal(before.phis[1].x, after.phis[1].x)


def test_copies_are_independent():
    canonicalizer = small()
    twin = copy.deepcopy(canonicalizer)
    image = torch.rand(1, 3, 32, 32)
    expected = canonicalizer(image).phis[0].x
    with torch.no_grad():
        for parameter in canonicalizer.parameters():
            parameter.zero_()
    assert torch.equal(twin(image).phis[0].x, expected)


def test_the_image_is_resized_and_normalized_for_the_map():
    canonicalizer = small(input_size=(24, 40))
    image = torch.rand(2, 3, 60, 60)
    source = canonicalizer.prepared(image)
    resized = F.interpolate(image, size=(24, 40), mode="bilinear")
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    # Means do not matter: the map's first norm takes them away, and so does prepared, for the sake of rounding.
    expected = (resized - resized.mean((2, 3), keepdim=True)) / std
    torch.testing.assert_close(source, expected, rtol=0, atol=1e-5)
    plain = small(input_size=None, normalize=False).prepared(image)
    torch.testing.assert_close(plain, image - image.mean((2, 3), keepdim=True))


def test_separable_warps_have_one_profile_per_axis_which_transposes_with_the_image():
    """The profile of x averages the response over rows, that of y over columns."""
    canonicalizer = small(separable=True, input_size=48)
    image = smooth(2, 48, 48)
    form = canonicalizer(image)
    assert [tuple(part.shape) for phi in form.phis for part in phi] == [(2, 1, 3)] * 2 + [(2, 1, 4)] * 2
    update = canonicalizer.module_list[0]
    whole = small(input_size=48).module_list[0]
    source = canonicalizer.prepared(image)
    start = WarpParams.identity(2, 4, separable=True)
    profile, rows = update(start, source), whole(WarpParams.identity(2, 4), source)
    # Averaged before the sigmoid: the mean of the logits of the rows, which are of equal height here.
    for mine, theirs in zip(profile, rows, strict=True):
        torch.testing.assert_close(mine.logit(), theirs.logit().mean(1, keepdim=True), rtol=0, atol=1e-5)


def test_antialiasing_averages_over_what_resizing_skips():
    """Stripes of one pixel are grey at a quarter of the size, and noise without it."""
    image = torch.zeros(1, 3, 96, 96)
    image[..., ::3] = 1
    found = [small(input_size=24, normalize=False, antialias=on).prepared(image).std() for on in (False, True)]
    assert found[1] < 0.1 * found[0]


@pytest.mark.parametrize("size", [(23, 18), (9, 31)])
def test_the_smallest_source_of_a_strided_map_is_known(size):
    update = small(strides=(2, 3), kernel_sizes=(5, 3), pools=(2, 1)).module_list[0]
    update.check_size(size)
    update(WarpParams.identity(1, 4), torch.rand(1, 3, *size))
    with pytest.raises(ValueError, match="needs more"):
        update.check_size((5, 5))


def test_pure_half_precision_runs():
    canonicalizer = small(input_size=48)
    image = smooth(2, 48, 48)
    expected = canonicalizer(image).phis[0].x
    found = copy.deepcopy(canonicalizer).bfloat16()(image.bfloat16()).phis[0].x
    assert found.dtype == torch.float32 and (found - expected).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid_sizes": ()}, "expected at least one site"),
        ({"grid_sizes": (4, 1)}, "each of at least 2"),
        ({"pools": (2,)}, "pools has 1 numbers; expected 2, one per kernel size"),
        ({"channels": (3, 6)}, "channels has 2 numbers; expected 3, the image's and one per kernel size"),
        ({"kernel_sizes": (3, 4)}, "expected odd numbers"),
        ({"pools": (0, 2)}, "of at least 1"),
        ({"strides": (2,)}, "strides has 1 numbers; expected 2"),
        ({"strides": (1, 0)}, "strides is .* of at least 1"),
        ({"pools": (2.0, 2)}, "expected whole numbers"),
        ({"input_size": 0}, "input_size is 0; expected"),
        ({"solver": "anderson"}, "solver is 'anderson'; expected a FixedPointSolver"),
        ({"strength": 0.0}, "strength is 0.0; expected a number above 0 and at most 1"),
        ({"condition": "latent"}, "condition is 'latent'; expected one of image, feature"),
        ({"condition": "feature"}, "only 'feature' needs them"),
        ({"condition": "feature", "feature_channels": (8,)}, "1 feature_channels for 2 sites"),
        ({"channels": (1, 6, 8)}, "normalize is True and needs 3 image channels, got 1"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_solver_of_none_is_the_published_one():
    image = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    found, expected = small(solver=None), small()
    assert vars(found.solver) == vars(expected.solver) == vars(FixedPointSolver())
    torch.testing.assert_close(found(image).phis, expected(image).phis, rtol=0, atol=0)


def test_a_state_of_other_things_than_floating_tensors():
    canonicalizer = small()
    state: dict = dict(canonicalizer.state_dict())
    state["module_list.0.2.bias"] = 3
    state["module_list.1.2.bias"] = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"wrong kind: module_list\.0\.2\.bias is int") as error:
        load_reference_state(canonicalizer, state)
    assert "wrong kind: module_list.1.2.bias is torch.int64" in str(error.value)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(3, 32, 32), ValueError, r"got shape \(3, 32, 32\); expected \(B, 3, H, W\)"),
        (torch.rand(0, 3, 32, 32), ValueError, "B and size of at least 1"),
        (torch.rand(2, 1, 32, 32), ValueError, r"expected \(B, 3, H, W\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), TypeError, "got torch.uint8"),
        (torch.rand(2, 3, 32, 32, device="meta"), ValueError, "the image is on meta but the canonicalizer on cpu"),
    ],
)
def test_bad_images(image, error, message):
    with pytest.raises(error, match=message):
        small()(image)


def test_sources_that_are_too_small():
    with pytest.raises(ValueError, match="is 1 x 1 when it reaches block 1; reflecting a margin of 1 needs more"):
        small(input_size=2)(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="leaves 1 x 1 after the pools"):
        small(input_size=4)(torch.rand(1, 3, 32, 32))
