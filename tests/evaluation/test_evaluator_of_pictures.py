"""A whole evaluation of pictures agrees with its single metrics, on one process and on several."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.metrics import per_scale_accuracy, scale_consistency
from evaluation.parts import unscaled_batches
from evaluation.predictions import undisturbed
from evaluation.temperature import fit_temperature
from evaluation.views import Judge, Views
from report.bootstrap import paired_bootstrap
from tests.evaluation.picture_sets import NAMES, UNREADABLE, judges, on_processes
from tests.evaluation.stand_ins import OneByOne, said, small_net

VAL, CALIBRATION = judges(), judges(seed=5)
with torch.no_grad():  # mostly right: so that a temperature calibrates the model
    _said = OneByOne(small_net(channels=3)).eval()(CALIBRATION.dataset.images).argmax(1).tolist()
CALIBRATION.dataset.labels = [said if number % 4 else 0 for number, said in enumerate(_said)]
OPTIONS = {"grid_size": 5, "strength": 0.3, "seed": 2, "floor_items": None}


def readable(part, numbers):
    """A loader of these items without what cannot be read."""
    kept = [number for number in numbers if part.dataset.names[number] not in UNREADABLE]
    return kept, part.loader([kept])


def test_metrics_are_those_of_the_single_functions():
    net = OneByOne(small_net(channels=3)).train()
    found = evaluate(net, {"val": VAL}, CALIBRATION, **OPTIONS)
    assert net.training
    _, calibration = readable(CALIBRATION, range(len(NAMES)))
    temperature = fit_temperature(*said(net, calibration))
    expected = {
        "temperature": temperature,
        **per_scale_accuracy(net, VAL.dataset),
        **scale_consistency(net, VAL.dataset),
    }
    tempered = scale_consistency(net, VAL.dataset, temperature=temperature)
    expected["consistency_error_tempered"] = tempered["consistency_error"]
    logits, labels = said(net, readable(VAL, range(len(NAMES)))[1])
    nll = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    expected |= {"nll": nll, "multi_scale_nll": nll}
    expected |= {name: expected[f"multi_scale_{name}"] for name in ("top1", "top5")}
    warps = {name: value for name, value in found.metrics.items() if name.startswith("warp_")}
    assert {name: found.metrics[name] for name in found.metrics.keys() - warps.keys()} == pytest.approx(
        expected, rel=1e-12
    )
    names = {f"invariance_{name}" for name in ("error", "error_tempered", "floor", "floor_tempered", "flips")}
    assert warps.keys() == {f"warp_{name}" for name in names | {"accuracy", "oracle_accuracy"}}
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert 0.05 < temperature < 20 and expected["consistency_flips"] > 0


def test_warps_are_those_of_the_first_pictures_as_they_were_taken():
    net = OneByOne(small_net(channels=3))
    scales = VAL.groups.scales
    taken = [n for batch in VAL.batches for n in batch if np.isnan(scales[n]) or scales[n] == 1]
    for count in (3, 100):
        found = evaluate(net, {"val": VAL}, None, warp_items=count, **OPTIONS)
        kept, _ = readable(VAL, taken[:count])
        assert found.items["warp_index"].tolist() == sorted(kept)
        judge = Judge(net, grid_size=5, strength=0.3, seed=2, floor_items=None)
        ((image, label, number),) = VAL.loader([kept])
        with undisturbed(net):
            pairs = Views(judge, image, label, number, kept)
            known = (pairs.changed.changed.argmax(1) == label).double()
            assert pairs.restored
        errors = dict(zip(kept, pairs.changed.errors().tolist(), strict=True))
        assert found.items["warp_invariance_error"].tolist() == [errors[number] for number in sorted(kept)]
        metrics = found.metrics
        assert found.items["warp_correct"].tolist() == known[np.argsort(kept)].tolist()
        assert metrics["warp_accuracy"] == known.mean()
        assert metrics["warp_invariance_error"] == pytest.approx(np.mean(list(errors.values())), rel=1e-12)
        assert metrics["warp_invariance_floor"] == pytest.approx(pairs.restored.errors().mean().item(), rel=1e-12)
        assert metrics["warp_invariance_flips"] == pytest.approx(pairs.changed.flips().mean().item(), rel=1e-12)


def test_the_scales_may_be_in_another_set():
    net = OneByOne(small_net(channels=3))
    plain = judges(names=["n/plain.png", "n/whole.png", "n/long.png"], seed=3)
    found = evaluate(net, {"val": plain, "multi_scale": VAL}, CALIBRATION, **OPTIONS)
    both = evaluate(net, {"val": VAL}, CALIBRATION, **OPTIONS)
    of_scales = {name for name in found.metrics if "_at_" in name or "consistency" in name or "multi_scale" in name}
    assert {name: found.metrics[name] for name in of_scales} == {name: both.metrics[name] for name in of_scales}
    assert found.metrics.keys() == both.metrics.keys()
    assert found.items["index"].tolist() == found.items["warp_index"].tolist() == [0, 1, 2]
    assert found.metrics["top1"] == found.items["top1"].mean() != both.metrics["top1"]
    alone = evaluate(net, {"val": plain}, CALIBRATION, full=False)
    assert alone.metrics.keys() == {"temperature", "top1", "top5", "nll"}


def test_values_per_item_are_what_the_means_are_taken_of():
    found = evaluate(OneByOne(small_net(channels=3)), {"val": VAL}, CALIBRATION, **OPTIONS)
    for name in found.metrics.keys() & found.items.keys():
        assert found.items[name].mean() == pytest.approx(found.metrics[name], rel=1e-12)
    assert {"top1", "nll", "consistency_error", "consistency_error_tempered", "warp_invariance_flips"} <= (
        found.metrics.keys() & found.items.keys()
    )
    assert not any("floor" in name for name in found.items)
    at = {scale: found.items[f"top1_at_{scale}"] for scale in ("0.7", "1", "1.3", "2")}
    for scale, values in at.items():
        numbers = found.items[f"at_{scale}_index"]
        assert len(values) == len(numbers) and (VAL.groups.scales[numbers] == float(scale)).all()
        assert values.mean() == found.metrics[f"top1_at_{scale}"]
    own = found.items["consistency_error"]
    assert len(own) == len(found.items["group_index"]) == 5
    assert paired_bootstrap(own, own, samples=10) == {"difference": 0, "low": 0, "high": 0}


@pytest.mark.parametrize("world", [2, 3, 9])
@pytest.mark.parametrize("full", [True, False])
def test_any_number_of_processes_finds_the_same_bit_by_bit(world, full):
    """Also where a process has no batch: there are 7 or 8 of them. What a picture gives may depend on its batch."""
    net = small_net(channels=3)
    whole = evaluate(net, {"val": VAL}, CALIBRATION, full=full, **OPTIONS)
    assert len(VAL.batches) < 9 and ("warp_invariance_error" in whole.metrics) == full

    def measure(share, gather):
        model = copy.deepcopy(net)
        return evaluate(model, {"val": VAL}, CALIBRATION, share=share, gather=gather, full=full, **OPTIONS)

    for one in on_processes(world, measure):
        assert one.metrics == whole.metrics
        assert one.items.keys() == whole.items.keys()
        assert all(np.array_equal(one.items[name], whole.items[name]) for name in whole.items)


def test_an_invariant_model_has_no_error():
    def invariant(image):
        return torch.tensor([0.3, 2.0, -1.0, 0.0, 0.1, 0.2, 0.5]).expand(len(image), -1)

    metrics = evaluate(invariant, {"val": VAL}, CALIBRATION, **OPTIONS).metrics
    errors = {name: value for name, value in metrics.items() if "error" in name or "flips" in name or "floor" in name}
    assert len(errors) == 9 and set(errors.values()) == {0}


def test_without_calibration_nothing_is_tempered():
    found = evaluate(OneByOne(small_net(channels=3)), {"val": VAL}, None, **OPTIONS)
    assert not any("temper" in name for name in [*found.metrics, *found.items])


def test_metrics_are_plain_numbers_in_a_file():
    metrics = evaluate(OneByOne(small_net(channels=3)), {"val": VAL}, CALIBRATION, **OPTIONS).metrics
    assert json.loads(json.dumps(metrics)) == metrics
    assert all(type(value) is float for value in metrics.values())


def test_of_no_pictures_nothing_can_be_said():
    net = OneByOne(small_net(channels=3))
    for nothing in (judges(names=[]), judges(names=["n/simple.png"])):
        with pytest.raises(ValueError, match="there are no items to evaluate"):
            evaluate(net, {"val": nothing}, CALIBRATION, **OPTIONS)
        with pytest.raises(ValueError, match="there are no items to fit the temperature on"):
            evaluate(net, {"val": VAL}, nothing, **OPTIONS)


def test_a_set_without_scale_1_has_no_warp_error_and_no_consistency():
    late = judges(names=["n/late_scale_0.7.png", "n/late_scale_1.3.png"])
    metrics = evaluate(OneByOne(small_net(channels=3)), {"val": late}, CALIBRATION, **OPTIONS).metrics
    assert metrics.keys() >= {"top1", "top1_at_0.7", "top1_at_1.3"}
    assert not any("warp" in name or "consistency" in name for name in metrics)
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("turn", [1, -1])
def test_the_floor_is_of_the_first_warped_pictures_whatever_their_numbers(turn):
    """Of objects at several scales the pictures at scale 1 alone are warped; a part may begin at any number."""
    net, part = OneByOne(small_net(channels=3)).eval(), VAL._replace(batches=VAL.batches[::turn])
    found = evaluate(net, {"val": part}, **{**OPTIONS, "floor_items": 3})
    first = [number for batch in unscaled_batches(part, 3) for number in batch]
    kept, loader = readable(part, first)
    judge = Judge(net, grid_size=5, strength=0.3, seed=2, floor_items=None)
    (views,) = [Views(judge, *batch, batch[2].tolist(), part.groups) for batch in loader]
    assert len(views.restored.changed) == len(kept) >= 2
    expected = views.restored.errors().mean().item()
    assert found.metrics["warp_invariance_floor"] == pytest.approx(expected, rel=1e-9)
