"""Fixed points: closed forms, torchdeq as an oracle, gradients against unrolling, and each image for itself."""

import warnings
from functools import partial

import pytest
import torch
from torchdeq.solver.anderson import anderson_solver

from layers.fixed_point import FixedPointSolver, UpdateFunction, iterated, spectral_radius
from layers.grid import WarpParams
from layers.spec import Gradient

R = 4
D = 2 * R * (R - 1)


def flat(phi: WarpParams) -> torch.Tensor:
    return torch.cat([phi.x.flatten(1), phi.y.flatten(1)], 1)


def unflat(p: torch.Tensor) -> WarpParams:
    return WarpParams(*(part.reshape(-1, R, R - 1) for part in p.chunk(2, dim=1)))


def start(batch: int, dtype: torch.dtype = torch.float64) -> WarpParams:
    return WarpParams.identity(batch, R, dtype=dtype)


class Affine:
    """f(p) = A_b p + c, one matrix per image, with a known spectral radius each; A is scaled by a learnable gain."""

    def __init__(self, radii: list[float], seed: int = 0, dtype: torch.dtype = torch.float64):
        generator = torch.Generator().manual_seed(seed)
        A = torch.randn(len(radii), D, D, generator=generator, dtype=dtype)
        size = torch.linalg.eigvals(A).abs().amax(1)
        self.A = A * (torch.tensor(radii, dtype=dtype) / size)[:, None, None]
        self.c = torch.randn(D, generator=generator, dtype=dtype)
        self.gain = torch.ones((), dtype=dtype, requires_grad=True)
        self.calls: list[bool] = []

    def __call__(self, phi: WarpParams) -> WarpParams:
        self.calls.append(torch.is_grad_enabled())
        p = flat(phi)
        A = self.A[: len(p)].to(p.dtype)
        return unflat((self.gain.to(p.dtype) * A @ p[:, :, None])[:, :, 0] + self.c.to(p.dtype))

    def solution(self) -> torch.Tensor:
        system = torch.eye(D, dtype=self.A.dtype) - self.gain * self.A
        return torch.linalg.solve(system, self.c.expand(len(self.A), D))


@pytest.mark.parametrize(
    "solver",
    [
        FixedPointSolver("anderson", max_steps=100, tol=1e-5),
        FixedPointSolver("broyden", max_steps=60, tol=1e-5),
        FixedPointSolver("fixed_point", max_steps=60, tol=1e-5),
        FixedPointSolver("fixed_point", max_steps=120, tol=1e-5, damping=0.5),
    ],
    ids=lambda solver: f"{solver.name}-{solver.damping}",
)
def test_a_contraction_is_solved(solver):
    f = Affine([0.5, 0.7])
    found = solver(f, start(2))
    assert (found.residual <= 1e-5).all() and (found.steps < solver.max_steps).all()
    torch.testing.assert_close(flat(found.value), f.solution(), rtol=0, atol=1e-3)


def test_damping_converges_where_plain_iteration_cannot():
    """An eigenvalue of -1.5 is out of reach of plain steps, not of half steps."""

    def f(phi: WarpParams) -> WarpParams:
        return WarpParams(*(-1.5 * part + 1 for part in phi))

    assert FixedPointSolver("fixed_point", max_steps=40)(f, start(1)).residual > 0.5
    found = FixedPointSolver("fixed_point", max_steps=40, damping=0.5)(f, start(1))
    torch.testing.assert_close(flat(found.value), torch.full((1, D), 0.4, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_steps", [3, 5, 9, 14])
def test_anderson_is_torchdeqs(max_steps):
    """The same iterates, hence the same answer: the evaluation with the smallest residual, applied once more."""
    f = Affine([0.9, 2.0, 4.0])
    with torch.no_grad():
        best, _, _ = anderson_solver(lambda p: flat(f(unflat(p))), flat(start(3)), max_iter=max_steps, tol=0)
        expected = flat(f(unflat(best)))
    found = FixedPointSolver(max_steps=max_steps)(f, start(3))
    torch.testing.assert_close(flat(found.value), expected, rtol=1e-7, atol=1e-9)
    residual = (expected - best).norm(dim=1) / expected.norm(dim=1)
    torch.testing.assert_close(found.residual, residual, rtol=1e-6, atol=1e-12)


def test_six_evaluations_the_last_with_gradient():
    f = Affine([0.9])
    found = FixedPointSolver()(f, start(1))
    assert f.calls == [False] * 5 + [True]
    assert found.steps.tolist() == [5]
    f.calls.clear()
    with torch.no_grad():
        FixedPointSolver()(f, start(1))
    assert f.calls == [False] * 6


@pytest.mark.parametrize("name", ["anderson", "broyden", "fixed_point"])
def test_every_image_stops_by_itself(name):
    """Alone, or beside others that converge earlier or never: the same steps and the same value."""
    radii = [0.05, 0.4, 0.8, 3.0]
    solver = FixedPointSolver(name, max_steps=30, tol=1e-3)
    f = Affine(radii)
    together = solver(f, start(4))
    assert len(set(together.steps.tolist())) >= 3
    for image in range(4):
        alone = Affine(radii)
        alone.A = alone.A[image : image + 1]
        found = solver(alone, start(1))
        assert found.steps == together.steps[image]
        torch.testing.assert_close(flat(found.value)[0], flat(together.value)[image], rtol=1e-6, atol=1e-9)


def test_the_search_ends_when_the_last_image_has_stopped():
    f = Affine([0.05, 0.05])
    FixedPointSolver("fixed_point", max_steps=50, tol=1e-4)(f, start(2))
    assert len(f.calls) < 10


def loss_of(solver: FixedPointSolver, f: Affine) -> torch.Tensor:
    return flat(solver(f, start(len(f.A))).value).pow(2).sum()


@pytest.mark.parametrize("name", ["anderson", "broyden", "fixed_point"])
def test_the_implicit_gradient_is_that_of_the_closed_form(name):
    f = Affine([0.5, 0.8])
    (expected,) = torch.autograd.grad(f.solution().pow(2).sum(), f.gain)
    solver = FixedPointSolver(name, max_steps=100, tol=1e-8, gradient="implicit", backward_steps=100)
    (found,) = torch.autograd.grad(loss_of(solver, f), f.gain)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    (one_step,) = torch.autograd.grad(loss_of(FixedPointSolver(name, max_steps=100, tol=1e-8), f), f.gain)
    assert (one_step - expected).abs() > 0.1 * expected.abs(), "otherwise nothing is shown"


@pytest.mark.parametrize("name", ["anderson", "fixed_point"])
def test_unrolling_to_convergence_agrees(name):
    f = Affine([0.6])
    (expected,) = torch.autograd.grad(f.solution().pow(2).sum(), f.gain)
    solver = FixedPointSolver(name, max_steps=200, tol=0, gradient="unrolled")
    torch.testing.assert_close(torch.autograd.grad(loss_of(solver, f), f.gain)[0], expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", ["anderson", "fixed_point"])
def test_unrolled_gradients_are_those_of_finite_differences(name):
    f = Affine([0.9, 1.3])
    solver = FixedPointSolver(name, max_steps=4, gradient="unrolled")
    (found,) = torch.autograd.grad(loss_of(solver, f), f.gain)
    with torch.no_grad():
        f.gain += 1e-5
        above = loss_of(solver, f)
        f.gain -= 2e-5
        below = loss_of(solver, f)
    torch.testing.assert_close(found, (above - below) / 2e-5, rtol=1e-5, atol=1e-6)


def test_an_adjoint_that_does_not_converge_says_so_and_falls_back_per_image():
    f = Affine([0.3, 40.0])
    solver = FixedPointSolver("fixed_point", max_steps=3, gradient="implicit", backward_steps=3)
    with pytest.warns(UserWarning, match="1 of 2 images did not converge in 3 steps; they use the one-step gradient"):
        (found,) = torch.autograd.grad(flat(solver(f, start(2)).value)[1].sum(), f.gain)
    one_step = FixedPointSolver("fixed_point", max_steps=3)
    (expected,) = torch.autograd.grad(flat(one_step(f, start(2)).value)[1].sum(), f.gain)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("steep", [torch.sqrt, lambda zero: zero.abs().sqrt()], ids=["infinite", "nan"])
def test_an_adjoint_that_is_not_a_number_falls_back_and_spoils_no_other(steep):
    """The second image's value is finite, as is its one-step gradient; its product with the Jacobian is not."""
    f = Affine([0.5, 0.5])
    f.gain = torch.ones(2, 1, 1, dtype=torch.float64, requires_grad=True)  # one per image

    def spoilt(phi: WarpParams) -> WarpParams:
        zero = flat(phi) - flat(phi).detach()
        return unflat(torch.cat([flat(f(phi))[:1], flat(f(phi))[1:] + steep(zero[1:])]))

    def gradient_of(function: UpdateFunction, gradient: Gradient) -> torch.Tensor:
        solver = FixedPointSolver(max_steps=60, gradient=gradient, backward_steps=60)
        return torch.autograd.grad(flat(solver(function, start(2)).value).pow(2).sum(), f.gain)[0]

    implicit, one_step = gradient_of(f, "implicit"), gradient_of(f, "one_step")
    assert ((implicit - one_step).abs() > 0.1 * implicit.abs()).all(), "otherwise nothing is shown"
    with pytest.warns(UserWarning, match="1 of 2 images did not converge"):
        found = gradient_of(spoilt, "implicit")
    torch.testing.assert_close(found, torch.stack([implicit[0], one_step[1]]))


def test_the_implicit_gradient_has_no_second_one():
    f = Affine([0.5])
    loss = loss_of(FixedPointSolver(max_steps=20, gradient="implicit"), f)
    with pytest.raises(RuntimeError, match="no second derivative; use gradient='unrolled'"):
        torch.autograd.grad(loss, f.gain, create_graph=True)


@pytest.mark.parametrize("gradient", ["one_step", "implicit", "unrolled"])
def test_two_searches_before_one_backward_pass(gradient):
    """A search keeps no state behind, so the closures of the first still belong to the first."""
    solver = FixedPointSolver(max_steps=30, gradient=gradient)
    first, second = Affine([0.5], seed=1), Affine([0.7], seed=2)
    alone = [torch.autograd.grad(loss_of(solver, f), f.gain)[0] for f in (first, second)]
    together = torch.autograd.grad(loss_of(solver, first) + loss_of(solver, second), [first.gain, second.gain])
    torch.testing.assert_close(together, tuple(alone))


@pytest.mark.parametrize("gradient", ["one_step", "implicit"])
def test_solves_in_float32_outside_autocast(gradient):
    f = Affine([0.5], dtype=torch.float32)
    seen = []

    def watched(phi: WarpParams) -> WarpParams:
        seen.append((torch.is_autocast_enabled("cpu"), phi.x.dtype))
        return f(phi)

    with torch.autocast("cpu", torch.bfloat16):
        found = FixedPointSolver(max_steps=30, gradient=gradient)(watched, start(1, torch.bfloat16))
    assert set(seen) == {(False, torch.float32)}
    assert found.value.x.dtype == torch.float32 and found.residual < 1e-4
    flat(found.value).sum().backward()


def test_an_image_that_is_not_a_number_spoils_no_other():
    f = Affine([0.5, 0.5])
    f.A[1] = torch.nan
    found = FixedPointSolver(max_steps=20)(f, start(2))
    assert found.value.x[0].isfinite().all() and found.residual[0] < 1e-3
    assert found.value.x[1].isnan().all() and found.residual[1].isnan()


@pytest.mark.parametrize("radius", [0.3, 0.9, 4.0])
def test_spectral_radius_of_a_random_matrix(radius):
    """Random matrices have complex pairs as their largest eigenvalues, which a Rayleigh quotient gets wrong."""
    f = Affine([radius] * 8)
    found = spectral_radius(f, start(8), iterations=200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, torch.full((8,), radius, dtype=torch.float64), rtol=0.05, atol=0)


def test_spectral_radius_of_a_constant_is_zero():
    for constant in (lambda phi: WarpParams(*(part * 0 for part in phi)), lambda phi: start(2)):
        assert (spectral_radius(constant, start(2)) < 1e-10).all()


def test_spectral_radius_of_a_map_of_one_part_alone():
    with torch.inference_mode():
        found = spectral_radius(lambda phi: WarpParams(phi.x * 0.5, torch.ones_like(phi.y)), start(1))
    torch.testing.assert_close(found, torch.full((1,), 0.5, dtype=torch.float64), rtol=0.05, atol=0)


@pytest.mark.parametrize("solver", [partial(FixedPointSolver, "anderson"), partial(FixedPointSolver, "fixed_point")])
def test_compiled_equals_eager(solver):
    f = Affine([0.5, 2.0])
    solve = solver(max_steps=8, tol=1e-3)

    def run(x: torch.Tensor) -> torch.Tensor:
        found = solve(f, WarpParams(x, x))
        return torch.cat([flat(found.value), found.residual[:, None], found.steps[:, None]], 1)

    with torch.no_grad():
        expected = run(torch.ones(2, R, R - 1, dtype=torch.float64))
        compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(torch.ones(2, R, R - 1, dtype=torch.float64))
    torch.testing.assert_close(compiled, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "newton"}, "name is 'newton'; expected one of anderson, broyden, fixed_point"),
        ({"gradient": "ift"}, "gradient is 'ift'; expected one of one_step, implicit, unrolled"),
        ({"max_steps": 2}, "max_steps is 2; anderson needs a whole number of at least 3"),
        ({"max_steps": 5.0}, "max_steps is 5.0"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"damping": 0.0}, "damping is 0.0"),
        ({"name": "broyden", "gradient": "unrolled"}, "gradient is unrolled, but broyden writes in place"),
        ({"name": "broyden", "damping": 0.5}, "takes no damping"),
        ({"backward_steps": 0}, "backward_steps is 0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        FixedPointSolver(**options)


def test_unknown_options_are_not_swallowed():
    with pytest.raises(TypeError, match="max_iter"):
        FixedPointSolver(max_iter=3)


def test_a_map_that_changes_the_shape():
    with pytest.raises(ValueError, match="a fixed point needs the same"):
        FixedPointSolver()(lambda phi: WarpParams.identity(1, 5), start(1))


def test_broyden_cannot_be_compiled():
    f = Affine([0.5])
    run = torch.compile(
        lambda x: FixedPointSolver("broyden")(f, WarpParams(x, x)).value.x, backend="eager", fullgraph=True
    )
    with pytest.raises(Exception, match="broyden branches on data"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(torch.ones(1, R, R - 1, dtype=torch.float64))


def test_iterated_evaluations_have_a_gradient_each() -> None:
    """State k + 1 is f of state k, and its gradient is that of this one evaluation."""
    gain = torch.tensor(0.5, requires_grad=True)
    start = WarpParams.identity(2, 3)
    found = iterated(lambda phi: WarpParams(gain * phi.x + 1, gain * phi.y), start, 3)
    values = [1.5, 1.75, 1.875]
    assert [state.x[0, 0, 0].item() for state in found.states] == values
    for before, state in zip([1.0, *values], found.states, strict=False):
        (slope,) = torch.autograd.grad(state.x[0, 0, 0], gain, retain_graph=True)
        assert slope.item() == before
    assert found.steps.tolist() == [3, 3] and found.value is found.states[-1]
    flat = torch.cat([part[0].flatten() for part in found.states[2]])
    before = torch.cat([part[0].flatten() for part in found.states[1]])
    torch.testing.assert_close(found.residual[0], ((flat - before).norm() / flat.norm()).detach())
