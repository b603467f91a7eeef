"""The energy canonicalizer: inner optimisers, energies, the unrolled gradient, and what a forward leaves behind."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from models.baselines.energy import (
    EnergyNet,
    OptimizedModel,
    renyi_entropy,
    shannon_entropy,
    with_energy,
)
from models.baselines.inner import InnerAdam, InnerDescent, InnerLoop, unit_norm
from models.dec import Site

GOLDEN = Path(__file__).parents[1] / "golden"
SITES = (Site("image", 5), Site(1, 4))
SMALL = {"channels": (3, 6, 4), "kernel_sizes": (3, 3), "input_size": (24, 24), "image_size": (48, 48)}


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def smooth_images(batch: int) -> Tensor:
    return F.interpolate(torch.rand(batch, 3, 7, 7), size=(48, 48), mode="bicubic")


def adapted(name: str = "test_vit", **options) -> OptimizedModel:
    size = {"img_size": 48} if "vit" in name else {}
    backbone = timm.create_model(name, pretrained=False, num_classes=10, **size).eval()
    return with_energy(backbone, SITES, **{**SMALL, **options})


def identity(batch: int, sites: int = 2) -> tuple[WarpParams, ...]:
    return tuple(WarpParams.identity(batch, R) for R in (5, 4)[:sites])


def random_phis(batch: int, sites: int = 2) -> tuple[WarpParams, ...]:
    return tuple(random_warp_params(batch, R, 1.0) for R in (5, 4)[:sites])


def flat(phis: tuple[WarpParams, ...]) -> Tensor:
    return torch.cat([part.flatten() for phi in phis for part in phi])


def assert_close(found: tuple[WarpParams, ...], expected: tuple[WarpParams, ...], **tolerance) -> None:
    torch.testing.assert_close(flat(found), flat(expected), **tolerance)


# Inner optimisers


def test_adam_takes_the_steps_of_the_reference():
    with np.load(GOLDEN / "adam.npz") as golden:
        start, gradients, steps = (torch.from_numpy(golden[name]) for name in ("start", "grads", "steps"))
        adam = InnerAdam(float(golden["lr"]), betas=tuple(golden["betas"].tolist()))
    phis, state = (WarpParams(*start),), None
    for gradient, expected in zip(gradients, steps, strict=True):
        phis, state = adam.step(phis, [tuple(gradient)], state)
        assert_close(phis, (WarpParams(*expected),), rtol=0, atol=1e-5)


def test_adam_has_a_derivative_at_a_gradient_of_zero():
    gradient = torch.zeros(1, 4, 3, requires_grad=True)
    ((phi,), _) = InnerAdam().step((WarpParams.identity(1, 4),), [(gradient, gradient)])
    (slope,) = torch.autograd.grad(phi.x.sum(), gradient)
    assert slope.isfinite().all()


@pytest.mark.parametrize("kind", [InnerDescent, InnerAdam])
def test_every_site_has_its_own_rate_for_x_and_y(kind):
    gradients = [(torch.ones(2, R, R - 1), torch.ones(2, R, R - 1)) for R in (5, 4)]
    phis, _ = kind((0.1, 0.7)).step(identity(2), gradients)
    for phi, rate in zip(phis, (0.1, 0.7), strict=True):
        for part in phi:
            torch.testing.assert_close(part, torch.full_like(part, 1 - rate))


@pytest.mark.parametrize("kind", [InnerDescent, InnerAdam])
def test_a_part_without_gradient_keeps_its_value_and_its_place(kind):
    start = random_phis(2)
    gradients = [(None, torch.ones_like(start[0].y)), (torch.ones_like(start[1].x), None)]
    phis, state = kind().step(start, gradients)
    phis, _ = kind().step(phis, gradients, state)
    assert torch.equal(phis[0].x, start[0].x)
    assert torch.equal(phis[1].y, start[1].y)
    for moved, part in ((phis[0].y, start[0].y), (phis[1].x, start[1].x)):
        torch.testing.assert_close(moved, part - 0.1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [InnerDescent, InnerAdam])
def test_decay_adds_phi_to_the_gradient(kind):
    start, gradients = random_phis(2), random_phis(2)
    decayed = [WarpParams(g.x + 0.3 * phi.x, g.y + 0.3 * phi.y) for g, phi in zip(gradients, start, strict=True)]
    assert_close(kind(decay=0.3).step(start, gradients)[0], kind().step(start, decayed)[0])


def test_normalised_gradients_have_unit_length_per_image():
    gradient = torch.randn(3, 4, 3) * torch.tensor([1e-4, 1, 100])[:, None, None]
    torch.testing.assert_close(unit_norm(gradient).flatten(1).norm(dim=1), torch.ones(3))
    assert (unit_norm(torch.zeros(1, 4, 3)) == 0).all()


# Energies


def test_shannon_entropy_is_that_of_the_reference():
    with np.load(GOLDEN / "losses.npz") as golden:
        logits, expected = torch.from_numpy(golden["logits_clean"]), torch.from_numpy(golden["entropy"])
    torch.testing.assert_close(shannon_entropy(logits), expected, rtol=0, atol=1e-5)


def test_renyi_entropy_has_its_logarithm():
    logits = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]).log()
    expected = torch.tensor([-math.log(0.375), math.log(3)])
    torch.testing.assert_close(renyi_entropy(logits), expected)


@pytest.mark.parametrize("entropy", [shannon_entropy, renyi_entropy])
def test_entropy_of_dense_logits_is_the_mean_over_pixels(entropy):
    logits = torch.randn(2, 5, 3, 4)
    per_pixel = entropy(logits.permute(0, 2, 3, 1).reshape(-1, 5)).view(2, 12)
    torch.testing.assert_close(entropy(logits), per_pixel.mean(1))


def score_by_hand(score: nn.Sequential, image: Tensor, pools: tuple[int, ...]) -> Tensor:
    for block, pool in zip(score[:-1], pools, strict=True):
        response = F.conv2d(F.pad(image, (1, 1, 1, 1)), block.conv.weight)
        mean, variance = response.mean((2, 3), keepdim=True), response.var((2, 3), keepdim=True, correction=0)
        branch = F.gelu((response - mean) / (variance + 1e-5).sqrt())
        image = F.max_pool2d(branch + F.conv2d(image, block.shortcut.weight), pool)
    return F.conv2d(image, score[-1].weight).mean((1, 2, 3))


@pytest.mark.parametrize("pools", [(1, 1), (2, 3)])
def test_energy_sums_the_scores_of_the_warped_images(pools):
    energy = EnergyNet(2, (3, 6, 4), (3, 3), None if pools == (1, 1) else pools, input_size=(24, 30))
    image, phis = smooth_images(3), random_phis(3)
    small = F.interpolate(image, size=(24, 30), mode="bilinear", align_corners=True)
    scores = [
        score_by_hand(score, monotone_warp(small, phi), pools) for score, phi in zip(energy.scores, phis, strict=True)
    ]
    torch.testing.assert_close(energy(image, phis), -sum(scores))
    assert torch.equal(energy(energy.prepared(image), phis), energy(image, phis))


@pytest.mark.parametrize("objective", ["surrogate", "shannon", "renyi"])
@pytest.mark.parametrize("optimizer", ["adam", "descent"])
def test_inner_steps_lower_the_energy_of_every_image(objective, optimizer):
    model = adapted(objective=objective, optimizer=optimizer, learning_rate=0.02, normalize_gradient=True)
    image = smooth_images(3)
    form = model.find_warps(image)
    with torch.no_grad():
        assert (model.energies(image, form.phis) < model.energies(image, identity(3))).all()
    assert form.steps.tolist() == [[5, 5]] * 3


def test_entropy_judges_the_prediction_under_the_warps():
    model, image, phis = adapted(objective="renyi"), smooth_images(2), random_phis(2)
    torch.testing.assert_close(model.energies(image, phis), renyi_entropy(model.predict(image, phis)))


# The unrolled gradient


def test_unrolled_gradient_is_that_of_finite_differences():
    energy = EnergyNet(2, (3, 5, 4), (3, 3), input_size=(17, 19)).double()
    loop = InnerLoop(InnerAdam(0.05, 0.01, (0.5, 0.9)), steps=3, normalize_gradient=True)
    image = energy.prepared(smooth_images(2).double())
    start = tuple(WarpParams(phi.x.double(), phi.y.double()) for phi in random_phis(2))
    weights = torch.randn_like(flat(start))
    directions = [torch.randn_like(parameter) for parameter in energy.parameters()]

    def loss() -> Tensor:
        return (flat(loop.minimise(partial(energy, image), start, is_training=True).phis) * weights).sum()

    gradients = torch.autograd.grad(loss(), list(energy.parameters()))
    slope = sum((gradient * way).sum() for gradient, way in zip(gradients, directions, strict=True))
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            for parameter, way in zip(energy.parameters(), directions, strict=True):
                parameter += step * way
        values.append(loss().detach())
        with torch.no_grad():
            for parameter, way in zip(energy.parameters(), directions, strict=True):
                parameter -= step * way
    torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=0)


@pytest.mark.parametrize("optimizer", [InnerDescent(2.0), InnerAdam(0.02)])
def test_only_the_last_steps_are_differentiated(optimizer):
    energy, image, start = EnergyNet(1, (3, 4), (3,), input_size=(17, 17)), smooth_images(2), random_phis(2, 1)
    energies = partial(energy, energy.prepared(image))
    loops = [InnerLoop(optimizer, 3, unroll) for unroll in (1, 2, 3)]
    found = [loop.minimise(energies, start, is_training=True).phis for loop in loops]
    gradients = [torch.autograd.grad(flat(phis).square().sum(), list(energy.parameters()))[0] for phis in found]
    for phis in found:
        assert_close(phis, found[0], rtol=0, atol=1e-5)
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-2)
    assert not torch.allclose(gradients[1], gradients[2], rtol=1e-2)


def test_one_unrolled_step_is_one_step_from_where_the_others_ended():
    energy, image = EnergyNet(2, (3, 4), (3,), input_size=(17, 17)), smooth_images(2)
    energies, descent, start = partial(energy, energy.prepared(image)), InnerDescent(2.0), random_phis(2)
    found = InnerLoop(descent, 3, unroll=1).minimise(energies, start, is_training=True).phis

    ended = InnerLoop(descent, 2).minimise(energies, start, is_training=False).phis
    leaves = [part.requires_grad_() for phi in ended for part in phi]
    slopes = torch.autograd.grad(energies(ended).sum(), leaves, create_graph=True)
    expected = torch.cat([(part - 2.0 * slope).flatten() for part, slope in zip(leaves, slopes, strict=True)])
    torch.testing.assert_close(flat(found), expected)
    weights = list(energy.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(flat(found).square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("objective", ["surrogate", "shannon"])
def test_training_reaches_every_parameter(objective):
    model = adapted(objective=objective, steps=2).train()
    image = smooth_images(2)
    output = model(image, return_output=True)
    output.logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.energy.parameters())


@pytest.mark.parametrize("objective", ["surrogate", "shannon"])
def test_a_loss_on_energies_before_and_after_reaches_what_makes_them(objective):
    model = adapted(objective=objective, steps=2).train()
    image = smooth_images(2)
    phis = model(image, return_output=True).phis
    (model.energies(image, phis) - model.energies(image, identity(2))).square().mean().backward()
    judged = model.energy if objective == "surrogate" else model.backbone
    assert all(parameter.grad is not None for parameter in judged.parameters())


def test_entropy_unrolled_through_attention_is_differentiated_twice():
    model = adapted(objective="shannon", steps=2).train()
    phis = model.find_warps(smooth_images(2)).phis
    found = torch.autograd.grad(flat(phis).square().sum(), model.backbone.blocks[0].attn.qkv.weight)
    assert found[0].abs().max() > 0


# What a forward leaves behind


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("objective", ["surrogate", "shannon"])
def test_no_graph_is_kept_outside_training(mode, objective):
    model = adapted(objective=objective, test_steps=3)
    with mode():
        form = model.find_warps(smooth_images(2))
        assert model(smooth_images(2)).shape == (2, 10)
    assert not flat(form.phis).requires_grad
    assert form.steps.unique().tolist() == [3]
    assert (flat(form.phis) != 1).any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_graph_is_kept_in_training_without_gradient(mode):
    model = adapted().train()
    with mode():
        assert not flat(model.find_warps(smooth_images(2)).phis).requires_grad
    assert flat(model.find_warps(smooth_images(2)).phis).requires_grad


@pytest.mark.parametrize("is_identity", [True, False])
def test_training_and_evaluation_take_the_same_steps(is_identity):
    """Also from the identity, where every position lies between two cells with derivatives of their own."""
    energy, image, start = EnergyNet(2, (3, 4), (3,), input_size=(33, 35)), smooth_images(2), random_phis(2)
    if is_identity:
        start = tuple(WarpParams(*(torch.ones_like(part) for part in phi)) for phi in start)
    found = [InnerLoop().minimise(partial(energy, energy.prepared(image)), start, mode).phis for mode in (True, False)]
    assert_close(*found, rtol=0, atol=1e-4)


def test_residual_is_the_length_of_the_last_step():
    model, image = adapted(steps=3), smooth_images(2)
    last = model.find_warps(image)
    before = with_steps(model, 2).find_warps(image)
    for site, (old, new) in enumerate(zip(before.phis, last.phis, strict=True)):
        old, new = (torch.cat([part.flatten(1) for part in phi], dim=1) for phi in (old, new))
        torch.testing.assert_close(last.residual[:, site], (new - old).norm(dim=1) / new.norm(dim=1))


def with_steps(model: OptimizedModel, steps: int) -> OptimizedModel:
    model.loop = InnerLoop(model.loop.optimizer, steps)
    return model


def recorded_modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def test_inner_steps_see_the_backbone_in_eval_mode_and_give_every_mode_back():
    model = adapted("test_resnet", objective="shannon", steps=2).train()
    model.backbone.bn1.eval()  # as fine-tuning with frozen statistics does
    modes, statistics = recorded_modes(model), model.backbone.layer1[0].bn1.running_mean.clone()
    seen: list[bool] = []
    handle = model.backbone.layer2.register_forward_hook(lambda module, *_: seen.append(module.training))
    model.find_warps(smooth_images(2))
    handle.remove()
    assert seen == [False, False]
    assert recorded_modes(model) == modes
    assert torch.equal(model.backbone.layer1[0].bn1.running_mean, statistics)


def test_modes_come_back_after_a_failure():
    model = adapted("test_resnet", objective="shannon").train()
    model.backbone.bn1.eval()
    modes = recorded_modes(model)

    def fail(*_):
        raise RuntimeError("broken stage")

    model.backbone.layer2.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken stage"):
        model(smooth_images(2))
    assert recorded_modes(model) == modes


def test_caches_of_evaluation_do_not_outlive_a_training_step():
    backbone = timm.create_model("levit_128s", pretrained=False, num_classes=10, img_size=64, embed_dim=(16, 32, 48))
    model = with_energy(backbone, [Site(0, 4)], objective="shannon", steps=1, image_size=(64, 64)).train()
    for _ in range(2):  # a cache with the graph of the first step would stop the second
        model(torch.rand(2, 3, 64, 64)).square().sum().backward()


@pytest.mark.parametrize("objective", ["surrogate", "shannon"])
@pytest.mark.parametrize("normalize", [False, True])
def test_images_do_not_influence_each_other(objective, normalize):
    # Weak gradients keep Adam's steps in proportion, so that rounding does not turn a sign.
    model = adapted(objective=objective, normalize_gradient=normalize, optimizer="descent", learning_rate=0.1)
    image = smooth_images(3)
    together = model.find_warps(image).phis
    for index in range(3):
        alone = model.find_warps(image[index : index + 1]).phis
        mine = tuple(WarpParams(phi.x[index : index + 1], phi.y[index : index + 1]) for phi in together)
        assert_close(mine, alone, rtol=0, atol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "energy"}, "objective is 'energy'; expected one of surrogate, shannon, renyi"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adam, descent"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"test_steps": 0}, "test_steps is 0; expected at least 1"),
        ({"unroll": 0}, "unroll is 0; expected 1 to steps, 5"),
        ({"unroll": 6}, "unroll is 6"),
        (
            {"learning_rate": (0.1, 0.2, 0.3)},
            r"learning_rate is \(0.1, 0.2, 0.3\); .* or one per site \(2\)",
        ),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected a finite number above 0"),
        ({"learning_rate": ()}, r"learning_rate is \(\)"),
        ({"betas": (0.9, 1.0)}, r"betas is \[0.9, 1.0\]"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"pools": (2,)}, "pools has 1 numbers; expected 2"),
        ({"kernel_sizes": (3, 4)}, "expected odd numbers"),
        ({"pools": (0, 1)}, "of at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_backbone_is_touched(options, message):
    backbone = timm.create_model("test_vit", pretrained=False, img_size=48)
    with pytest.raises(ValueError, match=message):
        with_energy(backbone, SITES, **{**SMALL, **options})
    with_energy(backbone, SITES, **SMALL)


@pytest.mark.parametrize("shape", [(3, 48, 48), (0, 3, 48, 48), (2, 1, 48, 48)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        adapted()(torch.rand(shape))


def test_energies_need_one_warp_per_site():
    with pytest.raises(ValueError, match="1 pairs of parameters for 2 scores"):
        adapted().energies(smooth_images(2), identity(2, 1))
