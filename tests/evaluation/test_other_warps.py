"""Other strengths, interpolations, evaluations and scales, item by item, and on several processes."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.evaluator import Evaluation, evaluate
from evaluation.predictions import Pairs
from evaluation.scales import at_scales, model_input
from evaluation.temperature import fit_temperature
from layers.frame import Frame
from layers.grid import random_warp_params
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.seeds import item_warps
from tests.evaluation.picture_sets import on_processes
from tests.evaluation.stand_ins import (
    Blobs,
    Items,
    OneByOne,
    Warper,
    chunks,
    numbered_images,
    said,
    small_net,
    two_digits,
)

COUNT = 12
IMAGES, LABELS = numbered_images(COUNT, side=24), torch.arange(COUNT) % 3
ORDER = [3, 8, 0, 11, 5, 7, 2, 9]
CALIBRATION = Items(numbered_images(30, side=24, seed=1), torch.arange(30) % 3, chunks(range(30), 9))
SETTINGS: dict[str, Any] = {
    "strengths": (0.0, 0.25, 0.9),
    "interpolations": ("nearest", "bicubic", "bilinear"),
    "evaluations": (1, 3),
    "scales": (0.5, 1.0, 2.5),
}
WARPS: dict[str, Any] = {"grid_size": 5, "strength": 0.25, "seed": 4, "local_scale_items": 5, "local_scale_draws": 2}


def model() -> Warper:
    found = [[random_warp_params(COUNT, 4, 0.5, generator=torch.Generator().manual_seed(seed))] for seed in range(2)]
    return Warper(small_net(classes=3, gain=25), *found, [Frame()]).eval()


def measured(judged: Any, calibration: Items | None = CALIBRATION, **options: Any) -> Evaluation:
    part = Items(IMAGES, LABELS, chunks(ORDER, 3), Blobs())
    return evaluate(judged, {"test": part}, calibration, **WARPS | options)


def net() -> OneByOne:
    return OneByOne(small_net(classes=3, gain=25)).eval()


def logits(predict: Any, place: int, strength: float, mode: Any = "bilinear") -> Tensor:
    """Of one item under its own warp."""
    warp = item_warps([place], 5, strength, 4, "warp error")
    with torch.no_grad():
        return predict(monotone_warp(IMAGES[[ORDER[place]]], warp, mode=mode))


@pytest.mark.parametrize("warp_items", [None, 5])
def test_every_strength_is_measured_on_the_warped_items(warp_items: int | None) -> None:
    predict, settings = net(), {"strengths": SETTINGS["strengths"]}
    found = measured(predict, warp_items=warp_items, **settings)
    temperature = fit_temperature(*said(predict, CALIBRATION.loader(CALIBRATION.batches)))
    places = range(len(ORDER[:warp_items]))
    assert found.items["warp_index"].tolist() == ORDER[:warp_items]
    for strength, name in ((0.0, "0"), (0.25, "0.25"), (0.9, "0.9")):
        warped = torch.cat([logits(predict, place, strength) for place in places])
        with torch.no_grad():
            pairs = Pairs(predict(IMAGES[ORDER[:warp_items]]), warped)
        expected = {
            "accuracy": (warped.argmax(1) == LABELS[ORDER[:warp_items]]).double(),
            "flips": pairs.flips(),
            "error_tempered": pairs.errors(temperature),
        }
        for kind, values in expected.items():
            assert found.items[f"warp_{kind}_at_{name}"].tolist() == values.tolist()
            assert found.metrics[f"warp_{kind}_at_{name}"] == values.mean().item()
    assert found.metrics["warp_flips_at_0"] == 0 < found.metrics["warp_flips_at_0.9"]


def test_at_the_strength_of_all_warps_the_curve_is_what_is_measured_anyway() -> None:
    found = measured(net(), **SETTINGS | {"evaluations": ()})
    for curve, known in (("accuracy", "correct"), ("flips", "flip"), ("error_tempered", "error_tempered")):
        assert np.array_equal(found.items[f"warp_{curve}_at_0.25"], found.items[f"warp_{known}"])
    assert found.metrics["warp_accuracy_at_0.25"] == found.metrics["warp_accuracy_by_bilinear"]
    assert found.metrics["warp_accuracy_at_0.25"] == found.metrics["warp_accuracy"]


def test_the_curve_does_not_depend_on_the_strength_of_all_warps() -> None:
    one, other = (measured(net(), strengths=(0.25, 0.9), **{"strength": strength}) for strength in (0.25, 0.9))
    for name in ("warp_accuracy_at_0.25", "warp_flips_at_0.25", "warp_error_tempered_at_0.9"):
        assert np.array_equal(one.items[name], other.items[name])


def test_warped_items_are_read_in_every_way() -> None:
    predict = net()
    found = measured(predict, interpolations=("nearest", "bicubic", "antialiased"))
    seen = []
    for mode in ("nearest", "bicubic", "antialiased"):
        classes = [logits(predict, place, 0.25, mode).argmax().item() for place in range(len(ORDER))]
        correct = [float(one == LABELS[number]) for one, number in zip(classes, ORDER, strict=True)]
        assert found.items[f"warp_accuracy_by_{mode}"].tolist() == correct
        assert found.metrics[f"warp_accuracy_by_{mode}"] == np.mean(correct)
        seen.append(correct)
    assert seen[0] != seen[1]


def test_the_oracle_judges_what_was_exactly_unwarped() -> None:
    predict = net()
    found = measured(predict, floor_items=6, strength=0.9)
    correct = []
    for place, number in enumerate(ORDER[:6]):
        warp = item_warps([place], 5, 0.9, 4, "warp error")
        restored = inverse_monotone_warp(monotone_warp(IMAGES[[number]], warp), warp, method="exact")
        with torch.no_grad():
            correct.append(predict(restored).argmax().item() == LABELS[number].item())
    assert found.metrics["warp_oracle_accuracy"] == np.mean(correct)
    assert 0 < np.mean(correct) < 1


def test_a_model_is_measured_after_so_many_evaluations() -> None:
    judged = model()
    judged.net = OneByOne(judged.net)
    found = measured(judged, evaluations=(1, 3), gives={"equilibrium"})
    temperature = found.metrics["temperature"]
    for count in (1, 3):
        predict = partial(judged, evaluations=count)
        with torch.no_grad():
            clean, residual = predict(IMAGES[ORDER]), predict(IMAGES[ORDER], return_output=True).residual
        changed = torch.cat([logits(predict, place, 0.25) for place in range(8)])
        expected = {
            "accuracy": (clean.argmax(1) == LABELS[ORDER]).double(),
            "warp_accuracy": (changed.argmax(1) == LABELS[ORDER]).double(),
            "warp_error_tempered": Pairs(clean, changed).errors(temperature),
        }
        for name, values in expected.items():
            assert found.items[f"{name}_after_{count}"].tolist() == values.tolist()
            assert found.metrics[f"{name}_after_{count}"] == values.mean().item()
        assert found.metrics[f"residual_after_{count}"] == pytest.approx(residual.double().mean().item())
    assert found.metrics["warp_error_tempered_after_1"] != found.metrics["warp_error_tempered_after_3"]


def test_a_model_without_equilibrium_has_no_evaluations() -> None:
    with pytest.raises(ValueError, match=r"evaluations is \[1\]; expected none of a model that gives no equilibrium"):
        measured(net(), evaluations=(1,), gives={"warps"})


@pytest.mark.parametrize("dataset", [Blobs(), two_digits()])
def test_composed_items_have_one_scale_after_the_other(dataset: Any) -> None:
    predict, items, scales = OneByOne(small_net(gain=25)).eval(), [4, 1, 7], (0.5, 1.0, 1.75)
    found = at_scales(predict, dataset, items, scales, batch_size=4)
    correct = np.zeros((3, 3))
    for row, item in enumerate(items):
        for column, scale in enumerate(scales):
            pixels, label = dataset.item(item, [scale] * 2)
            with torch.no_grad():
                said_of = predict(model_input(dataset, pixels[None], "cpu"))[0]
            torch.testing.assert_close(found.logits[row, column], said_of, rtol=0, atol=0)
            correct[row, column] = said_of.argmax() == label
    assert found.correct.tolist() == correct.tolist()


def test_accuracy_at_scales_is_kept_for_every_item() -> None:
    found = measured(net(), scales=(0.5, 1.0, 2.5))
    known = at_scales(net(), Blobs(), ORDER[:5], (0.5, 1.0, 2.5)).correct
    for column, name in enumerate(("0.5", "1", "2.5")):
        assert found.items[f"accuracy_at_{name}"].tolist() == known[:, column].tolist()
        assert found.metrics[f"accuracy_at_{name}"] == known[:, column].mean().item()
    assert found.items["accuracy_over_scales"].tolist() == known.mean(1).tolist()
    assert found.metrics["accuracy_over_scales"] == known.mean(1).mean().item()
    assert found.items["composed_index"].tolist() == found.items["local_scale_index"].tolist() == ORDER[:5]
    assert 0 < known.mean() < 1


def test_nothing_of_it_is_measured_unless_it_is_asked_for() -> None:
    plain = measured(model(), gives={"equilibrium"})
    asked = measured(model(), gives={"equilibrium"}, **SETTINGS)
    new = asked.metrics.keys() - plain.metrics.keys()
    assert Counter(name.rpartition("_")[0] for name in new) == {
        **dict.fromkeys(("warp_accuracy_at", "warp_flips_at", "warp_error_tempered_at"), 3),
        **dict.fromkeys(("accuracy_after", "warp_accuracy_after", "warp_error_tempered_after", "residual_after"), 2),
        **{"warp_accuracy_by": 3, "accuracy_at": 3, "accuracy_over": 1},
    }
    assert asked.metrics | plain.metrics == asked.metrics
    assert all(np.array_equal(values, asked.items[name]) for name, values in plain.items.items())
    quick = measured(model(), gives={"equilibrium"}, full=False, **SETTINGS)
    assert quick.metrics.keys() == {"accuracy"}


def test_without_calibration_nothing_is_tempered() -> None:
    found = measured(model(), None, gives={"equilibrium"}, **SETTINGS)
    assert not any("tempered" in name for name in [*found.metrics, *found.items])


@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_processes_finds_the_same_bit_by_bit(world: int) -> None:
    """Also where a process has no batch: there are three."""
    judged, options = model(), {"gives": {"equilibrium", "warps", "forms"}, "batch_size": 4, **SETTINGS}
    whole = measured(judged, **options)

    def measure(share: tuple[int, int], gather: Any) -> Evaluation:
        return measured(copy.deepcopy(judged), share=share, gather=gather, **options)

    for one in on_processes(world, measure):
        assert one.metrics == whole.metrics
        assert one.items.keys() == whole.items.keys()
        assert all(np.array_equal(one.items[name], whole.items[name]) for name in whole.items)


def test_every_answer_is_asked_for_once() -> None:
    calls = []

    def predict(image: Tensor) -> Tensor:
        calls.append(len(image))
        return image.flatten(1)[:, :3]

    measured(predict, None, strengths=(0.25, 0.5), interpolations=("bilinear", "nearest"), floor_items=1)
    warps = Counter(calls[: 3 * 4 + 1])
    assert warps == {3: 8, 2: 4, 1: 1}  # of three batches: clean, warped, at 0.5, nearest; and one is restored
