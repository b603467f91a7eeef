"""Values that the host reads in a forward pass: a GPU stands still for each of them, so there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from config.losses import ConsistencyTerm, EquivarianceTerm, PhiTerm
from layers.fixed_point import FixedPointSolver
from layers.grid import WarpParams
from layers.monotone import monotone_warp, unchecked_inverse_warp, unchecked_warp
from models.baselines import CanonicalizedModel, candidate_warps, with_energy
from models.dec import DECModel, Site, with_dec
from models.light import LIGHT
from tests.models.adapting import adapted, images, plain
from tests.train.test_objective import FINDS, objective_of
from train.losses import consistency_loss, phi_difference_loss, phi_prior_loss
from train.views import Batch

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default, torch.ops.aten.equal.default}
FIXED = FixedPointSolver(early_stop=False)


class Reads(TorchDispatchMode):
    """Counts what asks for a tensor's value."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in READS
        return function(*args, **(kwargs or {}))


def reads_of(model: Any, image: Tensor, **options: Any) -> int:
    with Reads() as reads:
        model(image, **options)
    return reads.count


def two_sites(restore: bool, **options: Any) -> DECModel:
    return adapted("test_vit", (Site("image", 4, restore), Site(0, 4, restore)), **options)


def test_a_read_is_counted() -> None:
    assert reads_of(lambda image: bool((image < 1e9).all()) and image.sum().item(), images()) == 2


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("restore", [False, True])
def test_a_solve_of_a_fixed_count_reads_nothing(restore: bool, training: bool) -> None:
    model = two_sites(restore, solver=FIXED).train(training)
    assert reads_of(model, images(), return_output=True) == 0


def test_asking_whether_all_images_are_done_is_all_that_reads() -> None:
    assert reads_of(two_sites(True), images()) == 2 * 4  # sites, evaluations that another one may follow


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_sites_on_features_read_nothing(condition: str) -> None:
    model = adapted("test_vit", (Site(0, 4), Site(1, 4)), condition=condition, solver=FIXED)
    assert reads_of(model, images()) == 0


def test_the_light_dec_of_a_fixed_count_reads_nothing() -> None:
    model = with_dec(plain(), LIGHT, solver=replace(LIGHT.solver, early_stop=False))
    assert reads_of(model, images()) == 0


def test_the_baselines_read_nothing() -> None:
    assert reads_of(CanonicalizedModel(plain(), candidate_warps((1.0, 0.5), 2)), images()) == 0
    energy = with_energy(
        plain(), [Site("image", 4, True)], steps=2, channels=(3, 4), kernel_sizes=(3,), input_size=(32, 32)
    )
    assert reads_of(energy, images()) == 0


def test_a_compiled_forward_pass_reads_nothing() -> None:
    torch._dynamo.reset()
    model = two_sites(True, solver=FixedPointSolver(max_steps=3)).eval()
    with torch.no_grad():
        program = torch.export.export(model, (images(),)).module()  # what a compiler is given, with the usual solver
        assert reads_of(program, images()) == 0


def test_the_loss_of_a_batch_reads_nothing() -> None:
    model = two_sites(True, solver=FIXED).train()
    image = images(3)
    batch = Batch(image, torch.tensor([0, 1, 2]), [4, 5, 6])
    everything = objective_of(
        FINDS,
        probability=0.5,
        two_views=True,
        equivariance=EquivarianceTerm(weight=1.0),
        phi=PhiTerm(difference=1.0, prior=1.0),
        consistency=ConsistencyTerm(weight=1.0),
    )
    with Reads() as reads:
        everything(model, batch, 0, 0).loss.backward()
    assert reads.count == 0


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("name", ["anderson", "fixed_point"])
def test_the_answer_is_the_same_whether_it_is_asked_or_not(name: str, early_stop: bool) -> None:
    """Images that are done rest: here the first after two evaluations, the other ones later."""
    rate = torch.tensor([0.0, 0.3, 0.6])[:, None, None]

    def f(phi: WarpParams) -> WarpParams:
        return WarpParams(0.5 + rate * (phi.x - 0.5), 0.2 + rate * (phi.y - 0.2))

    start = WarpParams.identity(3, 4)
    asked = FixedPointSolver(name=name, max_steps=30, tol=1e-5)
    expected, found = asked(f, start), replace(asked, early_stop=early_stop)(f, start)
    assert torch.equal(found.steps, expected.steps) and found.steps[0] < found.steps[2] < 30
    for value, other in zip((*found.value, found.residual), (*expected.value, expected.residual), strict=True):
        assert torch.equal(value, other)


def test_broyden_asks_by_itself() -> None:
    with pytest.raises(ValueError, match="early_stop is False; broyden stops by itself"):
        FixedPointSolver("broyden", early_stop=False)


def test_an_image_whose_warp_is_no_number_is_not_a_number() -> None:
    """Nothing looked at its parameters; it spoils no other image, and is told by its logits and its residual."""
    model = two_sites(True, solver=FIXED).eval()
    image = images(2)
    image[1] = torch.nan
    with torch.no_grad():
        found, expected = model(image, return_output=True), model(image[:1], return_output=True)
    torch.testing.assert_close(found.logits[:1], expected.logits, rtol=1e-4, atol=1e-5)
    assert found.logits[1].isnan().all() and found.residual[1].isnan().all()
    with torch.no_grad():
        model.canonicalizer.module_list[0][0].conv1.weight.fill_(torch.nan)
        assert model(images(2)).isnan().all()
    with pytest.raises(ValueError, match="phi holds values that are not finite"):
        nothing = WarpParams(torch.full((2, 4, 3), torch.nan), torch.ones(2, 4, 3))
        model.predict(images(2), [nothing, WarpParams.identity(2, 4)])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 2e38])
def test_whoever_reads_by_parameters_that_are_none_is_told(value: float) -> None:
    """Marked is what ``monotone_warp`` refuses, and nothing else; a loss on positions becomes NaN too."""
    image, good, bad = images(2), WarpParams.identity(2, 4), WarpParams.identity(2, 4)
    bad.x[1, 0, 0] = value
    with pytest.raises(ValueError, match="not finite, or too large"):
        monotone_warp(image, bad)
    for warp in (unchecked_warp, unchecked_inverse_warp):
        found = warp(image, bad)
        assert found[1].isnan().all() and torch.equal(found[:1], warp(image, good)[:1])
    large = WarpParams(torch.full((2, 4, 3), 1e38), torch.ones(2, 4, 3))
    assert torch.equal(unchecked_warp(image, large), monotone_warp(image, large))
    assert phi_prior_loss([bad]).isnan() and phi_difference_loss([good], [bad]).isnan()
    warp = WarpParams(torch.rand(2, 4, 3), torch.rand(2, 4, 3))
    assert consistency_loss([good], [bad], warp).isnan() and consistency_loss([bad], [good], warp).isnan()
