"""Inverses of warps: exact where they must be, and how far the row-wise one is off."""

import numpy as np
import pytest
import torch

from layers.grid import WarpParams, evaluate_grid, random_warp_params, warp_grid
from layers.monotone import fold_mask, inverse_monotone_warp, inverse_warp_grid, monotone_warp
from tests.layers.test_monotone import phi_of, smooth


def lattice(size: tuple[int, int]) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in size), indexing="ij")
    return torch.stack([x, y])


def miss(phi: WarpParams, inverse: torch.Tensor) -> torch.Tensor:
    """|g(h(q)) - q| at every lattice point, (B, H, W)."""
    size = (inverse.shape[-2], inverse.shape[-1])
    exact = WarpParams(phi.x.double(), phi.y.double())
    found = evaluate_grid(exact, inverse.double().flatten(2).mT).mT.view(-1, 2, *size)
    return (found - lattice(size)).norm(dim=1)


def count_preimages(phi: WarpParams, size: tuple[int, int], side: int = 700) -> torch.Tensor:
    """By brute force: the image of a fine triangulation covers a point once per preimage."""
    grid = warp_grid(WarpParams(phi.x.double(), phi.y.double()), (side, side))[0]
    H, W = size
    count = torch.zeros(H, W, dtype=torch.long)
    corners = torch.stack([grid[:, :-1, :-1], grid[:, :-1, 1:], grid[:, 1:, 1:], grid[:, 1:, :-1]])
    for triangle in ((0, 1, 2), (0, 2, 3)):
        a, b, c = corners[list(triangle)].flatten(2)
        low = torch.minimum(torch.minimum(a, b), c) * torch.tensor([[W - 1.0], [H - 1.0]])
        high = torch.maximum(torch.maximum(a, b), c) * torch.tensor([[W - 1.0], [H - 1.0]])
        hit = ((high.floor() >= low.ceil()).all(0)).nonzero()[:, 0]
        for k in hit.tolist():
            first, last = low[:, k].ceil().int().tolist(), high[:, k].floor().int().tolist()
            for row in range(first[1], last[1] + 1):
                for column in range(first[0], last[0] + 1):
                    q = torch.tensor([column / (W - 1), row / (H - 1)], dtype=torch.float64)
                    sides = [
                        (v[0] - u[0]) * (q[1] - u[1]) - (v[1] - u[1]) * (q[0] - u[0])
                        for u, v in ((a[:, k], b[:, k]), (b[:, k], c[:, k]), (c[:, k], a[:, k]))
                    ]
                    count[row, column] += all(s > 0 for s in sides) or all(s < 0 for s in sides)
    return count


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_exact_inverse_of_the_plane(strength):
    phi = phi_of(2, 8, strength)
    size = (64, 80)
    exact, rowwise = (miss(phi, inverse_warp_grid(phi, size, method=method)) for method in ("exact", "rowwise"))
    assert exact.max() <= 1e-4
    assert rowwise.mean() > 1e-3, "were rows independent, there would be nothing to invert exactly"


def test_a_point_with_one_preimage_gets_that_one():
    phi = phi_of(1, 6, 1.0, seed=3)
    size = (24, 24)
    count = count_preimages(phi, size)[1:-1, 1:-1]
    assert (count == 1).float().mean() > 0.5 and (count > 1).any(), "this warp should fold somewhere"
    found = inverse_warp_grid(phi, size, method="exact")
    assert miss(phi, found)[0, 1:-1, 1:-1][count == 1].max() <= 1e-4


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_of_several_preimages_one_that_keeps_orientation_is_chosen(strength):
    """There always is one: the border maps onto itself, so one more preimage keeps orientation than turns it."""
    phi = phi_of(2, 8, strength, dtype=torch.float64)
    size = (40, 50)
    assert fold_mask(phi, size).double().mean() > 0.1
    points = inverse_warp_grid(phi, size, method="exact")[..., 1:-1, 1:-1].flatten(2).mT.requires_grad_()
    x, y = evaluate_grid(phi, points).unbind(-1)
    right_x, down_x = torch.autograd.grad(x.sum(), points, retain_graph=True)[0].unbind(-1)
    right_y, down_y = torch.autograd.grad(y.sum(), points)[0].unbind(-1)
    assert (right_x * down_y - right_y * down_x).min() > 0


def test_folds_are_where_the_jacobian_turns():
    phi = phi_of(6, 8, 1.0, dtype=torch.float64)
    size = (60, 85)
    step = 1e-6
    y, x = lattice(size)[[1, 0]].flatten(1)
    x, y = x.clamp(2e-6, 1 - 2e-6), y.clamp(2e-6, 1 - 2e-6)

    def at(dx: float, dy: float) -> torch.Tensor:
        return evaluate_grid(phi, torch.stack([x + dx, y + dy], -1).expand(6, -1, -1))

    right, down = at(step, 0) - at(-step, 0), at(0, step) - at(0, -step)
    determinant = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    folded = fold_mask(phi, size)
    assert 0.01 < folded.double().mean() < 0.5
    # On the few lattice points between two cells one folding side is enough; central differences average both.
    assert (folded.flatten(1) == (determinant <= 0)).double().mean() > 0.97
    inside = torch.ones(size, dtype=torch.bool)
    inside[:, ((lattice(size)[0, 0] * 7) % 1 == 0)] = False
    inside[((lattice(size)[1, :, 0] * 7) % 1 == 0)] = False
    assert (folded.flatten(1) == (determinant <= 0))[:, inside.flatten()].all()


def test_the_identity_never_folds():
    assert not fold_mask(WarpParams.identity(1, 8), (30, 30)).any()


@pytest.mark.parametrize("method", ["rowwise", "exact"])
@pytest.mark.parametrize(("R", "strength"), [(8, 0.25), (4, 1.0)])
def test_separable_round_trip(method, R, strength):
    row = random_warp_params(4, R, strength, generator=torch.Generator().manual_seed(0))
    phi = WarpParams(row.x[:, :1], row.y[:, :1])
    image = smooth(4, 224, 224)
    back = inverse_monotone_warp(monotone_warp(image, phi), phi, method=method)
    error = (back - image).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)
    assert error.max() <= 2e-3
    # The other way round a strong inverse first shrinks content below a pixel; what is lost there is the resampler's.
    forth = monotone_warp(inverse_monotone_warp(image, phi, method=method), phi)
    error = (forth - image).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)
    assert error.max() <= (2e-3 if strength < 1 else 5e-3)


def test_rowwise_error_falls_fourfold_as_strength_halves():
    errors = []
    for strength in (0.2, 0.1, 0.05):
        phi = phi_of(16, 8, strength, dtype=torch.float64)
        errors.append(miss(phi, inverse_warp_grid(phi, (120, 120))).mean())
    assert 3.3 < errors[0] / errors[1] < 4.7 and 3.3 < errors[1] / errors[2] < 4.7


def test_rowwise_inverts_each_row_and_column():
    phi = phi_of(2, 6, dtype=torch.float64)
    size = (50, 63)
    grid, inverse = warp_grid(phi, size), inverse_warp_grid(phi, size)
    for row in range(0, 50, 7):
        along, back = grid[0, 0, row].numpy(), inverse[0, 0, row].numpy()
        at = torch.tensor(np.interp(back, lattice(size)[0, 0].numpy(), along))
        torch.testing.assert_close(at, lattice(size)[0, 0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["rowwise", "exact"])
def test_inverse_grids_keep_ends_and_order(method):
    grid = inverse_warp_grid(phi_of(4, 8, 0.25), (40, 40), method=method)
    for along in (grid[:, 0], grid[:, 1].mT):
        assert along[..., 0].abs().max() < 1e-6 and (along[..., -1] - 1).abs().max() < 1e-6
        assert (along.diff(dim=-1) > -1e-7).all()


@pytest.mark.parametrize("method", ["rowwise", "exact"])
def test_gradients_of_inverses(method):
    phi = phi_of(2, 4, 0.3, dtype=torch.float64)
    parts = [part.requires_grad_() for part in phi]
    assert torch.autograd.gradcheck(lambda x, y: inverse_warp_grid(WarpParams(x, y), (7, 9), method=method), parts)


def test_a_gradient_changes_no_value_and_is_the_only_one():
    phi = phi_of(2, 8, 8.0)
    without = inverse_warp_grid(phi, (30, 30), method="exact")
    x = phi.x.requires_grad_()
    grid = inverse_warp_grid(phi, (30, 30), method="exact")
    assert torch.equal(grid, without)
    with pytest.raises(RuntimeError, match="has no second derivative; the row-wise one has"):
        torch.autograd.grad(grid.square().sum(), x, create_graph=True)


def test_unknown_method():
    with pytest.raises(ValueError, match="method is 'newton'; expected one of rowwise, exact"):
        inverse_warp_grid(WarpParams.identity(1, 4), (8, 8), method="newton")
