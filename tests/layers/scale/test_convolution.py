"""Convolution by way of the Fourier transform is convolution, and is taken where it should be alone."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor, nn

from evaluation.cost import multiply_adds
from layers.scale import convolution
from layers.scale.convolution import BATCH, PlainConv2d, convolve, least_saved
from layers.scale.fourier import by_fourier, fast_side
from layers.scale.functions import LearnedFunctions
from layers.scale.halving import SharedConv
from layers.scale.hermite import Family
from layers.scale.kanazawa import KanazawaConv2d
from layers.scale.rotations import RotationLifting
from layers.scale.steerable import SAME, LiftingConv2d
from layers.scale.widths import ScaleWidths


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def transforms() -> Iterator[list[int]]:
    """One entry for every convolution that is transformed."""
    calls: list[int] = []
    by_fourier = convolution.by_fourier

    def counted(*arguments: object) -> Tensor:
        calls.append(1)
        return by_fourier(*arguments)  # type: ignore[arg-type]

    with patch.object(convolution, "by_fourier", counted):
        yield calls


@pytest.mark.parametrize(("H", "W"), [(14, 14), (17, 23), (30, 14)])  # 14, 17 and 23 are no sides of fast transforms
@pytest.mark.parametrize(("groups", "padding"), [(1, 0), (1, 5), (4, 0), (4, 7)])
@pytest.mark.parametrize("k", [2, 11, 14])
@pytest.mark.parametrize("has_bias", [False, True])
def test_it_is_a_convolution_and_so_are_its_gradients(
    H: int, W: int, groups: int, padding: int, k: int, has_bias: bool
) -> None:
    x, kernels, bias = random(3, 8, H, W), random(12, 8 // groups, k, k, seed=1), random(12, seed=2)
    inputs = [x, kernels, bias] if has_bias else [x, kernels]
    for one in inputs:
        one.requires_grad_()
    shift = bias if has_bias else None
    ours, plain = by_fourier(x, kernels, shift, padding, groups), F.conv2d(x, kernels, shift, 1, padding, 1, groups)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-11)
    weight = random(*plain.shape, seed=3)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((plain * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("needed", [(True, True, True), (True, False, False), (False, True, False)])
def test_its_gradients_have_gradients_of_their_own(needed: tuple[bool, ...]) -> None:
    """In both directions, of the maps, of the kernels and of both: as a penalty on a gradient needs them."""
    inputs = [random(2, 4, 5, 6), random(6, 2, 3, 3, seed=1), random(6, seed=2)]
    for one, is_needed in zip(inputs, needed, strict=True):
        one.requires_grad_(is_needed)

    def convolution_of(x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
        return by_fourier(x, kernels, bias, 1, 2)

    assert torch.autograd.gradcheck(convolution_of, inputs)
    assert torch.autograd.gradgradcheck(convolution_of, inputs)


def test_in_single_precision_it_agrees_within_rounding(transforms: list[int]) -> None:
    x, kernels = random(16, 16, 58, 58, dtype=torch.float32), random(32, 16, 15, 15, seed=1, dtype=torch.float32)
    exact = F.conv2d(x.double(), kernels.double())
    for found in (convolve(x, kernels), F.conv2d(x, kernels)):
        assert (found - exact).norm() < 2e-6 * exact.norm()
    assert len(transforms) == 1


@pytest.mark.parametrize("side", [30, 31])
def test_a_batch_teaches_widths_what_its_images_teach_one_by_one(side: int, transforms: list[int]) -> None:
    torch.manual_seed(0)
    widths = ScaleWidths(3, first=0.8, span=3.0)
    layer = LiftingConv2d(8, 8, LearnedFunctions(widths, Family(kind="A", effective_size=5)), padding=SAME).double()
    images = random(BATCH, 8, side, side)
    whole = layer(images)
    assert transforms
    single = torch.cat([layer(image[None]) for image in images])
    assert len(transforms) == 1
    torch.testing.assert_close(whole, single)
    for one, other in zip(
        torch.autograd.grad(whole.pow(3).sum(), [layer.weight, widths.change]),
        torch.autograd.grad(single.pow(3).sum(), [layer.weight, widths.change]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "layer",
    [
        PlainConv2d(16, 32, 7),
        PlainConv2d(16, 32, 7, padding=3, bias=False),
        KanazawaConv2d(16, 32, 7, factors=(1.0, 1.25)),
        RotationLifting(16, 8, 7),
    ],
    ids=lambda layer: repr(layer),
)
def test_a_batch_is_answered_as_its_images_one_by_one(layer: nn.Module, transforms: list[int]) -> None:
    images = random(BATCH, 16, 30, 30)
    whole = layer.double()(images)
    assert len(transforms) == 1
    torch.testing.assert_close(whole, torch.cat([layer(image[None]) for image in images]))
    assert len(transforms) == 1


def test_all_levels_are_convolved_by_whichever_way_is_faster(transforms: list[int]) -> None:
    layer = SharedConv(16, 32, 7).double()
    levels = random(BATCH, 16, 30, 30), random(BATCH, 16, 3, 3)
    for found, level in zip(layer(levels), levels, strict=True):
        torch.testing.assert_close(found, F.conv2d(level, layer.weight, layer.bias, padding=3))
    assert len(transforms) == 1  # the small level's taps are too few


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 3}, {"groups": 2}, {"stride": 2, "padding": 1}], ids=str
)
def test_a_plain_convolution_is_that_of_torch(options: dict[str, int]) -> None:
    ours, theirs = PlainConv2d(16, 32, 7, **options).double(), nn.Conv2d(16, 32, 7, **options).double()
    theirs.load_state_dict(ours.state_dict())
    x = random(BATCH, 16, 30, 31)
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_transform_is_taken_for_batches_and_kernels_that_are_worth_it(transforms: list[int]) -> None:
    x, kernels = random(BATCH, 8, 40, 40), random(12, 8, 11, 11, seed=1)
    torch.testing.assert_close(convolve(x, kernels, padding=5), F.conv2d(x, kernels, padding=5))
    assert len(transforms) == 1
    assert torch.equal(convolve(x[1:], kernels), F.conv2d(x[1:], kernels))
    assert torch.equal(convolve(x, kernels, stride=2), F.conv2d(x, kernels, stride=2))
    small = kernels[..., :8, :8]
    assert 8**2 * 33**2 / 40**2 < least_saved(small) < 8**2  # the map has more places than the answer
    assert torch.equal(convolve(x, small), F.conv2d(x, small))
    assert torch.equal(convolve(x[..., :12], kernels), F.conv2d(x[..., :12], kernels))  # few answers are left
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(x.float(), kernels.float()).dtype == torch.bfloat16
    assert convolve(x.bfloat16(), kernels.bfloat16()).dtype == torch.bfloat16
    assert len(transforms) == 1


def test_many_channels_share_their_transforms(transforms: list[int]) -> None:
    x, kernels = random(BATCH, 64, 20, 20), random(96, 64, 7, 7, seed=1)
    assert 12 < least_saved(kernels) < 7**2 * 14**2 / 20**2 < least_saved(kernels, groups=48)
    torch.testing.assert_close(convolve(x, kernels), F.conv2d(x, kernels))
    assert len(transforms) == 1
    few = random(6, 4, 7, 7, seed=1)
    assert torch.equal(convolve(x[:, :4], few), F.conv2d(x[:, :4], few)) and len(transforms) == 1
    grouped = random(24, 16, 9, 9, seed=1)  # six of a group share a transform, and not all 24
    assert least_saved(grouped) < 9**2 * 12**2 / 20**2 < least_saved(grouped, groups=4)
    assert torch.equal(convolve(x, grouped, groups=4), F.conv2d(x, grouped, groups=4)) and len(transforms) == 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("H", "W", "k", "padding"), [(7, 7, 25, 12), (5, 7, 21, 10), (7, 5, 16, 8), (4, 4, 10, 5)])
def test_taps_that_meet_zeros_alone_are_cut_off(H: int, W: int, k: int, padding: int, stride: int) -> None:
    x, kernels = random(2, 3, H, W).requires_grad_(), random(4, 3, k, k, seed=1).requires_grad_()
    with patch.object(F, "conv2d", wraps=F.conv2d) as direct:
        ours = convolve(x, kernels, stride=stride, padding=padding)
        (_, met, *_), _ = direct.call_args
    plain = F.conv2d(x, kernels, None, stride, padding)
    torch.testing.assert_close(ours, plain)
    found, wanted = (torch.autograd.grad(y.pow(3).sum(), [x, kernels]) for y in (ours, plain))
    torch.testing.assert_close(found, wanted)
    assert met.shape[-1] == 2 * (max(H, W) + padding) - k < k  # 13 of 25 on 7 x 7 places
    assert wanted[1][..., 0, :].abs().max() == 0


@pytest.mark.parametrize(("H", "W", "padding"), [(8, 8, 0), (8, 40, 0), (40, 8, 0), (8, 8, 5)])
def test_a_kernel_larger_than_the_map_is_refused_as_torch_refuses_it(H: int, W: int, padding: int) -> None:
    """Where both sides are too small, the product of how far they are is positive, as if there were many answers."""
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        convolve(random(BATCH, 2, H, W), random(3, 2, 30, 30, seed=1), padding=padding)


def test_exported_it_takes_any_batch() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
            return convolve(x, kernels)

    x, kernels = random(BATCH, 8, 40, 40), random(12, 8, 11, 11, seed=1)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Layer(), (x, kernels), dynamic_shapes=({0: batch}, None)).module()
    torch.testing.assert_close(program(x[:3], kernels), F.conv2d(x[:3], kernels))
    assert not any("fft" in str(node.target) for node in program.graph.nodes)


def test_what_one_image_costs_is_counted_in_products_of_a_direct_convolution(transforms: list[int]) -> None:
    x, kernels = random(1, 2, 40, 40), random(3, 2, 11, 11, seed=1)
    assert multiply_adds(lambda: convolve(x, kernels)) == 3 * 2 * 11**2 * 30 * 30
    assert not transforms


def test_transforms_have_sides_without_large_prime_factors() -> None:
    assert [fast_side(side) for side in range(1, 300)] == [next_fast_len(side, real=True) for side in range(1, 300)]
