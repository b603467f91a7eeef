"""What a canonicalizer undoes and disturbs, item by item; a stand-in is told the warps that it is to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.positions import contrast, displacement, undone
from layers.frame import Frame
from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from layers.seeds import item_warps
from layers.spec import Site
from tests.evaluation.picture_sets import judges
from tests.evaluation.stand_ins import Items, OneByOne, Warper, chunks, numbered_images, small_net
from tests.models.adapting import adapted, images

COUNT = 11
IMAGES, LABELS = numbered_images(COUNT), torch.arange(COUNT) % 3
ORDER = [3, 8, 0, 10, 5, 7, 2, 9]
GIVES = {"warps", "forms"}
NAMES = ("undone", "displacement", "disturbed_flips", "accuracy_bypassed")


def phis(seed: int, *sizes: int) -> list[WarpParams]:
    return [random_warp_params(COUNT, R, 0.9, generator=torch.Generator().manual_seed(seed + R)) for R in sizes]


def warper(*sizes: int) -> Warper:
    frames = [Frame(scale=(0.9 - 0.1 * k, 0.8), offset=(0.05, 0.1)) for k in range(len(sizes))]
    net = OneByOne(small_net(classes=3, gain=25))
    return Warper(net, phis(0, *sizes), phis(9, *sizes), frames).eval()


def measured(model: Any, numbers: list[int] = ORDER, gives: set[str] | None = None, **options: Any) -> Any:
    part = Items(IMAGES, LABELS, chunks(numbers, 3))
    return evaluate(model, {"test": part}, grid_size=5, strength=0.4, seed=1, gives=gives or GIVES, **options)


@pytest.mark.parametrize("sizes", [(4,), (4, 3)])
@pytest.mark.parametrize("limits", [{"floor_items": 5}, {"warp_items": 4}, {"warp_items": 7, "floor_items": None}])
def test_every_item_has_what_its_own_warps_come_to(sizes: tuple[int, ...], limits: dict[str, Any]) -> None:
    model, count = warper(*sizes), min(value for value in limits.values() if value is not None)
    found = measured(model, **limits)
    expected: dict[str, list[float]] = {name: [] for name in NAMES}
    for place, number in enumerate(ORDER[:count]):
        own, others = ([WarpParams(p.x[[number]], p.y[[number]]) for p in side] for side in (model.own, model.others))
        warp = item_warps([place], 5, 0.4, 1, "warp error")
        sites, shades = list(zip(own, others, model.of_sites, strict=True)), contrast(IMAGES[[number]])
        expected["undone"].append(np.mean([undone(a, b, warp, frame, shades).item() for a, b, frame in sites]))
        expected["displacement"].append(np.mean([displacement(a, frame, (12, 12)).item() for a, _, frame in sites]))
        image = shown = IMAGES[[number]]
        for phi in own:
            shown = monotone_warp(shown, phi)
        with torch.no_grad():
            plain, seen = (model.net(one).argmax().item() for one in (image, shown))
        expected["disturbed_flips"].append(float(plain != seen))
        expected["accuracy_bypassed"].append(float(plain == LABELS[number]))
    assert found.items["canonical_index"].tolist() == ORDER[:count]
    for name, values in expected.items():
        assert found.items[name].tolist() == pytest.approx(values, rel=1e-9)
        assert found.metrics[name] == pytest.approx(np.mean(values), rel=1e-9)


def test_the_stand_in_is_neither_always_disturbed_nor_always_right() -> None:
    """So that the test above could fail."""
    metrics = measured(warper(4)).metrics
    assert 0 < metrics["disturbed_flips"] < 1 and 0 < metrics["accuracy_bypassed"] < 1


def test_only_what_the_model_gives_is_measured() -> None:
    assert not set(NAMES) & measured(OneByOne(small_net()), gives={"energies"}).metrics.keys()
    metrics = measured(warper(4, 3), gives={"warps"}).metrics
    assert set(NAMES) & metrics.keys() == set(NAMES) - {"undone"}
    assert not set(NAMES) & measured(warper(4), full=False).metrics.keys()


def test_a_map_that_gives_every_image_one_warp_undoes_nothing_and_still_moves() -> None:
    model = warper(4)
    same = WarpParams(*(part[:1].expand(COUNT, -1, -1) for part in model.own[0]))
    model.own = model.others = [same]
    found = measured(model)
    assert found.metrics["undone"] == 0 < found.metrics["displacement"]


def test_what_cannot_be_read_is_left_out() -> None:
    val = judges()
    count = len(val.dataset)
    val.dataset.images[:, 0, 0, 0] = torch.arange(count) / 100
    own, others = (
        [random_warp_params(count, 4, 0.9, generator=torch.Generator().manual_seed(seed))] for seed in (0, 1)
    )
    model = Warper(OneByOne(small_net(channels=3)), own, others, [Frame()]).eval()
    found = evaluate(model, {"val": val}, floor_items=None, gives=GIVES)
    assert np.array_equal(found.items["canonical_index"], found.items["warp_index"])
    numbers = torch.from_numpy(found.items["canonical_index"])
    kept = WarpParams(own[0].x[numbers], own[0].y[numbers])
    expected = displacement(kept, Frame(), val.dataset.images.shape[-2:]).tolist()
    assert found.items["displacement"].tolist() == pytest.approx(expected, rel=1e-9)


def test_a_real_one_is_asked_as_it_answers() -> None:
    """A DEC of two sites that are undone: no stand-in."""
    model, image = adapted(sites=(Site("image", 4), Site(1, 5, restore=True))).eval(), images(3)
    part = Items(image, torch.tensor([0, 1, 2]), [[0, 1, 2]])
    gives = GIVES | {"equilibrium"}
    found = evaluate(model, {"test": part}, grid_size=5, strength=0.4, gives=gives, evaluations=(2,))
    warp = item_warps(range(3), 5, 0.4, 0, "warp error")
    warped = monotone_warp(image, warp)
    with torch.no_grad():
        own, others = (model(one, return_output=True) for one in (image, warped))
        plain = model.predict(image, [WarpParams.identity(3, phi.grid_size) for phi in own.phis]).argmax(1)
        after = [model(one, evaluations=2).argmax(1) for one in (image, warped)]
    sites = list(zip(own.phis, others.phis, model.frames((96, 96)), strict=True))
    shares = torch.stack([undone(a, b, warp, frame, contrast(image)) for a, b, frame in sites]).mean(0)
    distances = torch.stack([displacement(a, frame, (96, 96)) for a, _, frame in sites]).mean(0)
    assert found.items["undone"].tolist() == pytest.approx(shares.tolist(), rel=1e-4)
    assert found.items["displacement"].tolist() == pytest.approx(distances.tolist(), rel=1e-4)
    labels = torch.tensor([0, 1, 2])
    expected = {
        "disturbed_flips": plain != own.logits.argmax(1),
        "accuracy_bypassed": plain == labels,
        "accuracy_after_2": after[0] == labels,
        "warp_accuracy_after_2": after[1] == labels,
    }
    assert {name: found.items[name].tolist() for name in expected} == {
        name: values.double().tolist() for name, values in expected.items()
    }
