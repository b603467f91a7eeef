"""Members of an image's orbit, and what a canonicalizer learns of them without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from config.losses import LossConfig, OrbitConfig, RestoreTerm, SiblingTerm
from config.schema import ConfigError
from dataloader.build import build_splits
from layers.frame import Frame
from layers.grid import SHARPNESS, WarpParams, evaluate_grid, random_warp_params
from layers.monotone import monotone_warp
from layers.sampling import sample_bilinear
from layers.seeds import item_warps
from tests.train.runs import ALONE, OWN_RATE, RESIDUAL, SEED, config_of, phases, trainer_of
from train.losses import FINE_POINTS, POINTS, ROUNDING, agreement_loss, align_loss, pixel_loss, rest_loss, undo_loss
from train.orbit import Drawn, Members, build_orbit
from train.runs.errors import RunError
from train.terms import Align, Restore, Sibling, _read
from train.views import Batch

ITEMS = [4, 9, 2, 7, 30, 11]
SIZE = (24, 31)
KNOWN = ("image", "drawn", "sibling")
ORBIT = build_orbit(OrbitConfig(shift=0.0, interpolations=("bilinear",)), 3)
LONE = phases({**ALONE, "epochs": 1, "terms": {"task": 0.0}}, {"terms": {"task": 1.0, "undo": 0.0}})
UNDO: dict[str, Any] = {
    "method": RESIDUAL,
    "train": OWN_RATE,
    "loss": {"undo": {"weight": 1.0}, "orbit": {"evaluations": 2, "grid_sizes": [4]}},
}


def images(count: int = len(ITEMS), seed: int = 0) -> Tensor:
    return torch.rand(count, 2, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_a_member_is_the_image_behind_the_warp_that_is_told() -> None:
    drawn = ORBIT.draw(images(), ITEMS, 0, 0)
    torch.testing.assert_close(drawn.image, monotone_warp(images(), drawn.warp))
    assert torch.equal(drawn.is_warped, drawn.warp.x.abs().amax((1, 2)) > 0)


def test_an_untouched_member_is_the_image_itself_where_positions_are_not_shifted() -> None:
    drawn = replace(ORBIT, untouched=1.0).draw(images(), ITEMS, 0, 0)
    assert not drawn.is_warped.any()
    torch.testing.assert_close(drawn.image, images())


def test_a_shift_lets_untouched_images_be_interpolated_too() -> None:
    """By less than a pixel, and by another one for every item."""
    y, x = torch.meshgrid(*[torch.arange(n).float() for n in SIZE], indexing="ij")
    places = torch.stack([x, y]).expand(len(ITEMS), -1, -1, -1)
    drawn = replace(ORBIT, untouched=1.0, shift=0.5).draw(places, ITEMS, 0, 0)
    moved = (drawn.image - places)[..., 1:-1, 1:-1]
    assert (moved.amax((2, 3)) - moved.amin((2, 3))).max() < 1e-4  # the whole image by the same
    assert moved.abs().max() <= 0.5 and len(moved[:, 0, 0, 0].unique()) == len(ITEMS)


def test_a_warp_belongs_to_the_item_and_its_strength_to_the_interval() -> None:
    together, alone = ORBIT.draw(images(), ITEMS, 2, 0), ORBIT.draw(images()[1:2], ITEMS[1:2], 2, 5)
    assert torch.equal(together.warp.x[1:2], alone.warp.x) and torch.equal(together.image[1:2], alone.image)
    assert not torch.equal(together.warp.x, ORBIT.draw(images(), ITEMS, 3, 0).warp.x)
    many = range(400)
    drawn = replace(ORBIT, strengths=(0.2, 0.3), untouched=0.25).draw(torch.zeros(400, 1, 4, 4), many, 0, 0)
    assert 0.15 < 1 - drawn.is_warped.float().mean() < 0.35
    whole = item_warps(many, 8, 1.0, 3, "member", 0)
    strength = (drawn.warp.x / whole.x)[drawn.is_warped]
    assert 0.2 <= strength.min() < 0.21 and 0.29 < strength.max() <= 0.3
    torch.testing.assert_close(strength, strength[:, :1, :1].expand_as(strength))


def test_a_step_has_one_grid_size_and_one_interpolation() -> None:
    orbit = replace(ORBIT, grid_sizes=(3, 5), interpolations=("nearest", "antialiased"), untouched=1.0)
    found = set()
    for step in range(20):
        drawn = orbit.draw(images(), ITEMS, 0, step)
        found.add((drawn.warp.grid_size, torch.equal(drawn.image, images())))
    assert found == {(3, True), (3, False), (5, True), (5, False)}


@pytest.mark.parametrize("frame", [Frame(), Frame((0.5, 0.8), (0.25, 0.1))])
def test_what_is_left_is_a_distance_in_pixels(frame: Frame) -> None:
    """Point by point: where a canonical form reads the member, and where the member reads the image."""
    phi, warp = (random_warp_params(3, 5, 0.6, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    line = torch.linspace(0, 1, POINTS)
    expected, moved = [], []
    for item in range(3):
        for x in line:
            for y in line:
                point = torch.stack([x, y])[None, None]
                own = frame.to_whole(evaluate_grid(WarpParams(phi.x[item, None], phi.y[item, None]), point))
                left = evaluate_grid(WarpParams(warp.x[item, None], warp.y[item, None]), own) - frame.to_whole(point)
                sides = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
                expected.append(((left * sides).square().sum() + ROUNDING**2).sqrt() - ROUNDING)
                far = (own - frame.to_whole(point)) * sides
                moved.append((item == 1) * ((far.square().sum() + ROUNDING**2).sqrt() - ROUNDING))
    found = undo_loss([phi, phi], warp, [frame, frame], SIZE)
    torch.testing.assert_close(found, 2 * torch.stack(expected).mean(), rtol=1e-4, atol=1e-4)
    rest = rest_loss([phi], [frame], SIZE, torch.tensor([False, True, False]))
    torch.testing.assert_close(rest, torch.stack(moved).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frame", [Frame(), Frame((0.5, 0.8), (0.25, 0.1))])
def test_a_member_is_aligned_where_it_is_read_at_the_place_that_shows_the_same(frame: Frame) -> None:
    """Point by point, weighed by the sibling's detail there, and by none where the image shows the place no more."""
    generator = torch.Generator().manual_seed(0)
    phi, warp = (random_warp_params(2, 5, 0.6, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    place = torch.tensor([[[0.5, 0.4], [0.1, 0.2]], [[1.5, 1.2], [-0.4, -0.1]]])
    detail = torch.rand(2, 1, *SIZE, generator=generator)
    sides, line = torch.tensor([SIZE[1] - 1, SIZE[0] - 1]), torch.linspace(0, 1, FINE_POINTS)
    expected, hidden = [], 0
    for item in range(2):
        total, weights = torch.zeros(()), torch.zeros(())
        for x in line:
            for y in line:
                point = torch.stack([x, y])[None, None]
                at = frame.to_whole(point)
                wanted = place[item, 0] * at + place[item, 1]
                own = frame.to_whole(evaluate_grid(WarpParams(phi.x[item, None], phi.y[item, None]), point))
                read = evaluate_grid(WarpParams(warp.x[item, None], warp.y[item, None]), own)
                is_shown = bool(((wanted >= 0) & (wanted <= 1)).all())
                hidden += not is_shown
                weight = is_shown * sample_bilinear(detail[item, None], at.reshape(1, 2, 1, 1)).squeeze()
                far = ((read - wanted) * sides).square().sum()
                total, weights = total + weight * ((far + ROUNDING**2).sqrt() - ROUNDING), weights + weight
        expected.append(total / weights)
    assert hidden
    found = align_loss([phi, phi], warp, place, detail, [frame, frame], SIZE)
    torch.testing.assert_close(found, 2 * torch.stack(expected).mean(), rtol=1e-4, atol=1e-4)


def test_a_warp_that_shows_the_object_as_its_sibling_does_is_aligned() -> None:
    """An object that fills the middle half of the image, and the middle three quarters of its sibling's."""
    place = torch.tensor([[[2 / 3, 2 / 3], [1 / 6, 1 / 6]]])
    detail = torch.zeros(1, 1, 65, 65)
    detail[..., 9:56, 9:56] = 1.0
    still, intervals = WarpParams.identity(1, 4), torch.tensor([2.0, *[2 / 3] * 6, 2.0]) / 8
    phi = WarpParams(*[(intervals.log() / SHARPNESS)[None, None]] * 2)  # reads the middle three quarters from the half
    assert align_loss([phi], still, place, detail, [Frame()], (65, 65)) < 1e-4
    assert align_loss([still], still, place, detail, [Frame()], (65, 65)) > 5
    assert align_loss([still], still, place, 0 * detail, [Frame()], (65, 65)) == 0  # nothing to be seen


def test_nothing_is_left_of_no_warp() -> None:
    identity = WarpParams.identity(2, 4)
    assert undo_loss([identity], WarpParams.identity(2, 8), [Frame()], SIZE) < 1e-6
    assert rest_loss([identity], [Frame()], SIZE, torch.ones(2, dtype=torch.bool)) < 1e-6


def test_pixels_are_compared_at_sizes_that_halve() -> None:
    one, other = torch.rand(2, 2, 3, 8, 8)
    total = sum((one - other).reshape(2, 3, n, 8 // n, n, 8 // n).mean((3, 5)).square().mean() for n in (8, 4, 2))
    torch.testing.assert_close(pixel_loss(one, other, 3), total)
    assert pixel_loss(one, one, 3) == 0


def test_a_form_is_read_where_the_site_reads_the_image() -> None:
    """An image of its own positions shows them: of a site that sees a part of it, those of that part."""
    line = torch.linspace(0, 1, 41)
    places = torch.stack([line.expand(41, -1), line[:, None].expand(-1, 41)])[None]
    frame, phi = Frame((0.5, 0.8), (0.25, 0.1)), random_warp_params(1, 5, 0.6)
    found = _read(places, phi, frame)
    points = places.flatten(2).transpose(1, 2)
    expected = frame.to_whole(evaluate_grid(phi, points)).transpose(1, 2).view_as(found)
    torch.testing.assert_close(found, expected)


def test_agreeing_on_nothing_costs_the_floor() -> None:
    pair = [images(3), images(3, seed=1)]
    flat = [torch.zeros_like(image) for image in pair]
    torch.testing.assert_close(agreement_loss(flat, pair, 0.7), torch.tensor(0.7))
    assert agreement_loss([pair[0], pair[0]], [pair[0], pair[0]], 1.0) == 0
    apart = torch.stack([(a - b).square().mean() / ((a.var() + b.var()) / 2) for a, b in zip(*pair, strict=True)])
    torch.testing.assert_close(agreement_loss(pair, pair, 1.0), apart.mean())


def test_a_term_is_the_mean_over_the_evaluations(tmp_path: Path) -> None:
    trainer = trainer_of(config_of(tmp_path, UNDO, LONE))
    model, objective = trainer.model, trainer.objective
    torch.nn.init.normal_(model.canonicalizer.module_list[0][-1].weight, std=0.5)
    batch = next(iter(trainer.loader))
    part = Batch.loaded(batch, torch.device("cpu"))
    outcome = objective(model, part, 0, 0, phase=0)
    drawn = objective.orbit.draw(part.image, part.items, 0, 0)
    states = model(drawn.image, warps_only=True, evaluations=2).states
    size = (part.image.shape[-2], part.image.shape[-1])
    values = [undo_loss(state, drawn.warp, model.frames(size), size) for state in states]
    torch.testing.assert_close(outcome.loss, sum(values) / 2)
    assert outcome.told.keys() == {"loss", "undo"}


def test_leading_evaluations_are_drawn_for_every_step_and_ask_for_nothing(tmp_path: Path) -> None:
    trainer = trainer_of(config_of(tmp_path, UNDO, LONE, {"loss": {"orbit": {"lead": 3}}}))
    model, orbit = trainer.model, trainer.objective.orbit
    torch.nn.init.normal_(model.canonicalizer.module_list[0][-1].weight, std=0.5)
    part = Batch.loaded(next(iter(trainer.loader)), torch.device("cpu"))
    size = (part.image.shape[-2], part.image.shape[-1])
    assert {orbit.count(0, step) for step in range(40)} == {2, 3, 4, 5}
    for step in range(3):
        drawn = orbit.draw(part.image, part.items, 0, step)
        states = model(drawn.image, warps_only=True, evaluations=orbit.count(0, step)).states
        values = [undo_loss(state, drawn.warp, model.frames(size), size) for state in states[-2:]]
        torch.testing.assert_close(trainer.objective(model, part, 0, step, phase=0).loss, sum(values) / 2)


def test_neither_the_backbone_nor_the_solver_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(config_of(tmp_path, UNDO, LONE))
    before = [value.clone() for value in trainer.model.backbone.parameters()]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this must not be called")

    with monkeypatch.context() as patch:
        patch.setattr(type(trainer.model.backbone), "forward", refuse)
        patch.setattr(type(trainer.model.canonicalizer.solver), "__call__", refuse)
        trainer.fit(max_steps=2)
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.model.backbone.parameters(), strict=True))
    assert trainer.model.canonicalizer.module_list[0][-1].weight.abs().max() > 0


@pytest.mark.parametrize("term", ["undo", "task"])
def test_items_whose_warps_are_no_numbers_are_named(term: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the solver finds them or single evaluations do."""
    alone = phases({"terms": {"task": 0.0, "undo": 0.0, term: 1.0}})
    trainer = trainer_of(config_of(tmp_path, UNDO, alone))
    chosen = trainer.order.items[7]
    original = Batch.loaded

    def spoiled(*arguments: Any) -> Batch:
        batch = original(*arguments)
        image = batch.image.clone()
        image[[place for place, item in enumerate(batch.items) if item == chosen]] = torch.nan
        return batch._replace(image=image)

    monkeypatch.setattr(Batch, "loaded", spoiled)
    torch.nn.init.normal_(trainer.model.canonicalizer.module_list[0][-1].weight)
    with pytest.raises(RunError, match=rf"the warps of 1 items became NaN \(their numbers: {chosen}\)"):
        trainer.fit()


@pytest.mark.parametrize("term", ["undo", "restore", "sibling", "agree", "rest"])
def test_every_term_falls_while_it_trains(term: str, tmp_path: Path) -> None:
    """Of a map that warps at first, on the same few items."""
    side = {} if term in ("undo", "rest") else {"side": 28}
    settings = {
        "method": RESIDUAL,
        "loss": {term: {"weight": 1.0, **side}, "orbit": {"evaluations": 2, "strengths": [0.1, 0.3]}},
        "train": {**OWN_RATE, "epochs": 16, "phases": [{**ALONE, "terms": {"task": 0.0}}]},
    }
    config = config_of(tmp_path, settings)
    trainer = trainer_of(config)
    torch.nn.init.normal_(trainer.model.canonicalizer.module_list[0][-1].weight, std=1.0)
    metrics: list[dict[str, float]] = []
    trainer.fit(end_epoch=metrics.append)
    assert metrics[-1][f"train_{term}"] < 0.9 * metrics[0][f"train_{term}"]


@pytest.mark.parametrize(("term", "wanted"), [(Restore, "image"), (Sibling, "sibling")])
def test_a_form_is_compared_with_what_it_should_be(term: Any, wanted: str) -> None:
    """A form that is not warped is the member itself: the loss is its distance from the image, or from the sibling."""
    generator = torch.Generator().manual_seed(0)
    given = {name: torch.rand(3, 1, 16, 16, generator=generator) for name in KNOWN}
    still = WarpParams.identity(3, 4)
    drawn = Drawn(given["drawn"], still, torch.ones(3, dtype=torch.bool))
    members = Members(
        find=lambda image: SimpleNamespace(states=[[WarpParams.identity(len(image), 4)]]),
        evaluations=1,
        image=given["image"],
        drawn=drawn,
        sibling=given["sibling"],
        place=None,
        needs={"drawn"},
        frames=[Frame()],
    )
    options = {"restore": RestoreTerm(side=16), "sibling": SiblingTerm(side=16)}
    found = term(LossConfig(**options), False).after(members, 0)
    torch.testing.assert_close(found, pixel_loss(given["drawn"], given[wanted], 3))


def test_what_is_aligned_is_where_the_sibling_has_something_to_see() -> None:
    """A sibling with one bright pixel, which the member shows three pixels further right, and nothing moved it."""
    sibling = torch.zeros(1, 1, 33, 33)
    sibling[..., 16, 16] = 1.0
    still = WarpParams.identity(1, 4)
    members = Members(
        find=lambda image: SimpleNamespace(states=[[still]]),
        evaluations=1,
        image=sibling,
        drawn=Drawn(sibling, still, torch.zeros(1, dtype=torch.bool)),
        sibling=sibling,
        place=torch.tensor([[[0.0, 1.0], [0.5 + 3 / 32, 0.0]]]),  # all columns of it lie in one of the member
        needs={"drawn"},
        frames=[Frame()],
    )
    found = Align(LossConfig(), False).after(members, 0)
    assert 2 < found < 4  # the pixel itself and those beside it, up to two columns away


def test_batches_have_siblings_where_a_term_needs_them(tmp_path: Path) -> None:
    """The same digits in the same places, all of them at scale 1."""
    plain = build_splits(config_of(tmp_path, UNDO, LONE), SEED)
    assert plain.train is not None and len(next(iter(plain.train))) == 3
    wanted = config_of(tmp_path, UNDO, LONE, {"loss": {"sibling": {"weight": 1.0}}})
    assert wanted.needs_siblings
    splits = build_splits(wanted, SEED)
    assert splits.train is not None
    image, _, index, sibling = next(iter(splits.train))
    digits: Any = splits.train.dataset
    for number, shown in zip(index.tolist(), sibling, strict=True):
        pixels, _ = digits.dataset.item(number, [1.0, 1.0])
        assert torch.equal(shown, torch.from_numpy(pixels)[None] / 255)
    assert sibling.shape == image.shape and not torch.equal(sibling, image)
    part = Batch.loaded(next(iter(splits.train)), torch.device("cpu"))
    halves = list(part.parts(2))
    assert all(half.sibling is not None for half in halves)
    assert torch.equal(torch.cat([half.sibling for half in halves if half.sibling is not None]), part.sibling)


def test_parts_of_a_batch_keep_what_belongs_to_their_items() -> None:
    place = torch.arange(20.0).reshape(5, 2, 2)
    whole = Batch(torch.rand(5, 1, 4, 4), torch.arange(5), [*range(5)], torch.rand(5, 1, 4, 4), place)
    parts = list(whole.parts(2))
    assert [part.items for part in parts] == [[0, 1], [2, 3, 4]]
    assert torch.equal(torch.cat([part.place for part in parts if part.place is not None]), place)
    assert [part.place for part in whole._replace(place=None).parts(2)] == [None, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": {"undo": {"weight": 1.0}}}, "loss.undo has a weight; it needs method.name: dec"),
        (
            {
                "method": {**RESIDUAL, "condition": "feature", "sites": [{"stage": "image"}]},
                **{"loss": {"sibling": {"weight": 1.0}}, "train": OWN_RATE},
            },
            "loss.sibling has a weight with method.condition feature; it needs warps that are found from images",
        ),
        (
            {"method": {**RESIDUAL, "sites": [{"stage": 0}, {"stage": 1}]}, "loss": {"rest": {"weight": 1.0}}},
            "loss.rest has a weight with 2 sites",
        ),
        (
            {"method": RESIDUAL, "loss": {"undo": {"weight": 1.0}, "orbit": {"strengths": [0.0, 0.0]}}},
            "loss.undo has a weight with loss.orbit.strengths of 0; it is about members that are warped",
        ),
        (
            {"method": RESIDUAL, "loss": {"agree": {"weight": 1.0}, "orbit": {"untouched": 1.0}}},
            "loss.agree has a weight with loss.orbit.untouched of 1; it is about members that are warped",
        ),
        (
            {"method": RESIDUAL, "loss": {"rest": {"weight": 1.0}, "orbit": {"untouched": 0.0}}},
            "loss.rest has a weight with loss.orbit.untouched of 0; it is about members that are not warped",
        ),
        ({"loss": {"orbit": {"strengths": [0.5, 0.2]}}}, r"strengths is \[0.5, 0.2\]; expected 0 <= low <= high"),
        ({"loss": {"orbit": {"grid_sizes": [1]}}}, r"grid_sizes is \[1\]; expected at least one, each at least 2"),
        ({"loss": {"orbit": {"untouched": 1.5}}}, "untouched is 1.5; expected 0 to 1"),
        ({"loss": {"orbit": {"interpolations": []}}}, "interpolations is empty; expected at least one"),
        ({"loss": {"orbit": {"interpolations": ["lanczos"]}}}, "lanczos"),
        ({"loss": {"orbit": {"evaluations": 0}}}, "evaluations is 0; expected at least 1"),
        ({"loss": {"orbit": {"lead": -1}}}, "lead is -1; expected at least 0"),
        ({"loss": {"sibling": {"side": 2}}}, "side is 2; expected at least 4"),
        (
            {"method": RESIDUAL, "loss": {"align": {"weight": 1.0}}},
            "loss.align has a weight with data.name digits; it needs objects of stir/",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, settings)
