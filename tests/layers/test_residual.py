"""The residual equilibrium: one canonical form for all warped versions of an image, which no published one has."""

from __future__ import annotations

import math

import pytest
import torch

from layers.canonicalizer import Canonicalizer
from layers.fixed_point import FixedPointSolver
from layers.grid import SHARPNESS, WarpParams
from layers.monotone import monotone_warp
from layers.residual import ResidualMap, centred, exactly_still
from layers.spec import DEC, Correction, MapSpec, Site, Solver

SIDE, MEMBERS = 193, 64
GAIN = 0.5  # of the analytic corrections: the mass then moves by less than what is left


def drawn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A smooth image at any places in [0, 1]: mirrored about its middle, so that its centre of mass lies there."""
    x, y = (2 * place[..., None, :] - 1 if place is x else 2 * place[..., :, None] - 1 for place in (x, y))
    return (0.5 + torch.cos(1.5 * x) * torch.cos(1.5 * y) + 0.3 * torch.cos(4 * x) * torch.cos(3 * y))[:, None]


def smooth_image() -> torch.Tensor:
    """The image itself, which needs no correction: it is its own canonical form."""
    place = torch.linspace(0, 1, SIDE, dtype=torch.float64)[None]
    return drawn(place, place.clone())


def left_to_correct(image: torch.Tensor) -> WarpParams:
    """How far the centre of mass lies from the middle, as a correction of separable warps with three knots."""
    mass = image.sum((1, 2, 3))
    place = torch.linspace(-0.5, 0.5, SIDE, dtype=image.dtype)
    x, y = (image.sum((1, axis)) @ place / mass for axis in (2, 3))
    return WarpParams(*(GAIN * torch.stack([part, -part], dim=1)[:, None] for part in (x, y)))


def orbit() -> torch.Tensor:
    """Versions of the image that a separable warp with three knots brings back to it: the middle knot reads at m."""
    generator = torch.Generator().manual_seed(0)
    phi = 0.3 * torch.rand(2, MEMBERS, 2, generator=generator, dtype=torch.float64)
    place = torch.linspace(0, 1, SIDE, dtype=torch.float64)
    middle = (SHARPNESS * phi).softmax(-1)[..., :1]
    before = torch.where(place < middle, place / middle / 2, (1 + (place - middle) / (1 - middle)) / 2)
    return drawn(before[0], before[1])


def canonical_forms(members: torch.Tensor, *, residual: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What each member looks like under the warp that is found for it, and how well it was found."""

    def update(phi: WarpParams) -> WarpParams:
        left = left_to_correct(monotone_warp(members, phi))
        below = [centred(part) if residual else torch.zeros_like(part) for part in phi]
        return WarpParams(*(1 + old + new for old, new in zip(below, left, strict=True)))

    start = WarpParams.identity(MEMBERS, 3, separable=True, dtype=members.dtype)
    found = FixedPointSolver(name="fixed_point", max_steps=120, tol=1e-9)(update, start)
    return monotone_warp(members, found.value), found.residual


def test_all_members_of_an_orbit_have_one_canonical_form() -> None:
    members = orbit()
    spread = (members - members.mean(0)).abs().max()
    forms, residual = canonical_forms(members, residual=True)
    assert residual.max() < 1e-5 and spread > 0.3
    assert (forms - smooth_image()).abs().max() < 1e-3


def test_the_published_equation_with_the_same_map_has_not() -> None:
    """A map of gain g undoes g / (1 + g) of a warp, however well its equation is solved."""
    members = orbit()
    forms, residual = canonical_forms(members, residual=False)
    assert residual.max() < 1e-8
    assert (forms - forms.mean(0)).abs().max() > 0.3


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_before_training_it_is_the_identity_bit_by_bit(condition: str) -> None:
    dec = MapSpec(equilibrium="residual", condition=condition)
    given = {name: value for name, value in vars(dec).items() if name not in ("channels", "kernel_sizes", "pools")}
    channels = [3] if condition == "feature" else None
    canonicalizer = Canonicalizer([5], dec.channels, dec.kernel_sizes, dec.pools, feature_channels=channels, **given)
    image = torch.rand(2, 3, 80, 72)
    found = canonicalizer.solve(0, image)
    assert torch.equal(found.value.x, torch.ones(2, 5, 4)) and torch.equal(found.value.y, torch.ones(2, 5, 4))
    assert found.residual.abs().max() == 0
    assert torch.equal(exactly_still(image, found.value, monotone_warp(image, found.value)), image)


def some_map(**options) -> ResidualMap:
    torch.manual_seed(0)
    made = ResidualMap(4, 1, Correction(channels=(4, 8), pools=(2, 1), dilations=(1, 2), **options)).double()
    torch.nn.init.normal_(made[-1].weight, std=1.0)
    return made


@pytest.mark.parametrize("separable", [False, True])
def test_corrections_are_bounded_and_move_no_mean(separable: bool) -> None:
    image, rows = torch.rand(3, 1, 32, 40, dtype=torch.float64), 1 if separable else 4
    largest = {}
    for bound in (0.001, 0.1):
        left = some_map(separable=separable, bound=bound).correction(image)
        largest[bound] = max(part.abs().max().item() for part in left)
        for part in left:
            assert part.shape == (3, rows, 3)
            torch.testing.assert_close(part.mean(-1), torch.zeros(3, rows, dtype=torch.float64), rtol=0, atol=1e-12)
    assert 0 < largest[0.001] <= 0.002 < largest[0.1] <= 0.2


def test_what_lies_left_is_corrected_by_the_columns_there() -> None:
    """x is read along rows, y along columns: what differs in one corner moves nothing elsewhere."""
    made = some_map()
    image = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    before = made.correction(image)
    image[:, :, :12, 50:] = 0.05  # the upper right corner
    moved = [(part - other).abs()[0] for part, other in zip(made.correction(image), before, strict=True)]
    assert moved[0][0].sum() > 2 * moved[0][3].sum()  # the first row of x, not the last
    assert moved[1][3].sum() > 2 * moved[1][0].sum()  # the last column of y, not the first


def test_the_implicit_gradient_agrees_with_finite_differences() -> None:
    """Of a regular Jacobian of g: the analytic one, scaled by a parameter and shifted by another."""
    members = orbit()[:2]

    def solved(shift: torch.Tensor, gradient: str = "implicit") -> torch.Tensor:
        def update(phi: WarpParams) -> WarpParams:
            left = left_to_correct(monotone_warp(members, phi))
            return WarpParams(
                1 + centred(phi.x) + left.x + shift * torch.tensor([1.0, -1.0]), 1 + centred(phi.y) + left.y
            )

        start = WarpParams.identity(2, 3, separable=True, dtype=members.dtype)
        solver = FixedPointSolver(name="fixed_point", max_steps=80, tol=1e-12, gradient=gradient, backward_steps=80)
        return solver(update, start).value.x[:, 0, 0].sum()

    shift = torch.tensor(0.02, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(solved(shift), shift)
    with torch.no_grad():
        step = 1e-3
        finite = (solved(shift + step) - solved(shift - step)) / (2 * step)
    # Bilinear reading has a slope that jumps at pixels, of which a difference sees the mean and a gradient one side.
    assert math.isclose(gradient.item(), finite.item(), rel_tol=0.03)
    (one_step,) = torch.autograd.grad(solved(shift, "one_step"), shift)
    assert one_step.item() < gradient.item() / 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correction": Correction(bound=0.1)}, "correction is set, which the published equilibrium does not know"),
        (
            {"equilibrium": "residual", "channels": (3, 8, 8)},
            "channels is set, which the residual equilibrium",
        ),
        ({"equilibrium": "residual", "gain": 0.0}, "gain is set, which the residual equilibrium does not know"),
        ({"equilibrium": "other"}, "equilibrium is 'other'; expected one of published, residual"),
    ],
)
def test_options_of_the_other_equilibrium_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DEC(sites=(Site("image", 8),), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ()}, "channels is empty; expected one per block"),
        ({"pools": (2,)}, "pools has 1 numbers; expected 4, one per block"),
        ({"dilations": (1, 1, 1, 0)}, "expected whole numbers of at least 1"),
        ({"bound": 0.0}, "bound is 0.0; expected a finite number above 0"),
        ({"input_size": 0}, "input_size is 0; expected None, or at least 1 pixel"),
    ],
)
def test_wrong_corrections_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Correction(**options)


def test_solvers_agree_and_gradients_reach_every_weight() -> None:
    made, image = some_map(), torch.rand(2, 1, 32, 32, dtype=torch.float64)
    start = WarpParams.identity(2, 4, dtype=torch.float64)

    def update(phi: WarpParams) -> WarpParams:
        moved = made(phi, image)
        return WarpParams(*(torch.lerp(old, new, 0.5) for old, new in zip(phi, moved, strict=True)))

    solver = Solver(max_steps=3)
    found = FixedPointSolver(**vars(solver))(update, start)
    (found.value.x[..., 0].sum() + found.value.y[..., 0].sum()).backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in made.parameters())
