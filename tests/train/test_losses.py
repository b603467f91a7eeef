"""Losses against the reference's numbers and against their formulas, written out item by item."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from layers.frame import Frame
from layers.grid import WarpParams, evaluate_grid, knot_grid, random_warp_params
from train.losses import (
    DIFFERENCE_CAP,
    consistency_loss,
    halves,
    js_loss,
    kl_loss,
    mse_loss,
    phi_difference_loss,
    phi_prior_loss,
    uniqueness_loss,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "losses.npz")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDEN[name])


@pytest.fixture
def phis() -> list[WarpParams]:
    return [WarpParams(golden(f"phi_x.{site}"), golden(f"phi_y.{site}")) for site in range(2)]


@pytest.mark.parametrize(("loss", "name"), [(kl_loss, "kl"), (mse_loss, "mse")])
def test_equivariance_losses_meet_the_reference(loss, name) -> None:
    found = loss(golden("logits_clean"), golden("logits_warped"))
    torch.testing.assert_close(found, golden(name), rtol=1e-5, atol=1e-5)


def test_phi_losses_meet_the_reference(phis) -> None:
    difference, prior = phi_difference_loss(*halves(phis)), phi_prior_loss(phis)
    torch.testing.assert_close(difference, golden("phi_difference"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prior, golden("phi_prior"), rtol=1e-5, atol=1e-5)
    weights = json.loads(str(GOLDEN["phi_weights"]))
    epoch = int(GOLDEN["epoch"])
    weight = weights["phi_diff_loss_weight"] + epoch * weights["phi_diff_increment_per_epoch"]
    weight = min(weight, weights["phi_diff_loss_weight_max"])
    total = weights["phi_loss_weight"] * (weight * difference + weights["phi_prior_loss_weight"] * prior)
    torch.testing.assert_close(total, golden("phi_total_mnist"), rtol=1e-5, atol=1e-6)


def test_js_is_bounded_symmetric_and_the_mean_of_two_divergences() -> None:
    one, other = 4 * torch.randn(5, 7, dtype=torch.float64), 4 * torch.randn(5, 7, dtype=torch.float64)
    expected = 0.0
    for a, b in zip(one.softmax(1), other.softmax(1), strict=True):
        middle = (a + b) / 2
        expected += 0.5 * float((a * (a / middle).log()).sum() + (b * (b / middle).log()).sum()) / 5
    assert js_loss(one, other).item() == pytest.approx(expected)
    assert js_loss(one, other).item() == pytest.approx(js_loss(other, one).item())
    assert 0 < js_loss(one, other) < math.log(2)
    extreme = js_loss(torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]]))
    assert extreme.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [kl_loss, mse_loss, js_loss])
def test_equal_predictions_cost_nothing_and_both_sides_learn(loss) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    assert loss(logits, logits).abs() < 1e-6
    other = torch.randn(4, 3, requires_grad=True)
    loss(logits, other).backward()
    assert logits.grad.abs().sum() > 0 and other.grad.abs().sum() > 0


def test_the_difference_is_capped_per_image(phis) -> None:
    first, second = halves(phis)
    expected = 0.0
    for one, other in zip(first, second, strict=True):
        for image in range(3):
            distance = (knot_grid(one)[image] - knot_grid(other)[image]).square().sum().item()
            expected -= min(distance, DIFFERENCE_CAP) / 3
    assert phi_difference_loss(first, second).item() == pytest.approx(expected)
    assert phi_difference_loss(first, first) == 0
    near = [WarpParams(phi.x * 0 + 1, phi.y * 0 + 1) for phi in first]
    nearer = [WarpParams(phi.x + 0.01 * torch.rand_like(phi.x), phi.y) for phi in near]
    assert -2 * DIFFERENCE_CAP < phi_difference_loss(near, nearer) < 0


def test_the_prior_is_nothing_at_identity() -> None:
    assert phi_prior_loss([WarpParams.identity(3, 5), WarpParams.identity(3, 4)]) < 1e-12


def test_parts_of_a_batch_add_up_to_the_whole(phis) -> None:
    logits, warped = golden("logits_clean"), golden("logits_warped")
    for loss in (kl_loss, mse_loss, js_loss):
        parts = loss(logits[:2], warped[:2]) * 2 / 6 + loss(logits[2:], warped[2:]) * 4 / 6
        torch.testing.assert_close(parts, loss(logits, warped))
    cut = [[WarpParams(phi.x[part], phi.y[part]) for phi in phis] for part in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(phi_prior_loss(cut[0]) * 2 / 6 + phi_prior_loss(cut[1]) * 4 / 6, phi_prior_loss(phis))


def test_uniqueness_wants_energies_apart_before_and_equal_after() -> None:
    before, after = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.5])
    far = uniqueness_loss(before, after, before + 3, after)
    assert far.item() == pytest.approx(-2 * 9)
    assert uniqueness_loss(before, after, before, after + 2).item() == pytest.approx(4)


def test_consistency_is_zero_for_a_canonicalizer_that_undoes_the_warp() -> None:
    """phi(image) = W and phi(W image) = identity read the image at the same places."""
    warp = random_warp_params(3, 5, 0.5, generator=torch.Generator().manual_seed(0))
    assert consistency_loss([warp], [WarpParams.identity(3, 5)], warp).item() < 1e-9


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_consistency_is_one_for_every_constant_warp_and_per_site(strength: float) -> None:
    """A canonicalizer that does not look at the image gains nothing, whichever warp it settles on."""
    generator = torch.Generator().manual_seed(0)
    warp = random_warp_params(3, 5, 0.5, generator=generator)
    one = random_warp_params(1, 4, strength, generator=generator)
    constant = WarpParams(one.x.expand(3, -1, -1), one.y.expand(3, -1, -1))
    assert consistency_loss([constant], [constant], warp).item() == pytest.approx(1, abs=1e-3)
    assert consistency_loss([constant] * 2, [constant] * 2, warp).item() == pytest.approx(2, abs=2e-3)


def test_consistency_measures_reading_positions_of_the_original_image() -> None:
    """Written out point by point: where the second canonical form reads, followed through the warp."""
    generator = torch.Generator().manual_seed(1)
    warp, phi, other = (random_warp_params(2, R, 0.5, generator=generator) for R in (8, 4, 5))
    distance, moved = torch.zeros(2), torch.zeros(2)
    for i in range(9):
        for j in range(9):
            point = torch.tensor([[[j / 8, i / 8]]]).expand(2, 1, 2)
            before = evaluate_grid(other, point)
            after = evaluate_grid(warp, before)
            distance += (evaluate_grid(phi, point) - after).square().sum((1, 2))
            moved += (after - before).square().sum((1, 2))
    found = consistency_loss([phi], [other], warp)
    torch.testing.assert_close(found, (distance / moved).mean(), rtol=1e-4, atol=1e-5)
    parts = [consistency_loss([_at(phi, i)], [_at(other, i)], _at(warp, i)) for i in range(2)]
    torch.testing.assert_close(found, (parts[0] + parts[1]) / 2, rtol=1e-5, atol=1e-6)


def params_of(increments: torch.Tensor) -> WarpParams:
    """The separable warp with these steps between its knots, (B, R - 1) that sum to one, along both axes."""
    part = increments.log()[:, None] / 3
    return WarpParams(part, part)


def test_consistency_is_zero_for_the_perfect_answer_of_a_site_that_sees_the_middle_alone() -> None:
    """Of 11 pixels it sees the 7 in the middle, where the warp acts: the same steps, in its own [0, 1]."""
    steps = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) + 0.2
    steps = 0.6 * steps / steps.sum(1, keepdim=True)
    warp = params_of(torch.cat([torch.full((3, 2), 0.1), steps, torch.full((3, 2), 0.1)], dim=1))
    perfect, identity = params_of(steps / 0.6), WarpParams.identity(3, 7)
    frame = Frame.cut((7, 7), (11, 11), (2, 2))
    assert consistency_loss([perfect], [identity], warp, [frame]).item() < 1e-9
    assert consistency_loss([perfect], [identity], warp).item() > 0.1  # as if its [0, 1] were the image's


def _at(phi: WarpParams, index: int) -> WarpParams:
    return WarpParams(phi.x[index : index + 1], phi.y[index : index + 1])


def test_descent_on_the_consistency_loss_finds_the_warps_that_undo() -> None:
    warp = random_warp_params(4, 4, 0.5, generator=torch.Generator().manual_seed(2))
    phi = WarpParams(torch.rand(4, 4, 3, requires_grad=True), torch.rand(4, 4, 3, requires_grad=True))
    optimizer = torch.optim.Adam(phi, lr=0.05)
    for _ in range(150):
        loss = consistency_loss([WarpParams.identity(4, 4)], [phi], warp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
