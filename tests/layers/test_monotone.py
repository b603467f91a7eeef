"""Monotone warps: identity, convention, agreement with the reference's numbers, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from layers.grid import WarpParams, evaluate_grid, knot_grid, random_warp_params, warp_grid
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.spec import SampleMode

GOLDEN = Path(__file__).parents[1] / "golden"


def phi_of(batch: int, R: int, strength: float = 1.0, seed: int = 0, dtype: torch.dtype = torch.float32) -> WarpParams:
    phi = random_warp_params(batch, R, strength, generator=torch.Generator().manual_seed(seed))
    return WarpParams(phi.x.to(dtype), phi.y.to(dtype))


def smooth(batch: int, H: int, W: int) -> torch.Tensor:
    """Sums of six cosines with up to three half periods per axis."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
    periods = torch.randint(0, 4, (2, batch, 3, 6, 1, 1), generator=generator)
    weights = torch.randn(batch, 3, 6, 1, 1, generator=generator)
    return (weights * torch.cos(torch.pi * periods[0] * y) * torch.cos(torch.pi * periods[1] * x)).sum(2)


@pytest.mark.parametrize("R", [2, 3, 4, 8, 32])
@pytest.mark.parametrize("size", [(224, 224), (17, 40), (5, 3), (1, 6), (6, 1), (1, 1)])
def test_equal_parameters_are_the_identity(R, size):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for constant in (1.0, -3.0):
        phi = WarpParams(*(part * constant for part in WarpParams.identity(2, R)))
        torch.testing.assert_close(monotone_warp(image, phi), image, rtol=0, atol=1e-4)
        torch.testing.assert_close(inverse_monotone_warp(image, phi), image, rtol=0, atol=1e-4)
        assert torch.equal(monotone_warp(image, phi, mode="nearest"), image)
        assert torch.equal(inverse_monotone_warp(image, phi, mode="nearest"), image)


def test_the_convention_by_hand():
    """One row of phi.x with increments e^0 : e^3 : e^3 reads at 0, .0243, .5121, 1; y stays where it is."""
    phi = WarpParams(torch.tensor([0.0, 1, 1]).expand(1, 4, 3), torch.ones(1, 4, 3))
    knots = knot_grid(phi)[0]
    expected = torch.tensor([0, 0.0243, 0.5121, 1])
    torch.testing.assert_close(knots[0], expected.expand(4, 4), rtol=0, atol=1e-4)
    torch.testing.assert_close(knots[1], torch.linspace(0, 1, 4)[:, None].expand(4, 4), rtol=0, atol=1e-6)
    # The grid says where to read: a ramp along x shows the reading positions themselves.
    ramp = torch.linspace(0, 1, 4).expand(1, 1, 4, 4).contiguous()
    torch.testing.assert_close(monotone_warp(ramp, phi)[0, 0], expected.expand(4, 4), rtol=0, atol=1e-4)


def test_y_is_indexed_column_first():
    y = torch.ones(1, 4, 3)
    y[0, 1, 0] = 0  # column 1, first vertical interval: shorter
    grid = knot_grid(WarpParams(torch.ones(1, 4, 3), y))[0, 1]
    assert grid[1, 1] < 1 / 3 - 0.1
    torch.testing.assert_close(grid[:, 0], torch.linspace(0, 1, 4))


def test_transposing_the_image_swaps_x_and_y():
    image, phi = torch.rand(2, 3, 20, 31), phi_of(2, 6)
    swapped = monotone_warp(image.mT, WarpParams(phi.y, phi.x)).mT
    torch.testing.assert_close(monotone_warp(image, phi), swapped, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [0.25, 1.0, 10.0])
def test_grids_increase_between_fixed_ends(strength):
    phi = phi_of(8, 8, strength, dtype=torch.float64)
    grid = warp_grid(phi, (40, 56))
    x, y = grid[:, 0], grid[:, 1].mT
    for along in (x, y):
        assert (along.diff(dim=-1) > 0).all()
        assert along[..., 0].abs().max() < 1e-12 and (along[..., -1] - 1).abs().max() < 1e-12


def test_adding_a_constant_to_a_row_changes_nothing():
    phi = phi_of(2, 5)
    moved = WarpParams(phi.x + torch.randn(2, 5, 1), phi.y + torch.randn(2, 5, 1))
    torch.testing.assert_close(knot_grid(moved), knot_grid(phi), rtol=0, atol=1e-6)


def test_separable_parameters_stand_for_equal_rows():
    row = WarpParams(torch.rand(2, 1, 4), torch.rand(2, 1, 4))
    full = WarpParams(*(part.expand(2, 5, 4).clone() for part in row))
    torch.testing.assert_close(warp_grid(row, (9, 7)), warp_grid(full, (9, 7)), rtol=0, atol=0)


def test_the_grid_passes_through_its_map():
    phi = phi_of(2, 6, dtype=torch.float64)
    grid = warp_grid(phi, (11, 16))
    y, x = torch.meshgrid(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in (11, 16)), indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 2).expand(2, -1, -1)
    torch.testing.assert_close(evaluate_grid(phi, points).mT.reshape(2, 2, 11, 16), grid, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_an_identity_reads_every_pixel_itself(mode: SampleMode) -> None:
    image = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    phi = WarpParams(*(part.double() for part in WarpParams.identity(2, 4)))
    torch.testing.assert_close(monotone_warp(image, phi, mode=mode), image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "antialiased"])
def test_all_modes_read_at_the_same_positions(mode: SampleMode) -> None:
    """An image that is a plane shows where it is read; at the border, where modes differ, it is left out."""
    y, x = torch.meshgrid(*[torch.linspace(0, 1, 40, dtype=torch.float64)] * 2, indexing="ij")
    plane = torch.stack([x, y])[None]
    phi = random_warp_params(1, 3, 0.4, generator=torch.Generator().manual_seed(1))
    phi = WarpParams(phi.x.double(), phi.y.double())
    found = monotone_warp(plane, phi, mode=mode)[..., 3:-3, 3:-3]
    torch.testing.assert_close(found, warp_grid(phi, (40, 40))[..., 3:-3, 3:-3], rtol=0, atol=2e-3)


def test_antialiased_is_the_mean_of_four_readings() -> None:
    """Of an untouched image it blurs each pixel with weights 1/8, 3/4, 1/8 along each axis."""
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1
    found = monotone_warp(image, WarpParams.identity(1, 3), mode="antialiased")[0, 0, 2:5, 2:5]
    row = torch.tensor([1.0, 6.0, 1.0]) / 8
    torch.testing.assert_close(found, row[:, None] * row)


def test_an_image_and_its_labels_move_alike():
    """Nearest mode reads the pixel whose centre is nearest to where bilinear mode reads."""
    image, phi = torch.rand(1, 1, 24, 33), phi_of(1, 8)
    rows = torch.arange(24).view(1, 1, 24, 1).expand(1, 1, 24, 33)
    columns = torch.arange(33).expand(1, 1, 24, 33)
    at = torch.cat([monotone_warp(part.float(), phi) for part in (rows, columns)], 1).round().long()
    for label in ((image * 1e12).long(), image > 0.5, (image * 255).byte()):
        warped = monotone_warp(label, phi, mode="nearest")
        assert warped.dtype == label.dtype
        assert (warped[0, 0] == label[0, 0][at[0, 0], at[0, 1]]).float().mean() > 0.99  # ties at half pixels aside


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_images_are_read_at_exact_positions(dtype):
    image, phi = smooth(2, 64, 64), phi_of(2, 6)
    image = image / image.abs().max()
    exact = monotone_warp(image, phi)
    for given in (phi, WarpParams(*(part.to(dtype) for part in phi))):
        warped = monotone_warp(image.to(dtype), given)
        assert warped.dtype == dtype
        assert (warped.float() - exact).abs().max() < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("case", ["r4_square", "r8_wide", "r6_tall", "r10_tokens", "separable", "work_resolution_32"])
def test_reference_numbers(case):
    golden = {
        key.split(".")[1]: torch.tensor(value) for key, value in np.load(GOLDEN / "warp.npz").items() if case in key
    }
    phi, image = WarpParams(golden["phi_x"], golden["phi_y"]), golden["image"]
    work_size = (32, 32) if "work" in case else None
    # The reference smooths phi by a kernel of 4e-6 beside its centre; that alone is what remains, 5.1e-4 at most.
    close = {"rtol": 1e-4, "atol": 5e-4}
    warped = monotone_warp(image, phi, work_size=work_size)
    torch.testing.assert_close(warped, golden["warped"], **close)
    torch.testing.assert_close(inverse_monotone_warp(image, phi, work_size=work_size), golden["unwarped"], **close)
    if "round_trip" in golden:
        torch.testing.assert_close(inverse_monotone_warp(warped, phi), golden["round_trip"], **close)
    if "coarse_grid" in golden:
        torch.testing.assert_close(knot_grid(phi), golden["coarse_grid"], rtol=0, atol=1e-5)


def test_derivatives_of_both_orders():
    phi = phi_of(2, 4, dtype=torch.float64)
    inputs = [part.requires_grad_() for part in (torch.rand(2, 2, 7, 9, dtype=torch.float64), *phi)]

    def warp(image, x, y):
        return monotone_warp(image, WarpParams(x, y))

    assert torch.autograd.gradcheck(warp, inputs)
    assert torch.autograd.gradgradcheck(warp, inputs)
    assert torch.autograd.gradcheck(lambda x, y: warp(inputs[0].detach(), x, y), inputs[1:])


def test_function_transforms_differentiate_a_warp():
    phi, image = phi_of(1, 4, dtype=torch.float64), torch.rand(1, 1, 5, 6, dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return monotone_warp(image, WarpParams(x, phi.y)).square().sum()

    x = phi.x.requires_grad_()
    torch.testing.assert_close(torch.func.grad(loss)(phi.x.detach()), torch.autograd.grad(loss(x), x)[0])


def test_random_parameters_come_from_their_generator():
    first, second = (random_warp_params(3, 8, 0.25, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.x, second.x) and not torch.equal(first.x, first.y)
    assert first.x.shape == first.y.shape == (3, 8, 7)
    assert first.x.min() >= 0 and 0.2 < first.x.max() < 0.25


def test_parameters_work_in_tree_map():
    doubled = tree_map(lambda part: part * 2, WarpParams.identity(1, 4))
    assert isinstance(doubled, WarpParams) and doubled.x.sum() == 24


@pytest.mark.parametrize(
    ("phi", "error", "message"),
    [
        (WarpParams(torch.ones(2, 4, 3), torch.ones(2, 5, 4)), ValueError, r"batch and grid size must agree"),
        (WarpParams(torch.ones(2, 6, 6), torch.ones(2, 6, 6)), ValueError, r"\(2, 6, 6\); expected \(B, R, R - 1\)"),
        (WarpParams(torch.ones(2, 1, 0), torch.ones(2, 1, 0)), ValueError, "R of at least 2"),
        (WarpParams(torch.ones(0, 4, 3), torch.ones(0, 4, 3)), ValueError, "batch of zero"),
        (WarpParams(torch.ones(3, 4, 3), torch.ones(3, 4, 3)), ValueError, "phi is for 3 images; this batch has 2"),
        (WarpParams(torch.full((2, 4, 3), torch.nan), torch.ones(2, 4, 3)), ValueError, "not finite"),
        (WarpParams(torch.ones(2, 4, 3), torch.ones(2, 4, 3) / 0), ValueError, "not finite"),
        (WarpParams(torch.ones(2, 4, 3).double(), torch.ones(2, 4, 3)), TypeError, "must agree"),
        (
            WarpParams(*(torch.ones(2, 4, 3).double(),) * 2),
            TypeError,
            "phi is torch.float64 but the image torch.float32",
        ),
        (WarpParams(*(torch.ones(2, 4, 3).half(),) * 2), TypeError, "convert one of them"),
        (WarpParams(*(torch.ones(2, 4, 3).long(),) * 2), TypeError, "expected a floating dtype"),
        (WarpParams(*(torch.ones(2, 4, 3, device="meta"),) * 2), ValueError, "phi is on meta but the image on cpu"),
        (torch.ones(2, 4, 3), TypeError, "expected WarpParams"),
        ((torch.ones(2, 4, 3), torch.ones(2, 4, 3)), TypeError, "phi is tuple; expected WarpParams"),
        (WarpParams(*(torch.full((2, 4, 3), 2e38),) * 2), ValueError, "too large"),
    ],
)
@pytest.mark.parametrize("warp", [monotone_warp, inverse_monotone_warp])
def test_bad_parameters(warp, phi, error, message):
    with pytest.raises(error, match=message):
        warp(torch.rand(2, 3, 8, 8), phi)


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (torch.rand(3, 8, 8), {}, ValueError, r"\(3, 8, 8\); expected \(B, C, H, W\)"),
        (torch.rand(0, 3, 8, 8), {}, ValueError, "none of them zero"),
        (torch.ones(2, 3, 8, 8, dtype=torch.uint8), {}, TypeError, "torch.uint8; bilinear mode needs a floating dtype"),
        (
            torch.rand(2, 3, 8, 8),
            {"mode": "lanczos"},
            ValueError,
            "mode is 'lanczos'; expected one of bilinear, nearest, bicubic, antialiased",
        ),
        (torch.rand(2, 3, 8, 8), {"mode": "nearest", "work_size": (4, 4)}, ValueError, "labels cannot be averaged"),
        (torch.rand(2, 3, 8, 8), {"work_size": (0, 4)}, ValueError, "at least 1 each"),
        (np.zeros((2, 3, 8, 8)), {}, TypeError, "expected a tensor"),
    ],
)
def test_bad_images(image, options, error, message):
    with pytest.raises(error, match=message):
        monotone_warp(image, WarpParams.identity(2, 4), **options)


def test_bad_sizes_strengths_and_points():
    with pytest.raises(ValueError, match="grid_size is 1; expected at least 2"):
        WarpParams.identity(2, 1)
    with pytest.raises(ValueError, match="batch is 0"):
        random_warp_params(0, 4, 0.5)
    with pytest.raises(ValueError, match="strength is nan"):
        random_warp_params(1, 4, float("nan"))
    with pytest.raises(ValueError, match=r"size is \(0, 3\)"):
        warp_grid(WarpParams.identity(1, 4), (0, 3))
    with pytest.raises(ValueError, match=r"expected \(B, N, 2\)"):
        evaluate_grid(WarpParams.identity(1, 4), torch.rand(1, 2, 5))
    with pytest.raises(ValueError, match="points hold values that are not finite"):
        evaluate_grid(WarpParams.identity(1, 4), torch.full((1, 5, 2), torch.nan))
    with pytest.raises(TypeError, match=r"points are torch\.float64"):
        evaluate_grid(WarpParams.identity(1, 4), torch.rand(1, 5, 2).double())
