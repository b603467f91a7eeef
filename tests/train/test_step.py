"""The objective of a batch, and which parameters a step of every method changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.frame import Frame
from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from models.dec import DECOutput
from tests.train.runs import DEC, ENERGY, OWN_RATE, config_of, trainer_of
from train.losses import consistency_loss, halves, kl_loss, phi_difference_loss, phi_prior_loss
from train.step import Batch, Objective

PLAIN = Objective(
    seed=7,
    finds_warps=False,
    has_energy=False,
    warp_grid_size=4,
    warp_strength=1.0,
    warp_probability=0.0,
    two_views=False,
    equivariance=kl_loss,
    equivariance_weight=0.0,
    canonicalizer_equivariance_weight=0.0,
    canonicalizer_task_weight=1.0,
    phi_weight=0.1,
    phi_difference=0.0,
    phi_difference_increment=0.0,
    phi_difference_max=3.0,
    phi_prior=0.0,
    consistency_weight=0.0,
    uniqueness_weight=0.1,
)


FRAMES = [Frame((0.5, 0.5), (0.25, 0.25)), Frame()]


class Recorder(nn.Module):
    """A classifier of 6 x 6 images that remembers what it was called with, and finds random warps if asked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 5)
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(3))
        self.seen: list[Tensor] = []
        self.phis: tuple[WarpParams, ...] = ()

    def forward(self, image: Tensor, return_output: bool = False) -> Any:
        self.seen.append(image.detach())
        logits = self.head(image.flatten(1))
        if not return_output:
            return logits
        generator = torch.Generator().manual_seed(len(image))
        self.phis = tuple(random_warp_params(len(image), 4, 1.0, generator=generator) for _ in range(2))
        return DECOutput(logits, self.phis, torch.full((len(image), 2), 0.25))


def batch_of(*items: int) -> Batch:
    """Images that depend on their numbers alone."""
    images = [torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(item)) for item in items]
    return Batch(torch.stack(images), torch.tensor([item % 5 for item in items]), list(items))


def seen_by(objective: Objective, batch: Batch, epoch: int = 0, step: int = 0, **options: Any) -> Tensor:
    model = Recorder()
    objective(model, batch, epoch, step, **options)
    (views,) = model.seen
    return views


def test_without_a_canonicalizer_the_loss_is_the_cross_entropy() -> None:
    model, batch = Recorder(), batch_of(1, 2, 3)
    outcome = PLAIN(model, batch, 0, 0)
    logits = model(batch.image)
    torch.testing.assert_close(outcome.loss, F.cross_entropy(logits, batch.label))
    assert torch.equal(outcome.correct, logits.argmax(1) == batch.label)
    assert outcome.residual is None


def test_the_loss_of_the_task_is_told_by_itself() -> None:
    """A plateau is looked for in it, whatever else is minimised."""
    objective = replace(PLAIN, equivariance_weight=2.0, canonicalizer_task_weight=0.25)
    objective = replace(objective, canonicalizer_equivariance_weight=3.0)
    model, batch = Recorder(), batch_of(1, 2, 3)
    expected = F.cross_entropy(model(batch.image), batch.label).detach()
    for canonicalizer_only, weight in ((False, 1.0), (True, 0.25)):
        outcome = objective(model, batch, 0, 0, canonicalizer_only=canonicalizer_only)
        torch.testing.assert_close(outcome.task, weight * expected)
        assert outcome.loss > outcome.task + 1e-3 and not outcome.task.requires_grad


def coins(objective: Objective, batch: Batch) -> list[bool]:
    places = [(epoch, step) for epoch in range(8) for step in range(25)]
    return [not torch.equal(seen_by(objective, batch, *place), batch.image) for place in places]


def test_the_coin_belongs_to_the_seed_the_epoch_and_the_step() -> None:
    objective = replace(PLAIN, warp_probability=0.5)
    found = coins(objective, batch_of(1))
    assert 70 < sum(found) < 130
    assert found == coins(objective, batch_of(4, 2))  # a part of the batch falls on the same side
    assert found != coins(replace(objective, seed=8), batch_of(1))
    assert found[:25] != found[25:50]
    assert sum(coins(replace(objective, warp_probability=0.1), batch_of(1))) < 45


def test_a_warp_belongs_to_the_item_the_epoch_and_the_seed() -> None:
    objective = replace(PLAIN, warp_probability=1.0)
    together = seen_by(objective, batch_of(5, 9, 7))
    assert torch.equal(together[1:2], seen_by(objective, batch_of(9)))
    assert torch.equal(together[[2, 0]], seen_by(objective, batch_of(7, 5), step=3))
    assert not torch.equal(together, seen_by(objective, batch_of(5, 9, 7), epoch=1))
    assert not torch.equal(together, seen_by(replace(objective, seed=8), batch_of(5, 9, 7)))
    twins = Batch(batch_of(5, 5).image, torch.tensor([0, 0]), [5, 6])
    first, second = seen_by(objective, twins)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("probability", [0.0, 1.0, 0.5])
def test_two_views_are_one_forward_and_the_coin_chooses_the_task(probability: float) -> None:
    objective = replace(PLAIN, two_views=True, warp_probability=probability)
    batch, chosen = batch_of(3, 1, 4), set()
    for step in range(8):
        model = Recorder()
        outcome = objective(model, batch, 2, step)
        (views,) = model.seen
        clean, warped = views.chunk(2)
        assert torch.equal(clean, batch.image) and not torch.equal(warped, batch.image)
        assert torch.equal(warped, seen_by(objective, batch, 2, step + 1).chunk(2)[1])  # by the epoch, not the step
        logits = model(views).chunk(2)
        assert torch.equal(outcome.correct, logits[0].argmax(1) == batch.label)
        losses = [F.cross_entropy(half, batch.label) for half in logits]
        candidates = {"clean": losses[0], "warped": losses[1], "both": (losses[0] + losses[1]) / 2}
        chosen |= {name for name, loss in candidates.items() if torch.isclose(outcome.loss, loss, rtol=1e-6, atol=0)}
    assert chosen == {0.0: {"both"}, 1.0: {"warped"}, 0.5: {"clean", "warped"}}[probability]


def test_a_phase_of_its_own_has_weights_of_its_own() -> None:
    objective = replace(
        PLAIN, equivariance_weight=0.5, canonicalizer_equivariance_weight=3.0, canonicalizer_task_weight=0.25
    )
    batch, model = batch_of(1, 2, 3), Recorder()
    joint = objective(model, batch, 0, 0).loss
    alone = objective(model, batch, 0, 0, canonicalizer_only=True).loss
    first, second = model(model.seen[0]).chunk(2)
    task, pair = F.cross_entropy(first, batch.label), kl_loss(first, second)
    assert pair > 0.01
    torch.testing.assert_close(joint, task + 0.5 * pair)
    torch.testing.assert_close(alone, 0.25 * task + 3 * pair)


def test_the_equivariance_loss_of_a_single_view_compares_the_augmented_image_with_another_warp() -> None:
    objective = replace(PLAIN, equivariance_weight=1.0, warp_probability=1.0)
    batch = batch_of(1, 2)
    first, second = seen_by(objective, batch).chunk(2)
    augmented = seen_by(replace(objective, equivariance_weight=0.0), batch)
    assert torch.equal(first, augmented)
    assert not torch.equal(second, first)
    # where the weight of the present phase is zero, no second view is computed
    alone = seen_by(objective, batch, canonicalizer_only=True)
    assert torch.equal(alone, augmented)


@pytest.mark.parametrize("epoch", [0, 3, 100])
def test_the_weight_of_the_phi_losses_grows_to_its_end(epoch: int) -> None:
    objective = replace(PLAIN, two_views=True, finds_warps=True)
    pushing = replace(objective, phi_difference=0.5, phi_difference_increment=0.25, phi_prior=0.75, phi_weight=0.2)
    batch, model = batch_of(1, 2, 3), Recorder()
    extra = pushing(model, batch, epoch, 0).loss - objective(model, batch, epoch, 0).loss
    difference, prior = phi_difference_loss(*halves(model.phis)), phi_prior_loss(model.phis)
    assert difference < -0.001 and prior > 0.001
    weight = {0: 0.5, 3: 1.25, 100: 3.0}[epoch]
    torch.testing.assert_close(extra, 0.2 * (weight * difference + 0.75 * prior), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("two_views", [False, True])
def test_the_consistency_loss_compares_the_view_with_what_was_trained_on(two_views: bool) -> None:
    """A second view that nothing else needs goes through the canonicalizer, and not through the backbone."""
    objective = replace(PLAIN, finds_warps=True, two_views=two_views, warp_probability=1.0)
    batch = batch_of(1, 2, 3)
    views = seen_by(replace(PLAIN, two_views=True, warp_probability=0.0), batch)
    given: list[Tensor] = []

    class Finder(Recorder):
        def find_warps(self, image: Tensor) -> DECOutput:
            given.append(image)
            return DECOutput(image, self.other, image)

        def frames(self, size: tuple[int, int]) -> list[Frame]:
            assert size == (6, 6)
            return FRAMES

        other = (random_warp_params(3, 4, 1.0, generator=torch.Generator().manual_seed(9)),) * 2

    model = Finder()
    extra = replace(objective, consistency_weight=2.0)(model, batch, 0, 0).loss - objective(model, batch, 0, 0).loss
    warp = objective._warp(batch.image, batch.items, "view", 0)
    if two_views:
        assert torch.equal(model.seen[0], views) and not given
        pair = halves(model.phis)
    else:
        augmented = seen_by(replace(PLAIN, warp_probability=1.0), batch)
        torch.testing.assert_close(model.seen[0], augmented)
        torch.testing.assert_close(given[0], monotone_warp(augmented, warp))
        pair = list(model.phis), list(Finder.other)
    torch.testing.assert_close(extra, 2 * consistency_loss(*pair, warp, FRAMES), rtol=1e-4, atol=1e-5)


def test_the_residual_is_the_mean_over_views_and_sites() -> None:
    outcome = replace(PLAIN, finds_warps=True)(Recorder(), batch_of(1), 0, 0)
    assert outcome.residual is not None and outcome.residual.item() == 0.25


METHODS: dict[str, dict[str, Any]] = {
    "base": {},
    "augmentation": {"warp": {"probability": 0.5}},
    "equivariance": {"warp": {"probability": 0.5}, "loss": {"equivariance_weight": 0.1}},
    "candidates": {"candidates": {"limit": 2, "channels": [1, 4, 1]}, "warp": {"probability": 0.5}},
    "dec": {"dec": DEC, "train": OWN_RATE, "loss": {"two_views": True, "phi_difference": 1.0, "phi_prior": 1.0}},
    "energy": {"energy": ENERGY, "train": OWN_RATE, "loss": {"two_views": True}},
}


def changed(trainer: Any, steps: int = 1) -> tuple[set[str], set[str]]:
    """Names of the parameters, and of the buffers, that some steps change."""
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.fit(lambda: None, lambda metrics: None, max_steps=steps)
    differing = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    parameters = {name for name, _ in trainer.model.named_parameters()}
    return differing & parameters, differing - parameters


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_train_the_whole_model(tmp_path, method: str) -> None:
    settings = {"model": {"backbone": "test_resnet"}, "data": {"train_items": 16}, "train": {"batch_size": 8}}
    trainer = trainer_of(config_of(tmp_path, METHODS[method], settings))
    parameters, buffers = changed(trainer, 2)  # behind a residual branch that starts at zero, the first does nothing
    assert parameters == {name for name, _ in trainer.model.named_parameters()}
    assert any("running_mean" in name for name in buffers)
    has_own = any(not name.startswith("backbone.") for name in parameters)
    assert has_own == (method in ("candidates", "dec", "energy"))


@pytest.mark.parametrize("method", ["dec", "energy"])
def test_the_canonicalizers_own_phase_leaves_the_backbone_bit_identical(tmp_path, method: str) -> None:
    settings = {
        "model": {"backbone": "test_resnet"},
        "data": {"train_items": 16},
        "train": {"batch_size": 8, "canonicalizer_epochs": 1},
    }
    trainer = trainer_of(config_of(tmp_path, METHODS[method], settings))
    parameters, buffers = changed(trainer)
    own = {name for name, _ in trainer.model.named_parameters() if not name.startswith("backbone.")}
    assert parameters == own and own
    assert buffers == set()  # no batch statistics either


def test_the_uniqueness_loss_alone_reaches_the_energy(tmp_path) -> None:
    settings = {
        "data": {"train_items": 8},
        "loss": {"canonicalizer_task_weight": 0.0, "uniqueness_weight": 2.0},
        "train": {"canonicalizer_epochs": 1},
    }
    trainer = trainer_of(config_of(tmp_path, METHODS["energy"], settings))
    image, label, index = next(iter(trainer.loader))
    outcome = trainer.objective(trainer.model, Batch(image, label, index.tolist()), 0, 0, canonicalizer_only=True)
    assert outcome.loss.item() != 0
    outcome.loss.backward()
    gradients = {name: value.grad for name, value in trainer.model.canonicalizer.named_parameters()}
    assert gradients and all(grad is not None and grad.abs().sum() > 0 for grad in gradients.values())
    half = replace(trainer.objective, uniqueness_weight=1.0)
    other = half(trainer.model, Batch(image, label, index.tolist()), 0, 0, canonicalizer_only=True)
    torch.testing.assert_close(other.loss, outcome.loss / 2)
