"""The objective of a batch, and which parameters a step of every method changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config.losses import (
    ConsistencyTerm,
    EquivarianceTerm,
    LossConfig,
    PhiTerm,
    TaskTerm,
    TeachTerm,
    UniquenessTerm,
)
from config.schema import Config, ConfigError, ModelConfig, Phase, TrainConfig, WarpConfig
from layers.frame import Frame
from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from layers.spec import DEC as Equilibrium
from layers.spec import Method, Plain, Site
from models.dec import DECOutput
from tests.train.runs import ALONE, DEC, ENERGY, OWN_RATE, WITH_DEC, config_of, phases, trainer_of
from train.losses import consistency_loss, halves, kl_loss, phi_difference_loss, phi_prior_loss
from train.objective import Objective, build_objective
from train.tasks import Classification
from train.views import Batch

FINDS = Equilibrium(sites=(Site(0, restore=True), Site(1, restore=True)))  # the warps of the recorder below


def objective_of(
    method: Method | None = None, probability: float = 0.0, phases: tuple[Phase, ...] = (Phase(),), **loss: Any
) -> Objective:
    """That of a recipe with these settings of its loss section."""
    config = Config(
        model=ModelConfig(backbone="none"),
        method=method or Plain(),
        warp=WarpConfig(grid_size=4, strength=1.0, probability=probability),
        loss=LossConfig(**loss),
        train=TrainConfig(phases=phases, canonicalizer_lr=0.1),
    )
    return build_objective(config, 7, 10)


PLAIN = objective_of()
FRAMES = [Frame((0.5, 0.5), (0.25, 0.25)), Frame()]


class Recorder(nn.Module):
    """A classifier of 6 x 6 images that remembers what it was called with, and finds random warps if asked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 5)
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(3))
        self.seen: list[Tensor] = []
        self.phis: tuple[WarpParams, ...] = ()

    def forward(self, image: Tensor, return_output: bool = False, warps_only: bool = False) -> Any:
        self.seen.append(image.detach())
        logits = self.head(image.flatten(1))
        if not (return_output or warps_only):
            return logits
        generator = torch.Generator().manual_seed(len(image))
        self.phis = tuple(random_warp_params(len(image), 4, 1.0, generator=generator) for _ in range(2))
        return DECOutput(None if warps_only else logits, self.phis, torch.full((len(image), 2), 0.25))


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
    assert torch.equal(outcome.told["accuracy"], logits.argmax(1) == batch.label)
    assert outcome.told.keys() == {"loss", "accuracy", "task"}


def two_phases(task: float, equivariance: float) -> tuple[Phase, Phase]:
    return Phase(epochs=1, terms={"task": task, "equivariance": equivariance}), Phase()


def test_every_term_is_told_by_itself_before_it_is_weighed() -> None:
    """A plateau is looked for in the task's, whatever else is minimised."""
    objective = objective_of(equivariance=EquivarianceTerm(weight=2.0), phases=two_phases(0.25, 3.0))
    model, batch = Recorder(), batch_of(1, 2, 3)
    expected = F.cross_entropy(model(batch.image), batch.label).detach()
    for phase, weights in ((0, (0.25, 3.0)), (1, (1.0, 2.0)), (-1, (1.0, 2.0))):
        outcome = objective(model, batch, 0, 0, phase=phase)
        task, pair = outcome.told["task"], outcome.told["equivariance"]
        torch.testing.assert_close(task, expected)
        torch.testing.assert_close(outcome.loss, weights[0] * task + weights[1] * pair)
        assert torch.equal(outcome.told["loss"], outcome.loss) and pair > 1e-3
        assert outcome.loss.requires_grad and not any(value.requires_grad for value in outcome.told.values())


@pytest.mark.parametrize("two_views", [False, True])
@pytest.mark.parametrize("method", [None, FINDS], ids=["base", "dec"])
def test_what_is_told_is_known_before(method: Method | None, two_views: bool) -> None:
    """So that all processes count the same names, in the same order."""
    phi = PhiTerm(prior=0.5) if method and two_views else PhiTerm()
    objective = objective_of(
        method, two_views=two_views, equivariance=EquivarianceTerm(weight=1.0), phi=phi, phases=two_phases(0.0, 1.0)
    )
    for phase in (0, 1):
        told = objective(Recorder(), batch_of(1, 2), 0, 0, phase=phase).told
        assert set(objective.tells(phase)) == told.keys()
        assert ("residual" in told) == (method is not None) and ("task" in told) == (phase == 1)
        assert ("phi" in told) == (phi.prior > 0)
        assert all(value.ndim == (name == "accuracy") for name, value in told.items())


@pytest.mark.parametrize("shape", [(3, 6, 6), (3, 4), (3, 1), (2, 5), ()])
def test_labels_that_are_neither_numbers_nor_shares_of_classes_are_refused(shape: tuple[int, ...]) -> None:
    """A mask, for instance, is no list of shares."""
    batch = batch_of(1, 2, 3)
    label = torch.ones(shape) / 5
    with pytest.raises(ValueError, match=r"labels have shape .*; expected \(3,\) class numbers, or shares of \(3, 5\)"):
        PLAIN(Recorder(), batch._replace(label=label), 0, 0)


def test_shares_of_classes_are_labels() -> None:
    task, logits = Classification(), torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    label = torch.tensor([4, 0, 2])
    shares = F.one_hot(label, 5).float()
    torch.testing.assert_close(task.loss(logits, shares), task.loss(logits, label))
    mixed = (shares + shares.flip(0)) / 2
    expected = -(mixed * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(task.loss(logits, mixed), expected)
    assert torch.equal(task.score(logits, shares), logits.argmax(1) == label)
    assert task.warped(label, WarpParams.identity(3, 4)) is label


def test_a_phase_without_terms_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"train.phases\[0\] has no term with a weight; expected one, such as loss.ta"
    ):
        objective_of(phases=two_phases(0.0, 0.0))
    nothing = two_phases(0.0, 0.0)[0]
    objective_of(phases=(replace(nothing, epochs=0), Phase()))  # without epochs, it needs none
    with pytest.raises(ConfigError, match="no term with a weight"):
        objective_of(task=TaskTerm(weight=0.0))


def coins(objective: Objective, batch: Batch) -> list[bool]:
    places = [(epoch, step) for epoch in range(8) for step in range(25)]
    return [not torch.equal(seen_by(objective, batch, *place), batch.image) for place in places]


def test_the_coin_belongs_to_the_seed_the_epoch_and_the_step() -> None:
    objective = objective_of(probability=0.5)
    found = coins(objective, batch_of(1))
    assert 70 < sum(found) < 130
    assert found == coins(objective, batch_of(4, 2))  # a part of the batch falls on the same side
    assert found != coins(replace(objective, seed=8), batch_of(1))
    assert found[:25] != found[25:50]
    assert sum(coins(replace(objective, warp_probability=0.1), batch_of(1))) < 45


def test_a_warp_belongs_to_the_item_the_epoch_and_the_seed() -> None:
    objective = objective_of(probability=1.0)
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
    objective = objective_of(two_views=True, probability=probability)
    batch, chosen = batch_of(3, 1, 4), set()
    for step in range(8):
        model = Recorder()
        outcome = objective(model, batch, 2, step)
        (views,) = model.seen
        clean, warped = views.chunk(2)
        assert torch.equal(clean, batch.image) and not torch.equal(warped, batch.image)
        assert torch.equal(warped, seen_by(objective, batch, 2, step + 1).chunk(2)[1])  # by the epoch, not the step
        logits = model(views).chunk(2)
        assert torch.equal(outcome.told["accuracy"], logits[0].argmax(1) == batch.label)
        losses = [F.cross_entropy(half, batch.label) for half in logits]
        candidates = {"clean": losses[0], "warped": losses[1], "both": (losses[0] + losses[1]) / 2}
        chosen |= {name for name, loss in candidates.items() if torch.isclose(outcome.loss, loss, rtol=1e-6, atol=0)}
    assert chosen == {0.0: {"both"}, 1.0: {"warped"}, 0.5: {"clean", "warped"}}[probability]


def test_a_phase_of_its_own_has_weights_of_its_own() -> None:
    objective = objective_of(equivariance=EquivarianceTerm(weight=0.5), phases=two_phases(0.25, 3.0))
    batch, model = batch_of(1, 2, 3), Recorder()
    joint = objective(model, batch, 0, 0).loss
    alone = objective(model, batch, 0, 0, phase=0).loss
    first, second = model(model.seen[0]).chunk(2)
    task, pair = F.cross_entropy(first, batch.label), kl_loss(first, second)
    assert pair > 0.01
    torch.testing.assert_close(joint, task + 0.5 * pair)
    torch.testing.assert_close(alone, 0.25 * task + 3 * pair)


def test_the_equivariance_loss_of_a_single_view_compares_the_augmented_image_with_another_warp() -> None:
    objective = objective_of(probability=1.0, equivariance=EquivarianceTerm(weight=1.0), phases=two_phases(1.0, 0.0))
    batch = batch_of(1, 2)
    first, second = seen_by(objective, batch).chunk(2)
    augmented = seen_by(objective_of(probability=1.0), batch)
    assert torch.equal(first, augmented)
    assert not torch.equal(second, first)
    # where the weight of the present phase is zero, no second view is computed
    alone = seen_by(objective, batch, phase=0)
    assert torch.equal(alone, augmented)


@pytest.mark.parametrize("epoch", [0, 3, 100])
def test_the_weight_of_the_phi_losses_grows_to_its_end(epoch: int) -> None:
    objective = objective_of(FINDS, two_views=True)
    phi = PhiTerm(weight=0.2, difference=0.5, difference_increment=0.25, prior=0.75)
    pushing = objective_of(FINDS, two_views=True, phi=phi)
    batch, model = batch_of(1, 2, 3), Recorder()
    extra = pushing(model, batch, epoch, 0).loss - objective(model, batch, epoch, 0).loss
    difference, prior = phi_difference_loss(*halves(model.phis)), phi_prior_loss(model.phis)
    assert difference < -0.001 and prior > 0.001
    weight = {0: 0.5, 3: 1.25, 100: 3.0}[epoch]
    torch.testing.assert_close(extra, 0.2 * (weight * difference + 0.75 * prior), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("two_views", [False, True])
def test_the_consistency_loss_compares_the_view_with_what_was_trained_on(two_views: bool) -> None:
    """A second view that nothing else needs goes through the canonicalizer, and not through the backbone."""
    objective = objective_of(FINDS, 1.0, two_views=two_views)
    batch = batch_of(1, 2, 3)
    views = seen_by(objective_of(two_views=True), batch)
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
    consistent = objective_of(FINDS, 1.0, two_views=two_views, consistency=ConsistencyTerm(weight=2.0))
    extra = consistent(model, batch, 0, 0).loss - objective(model, batch, 0, 0).loss
    warp = objective._warp(batch.image, batch.items, "view", 0)
    if two_views:
        assert torch.equal(model.seen[0], views) and not given
        pair = halves(model.phis)
    else:
        augmented = seen_by(objective_of(probability=1.0), batch)
        torch.testing.assert_close(model.seen[0], augmented)
        torch.testing.assert_close(given[0], monotone_warp(augmented, warp))
        pair = list(model.phis), list(Finder.other)
    torch.testing.assert_close(extra, 2 * consistency_loss(*pair, warp, FRAMES), rtol=1e-4, atol=1e-5)


def test_the_residual_is_the_mean_over_views_and_sites() -> None:
    outcome = objective_of(FINDS)(Recorder(), batch_of(1), 0, 0)
    assert outcome.told["residual"].item() == 0.25


METHODS: dict[str, dict[str, Any]] = {
    "base": {},
    "augmentation": {"warp": {"probability": 0.5}},
    "equivariance": {"warp": {"probability": 0.5}, "loss": {"equivariance": {"weight": 0.1}}},
    "candidates": {"method": {"name": "candidates", "limit": 2, "channels": [1, 4, 1]}, "warp": {"probability": 0.5}},
    "dec": {
        "method": DEC,
        "train": OWN_RATE,
        "loss": {"two_views": True, "phi": {"difference": 1.0, "prior": 1.0}},
    },
    "energy": {"method": ENERGY, "train": OWN_RATE, "loss": {"two_views": True}},
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
        "train": {"batch_size": 8},
    }
    alone = phases({**ALONE, "epochs": 1}, {})
    trainer = trainer_of(config_of(tmp_path, METHODS[method], settings, alone))
    parameters, buffers = changed(trainer)
    own = {name for name, _ in trainer.model.named_parameters() if not name.startswith("backbone.")}
    assert parameters == own and own
    assert buffers == set()  # no batch statistics either


def first_batch(trainer: Any) -> Batch:
    image, label, index = next(iter(trainer.loader))
    return Batch(image, label, index.tolist())


def test_the_uniqueness_loss_alone_reaches_the_energy(tmp_path) -> None:
    alone = phases({**ALONE, "epochs": 1, "terms": {"task": 0.0, "uniqueness": 2.0}}, {})
    trainer = trainer_of(config_of(tmp_path, METHODS["energy"], {"data": {"train_items": 8}}, alone))
    batch = first_batch(trainer)
    outcome = trainer.objective(trainer.model, batch, 0, 0, phase=0)
    assert outcome.loss.item() != 0
    outcome.loss.backward()
    gradients = {name: value.grad for name, value in trainer.model.energy.named_parameters()}
    assert gradients and all(grad is not None and grad.abs().sum() > 0 for grad in gradients.values())
    other = trainer.objective(trainer.model, batch, 0, 0)
    difference = other.loss - other.told["task"]
    torch.testing.assert_close(difference, 0.1 * outcome.told["uniqueness"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(outcome.loss.detach(), 2 * outcome.told["uniqueness"])


def test_a_term_that_cannot_act_is_left_out() -> None:
    """Two views and an energy are what the uniqueness is about; parts above zero, what the phi losses are."""
    names = [name for name, *_ in objective_of(FINDS, two_views=True, uniqueness=UniquenessTerm(weight=1.0)).terms[0]]
    assert names == ["task"]


CONSISTENT: dict[str, Any] = {"loss": {"consistency": {"weight": 0.5}}, "data": {"train_items": 8}}
WITHOUT_TASK = phases({**ALONE, "epochs": 1, "terms": {"task": 0.0}}, {})


def calls_of(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def gradients_of(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None and not name.startswith("backbone.")
    }


@pytest.mark.parametrize("two_views", [False, True])
def test_a_phase_that_needs_no_logits_leaves_the_backbone_alone(tmp_path, two_views: bool) -> None:
    """And the canonicalizer has the gradient that it has where the backbone runs for nothing."""
    views = {"loss": {"two_views": two_views}}
    dec = METHODS["dec"] if two_views else WITH_DEC
    trainer = trainer_of(config_of(tmp_path, dec, views, CONSISTENT, WITHOUT_TASK))
    model, batch = trainer.model, first_batch(trainer)
    calls = calls_of(model.backbone)
    outcome = trainer.objective(model, batch, 0, 0, phase=0)
    found = gradients_of(model, outcome.loss)
    assert calls == [] and outcome.told.keys() == set(trainer.objective.tells(0))
    assert "accuracy" not in outcome.told and outcome.told["residual"] >= 0

    warp = trainer.objective._warp(batch.image, batch.items, "view", 0)
    second = monotone_warp(batch.image, warp)
    output = model(torch.cat([batch.image, second]) if two_views else batch.image, return_output=True)
    first, other = halves(output.phis) if two_views else (output.phis, model.find_warps(second).phis)
    loss = 0.5 * consistency_loss(first, other, warp, model.frames(batch.image.shape[-2:]))
    if two_views:
        loss = loss + 0.1 * (phi_difference_loss(first, other) + phi_prior_loss(output.phis))
    expected = gradients_of(model, loss + 0 * output.logits.sum())
    assert len(calls) == 1
    torch.testing.assert_close(outcome.loss, loss)
    assert found.keys() == expected.keys() and any(grad.abs().max() > 0 for grad in found.values())
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-7, msg=name)
    trainer.objective(model, batch, 0, 0)
    assert len(calls) == 2  # in the joint phase it runs


def test_where_warps_depend_on_features_the_backbone_runs_all_the_same(tmp_path) -> None:
    method = {**DEC, "condition": "feature", "sites": [{"stage": 0}], "pools": [1]}
    views = {"loss": {"two_views": True}}
    config = config_of(tmp_path, {"method": method, "train": OWN_RATE}, views, CONSISTENT, WITHOUT_TASK)
    trainer = trainer_of(config)
    calls = calls_of(trainer.model.backbone)
    outcome = trainer.objective(trainer.model, first_batch(trainer), 0, 0, phase=0)
    assert len(calls) == 1 and "accuracy" not in outcome.told and outcome.told["consistency"] > 0


def test_without_a_canonicalizer_there_are_always_logits() -> None:
    objective = objective_of(equivariance=EquivarianceTerm(weight=1.0), phases=two_phases(0.0, 1.0))
    outcome = objective(Recorder(), batch_of(1, 2), 0, 0, phase=0)
    assert outcome.told.keys() == {"loss", "equivariance", "accuracy"}


def test_an_interval_of_strengths_is_drawn_from_for_every_item() -> None:
    """The same warps otherwise, each times a factor of its own; at an interval of one strength, that strength's."""
    objective = objective_of(probability=1.0)
    batch = batch_of(1, 2, 3)
    one = replace(objective, warp_strength=(0.7, 0.7))
    torch.testing.assert_close(seen_by(one, batch), seen_by(replace(objective, warp_strength=0.7), batch))
    several = replace(objective, warp_strength=(0.2, 0.4))
    found = several._warp(batch.image, batch.items, "augmentation", 0)
    whole = replace(objective, warp_strength=1.0)._warp(batch.image, batch.items, "augmentation", 0)
    factors = found.x / whole.x
    torch.testing.assert_close(factors, factors[:, :1, :1].expand_as(factors))
    assert len(factors[:, 0, 0].unique()) == 3 and 0.2 <= factors.min() <= factors.max() <= 0.4
    torch.testing.assert_close(found.y / whole.y, factors[:, :1, :1].expand_as(found.y))


@pytest.mark.parametrize("two_views", [False, True])
def test_what_is_said_of_siblings_is_taught_to_their_items(two_views: bool) -> None:
    """The label is what the teacher says of the sibling; no label of the batch is looked at."""
    teacher, model = Recorder(), Recorder()
    with torch.no_grad():
        model.head.weight.mul_(0.5)
    objective = objective_of(task=TaskTerm(weight=0.0), teach=TeachTerm(weight=2.0), two_views=two_views)
    objective = replace(objective, teacher=teacher)
    batch, siblings = batch_of(3, 4), batch_of(8, 9).image
    batch = batch._replace(label=torch.tensor([99, 99]), sibling=siblings)
    wanted = teacher(siblings).softmax(1).detach()
    loss = objective(model, batch, 0, 0).loss
    answers = [model(view) for view in model.seen[-1].split(2)]
    expected = sum(-(wanted * answer.log_softmax(1)).sum(1).mean() for answer in answers) / len(answers)
    torch.testing.assert_close(loss, 2 * expected)
    loss.backward()
    assert model.head.weight.grad is not None and teacher.head.weight.grad is None
