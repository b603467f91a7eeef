"""A whole evaluation agrees with its single metrics, on one process and on several."""

import copy

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.metrics import accuracy, local_scale_error, warp_invariance_error
from evaluation.temperature import fit_temperature
from layers.monotone import monotone_warp
from layers.seeds import item_warps
from report.bootstrap import paired_bootstrap
from tests.evaluation.picture_sets import on_processes
from tests.evaluation.stand_ins import Blobs, Items, OneByOne, chunks, said, small_net, smooth_images

IMAGES, LABELS = smooth_images(12), torch.arange(12) % 7
CALIBRATION = Items(smooth_images(40, seed=1), torch.arange(40) % 7, chunks(range(40), 9))
OPTIONS = {"local_scale_items": 5, "local_scale_draws": 3, "floor_items": 7, "grid_size": 5, "strength": 0.3}


def part(numbers, size=3, composed=None):
    return Items(IMAGES, LABELS, chunks(numbers, size), composed)


def loader(numbers, size=3):
    return [(IMAGES[batch], LABELS[batch]) for batch in chunks(numbers, size)]


def test_metrics_are_those_of_the_single_functions():
    net = OneByOne(small_net()).train()
    found = evaluate(net, {"test": part(range(12), composed=Blobs())}, CALIBRATION, **OPTIONS)
    assert net.training
    temperature = fit_temperature(*said(net, CALIBRATION.loader(CALIBRATION.batches)))
    expected = {**accuracy(net, loader(range(12))), "temperature": temperature}
    for name, one in (("", 1.0), ("_tempered", temperature)):
        errors = {
            **warp_invariance_error(net, loader(range(12)), grid_size=5, strength=0.3, floor_items=7, temperature=one),
            **local_scale_error(net, Blobs(), items=5, draws=3, temperature=one),
        }
        expected |= {f"{key}{'' if key.endswith('flips') else name}": value for key, value in errors.items()}
    logits, labels = said(net, loader(range(12)))
    expected["nll"] = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    others = found.metrics.keys() - {"warp_accuracy", "warp_oracle_accuracy"}
    assert {name: found.metrics[name] for name in others} == pytest.approx(expected, rel=1e-12)

    for name, count in (("index", 12), ("warp_index", 12), ("local_scale_index", 5)):
        assert found.items[name].tolist() == list(range(count)) and found.items[name].dtype == np.int64
    per_item = {"correct", "nll", "warp_correct", "warp_error", "warp_error_tempered", "warp_flip"}
    per_scaled = {"local_scale_error", "local_scale_error_tempered", "local_scale_flip"}
    assert found.items.keys() == {"index", "warp_index", "local_scale_index"} | per_item | per_scaled
    assert all(found.items[name].shape == (12,) for name in per_item)
    assert all(found.items[name].shape == (5,) for name in per_scaled)
    same = paired_bootstrap(found.items["warp_error"], found.items["warp_error"], samples=10)
    assert same == {"difference": 0, "low": 0, "high": 0}


@pytest.mark.parametrize("warp_items", [None, 5])
def test_warp_accuracy_counts_the_warped_items_that_are_known(warp_items):
    """Item by item, in an order of their own: the warp of an item is drawn by its place."""
    net, numbers = OneByOne(small_net(gain=25)).eval(), [3, 8, 0, 11, 5, 7, 2, 9, 4, 1]
    with torch.no_grad():
        warped = [
            monotone_warp(IMAGES[[number]], item_warps([place], 5, 0.3, 1, "warp error"))
            for place, number in enumerate(numbers)
        ]
        classes = [net(image).argmax().item() for image in warped]
    labels = LABELS.clone()
    labels[numbers[::2]] = torch.tensor(classes[::2])  # so that it knows some of them
    judged = Items(IMAGES, labels, chunks(numbers, 4))
    found = evaluate(net, {"test": judged}, grid_size=5, strength=0.3, seed=1, warp_items=warp_items)
    expected = [float(said == labels[number]) for said, number in zip(classes, numbers, strict=True)][:warp_items]
    assert found.items["warp_correct"].tolist() == expected
    assert found.items["warp_index"].tolist() == numbers[:warp_items] and found.items["index"].tolist() == numbers
    assert found.metrics["warp_accuracy"] == np.mean(expected) and 0 < np.mean(expected) < 1


@pytest.mark.parametrize(("world", "numbers"), [(2, [3, 8, 0, 11, 5, 7, 2]), (3, [4, 6])])
@pytest.mark.parametrize("full", [True, False])
def test_any_number_of_processes_finds_the_same_bit_by_bit(world, numbers, full):
    """Also where a process has no batch. What an item gives may depend on its batch."""
    net = small_net()
    whole = evaluate(net, {"test": part(numbers, composed=Blobs())}, CALIBRATION, batch_size=5, full=full, **OPTIONS)

    def measure(share, gather):
        judged = {"test": part(numbers, composed=Blobs())}
        options = {"share": share, "gather": gather, "batch_size": 5, "full": full, **OPTIONS}
        return evaluate(copy.deepcopy(net), judged, CALIBRATION, **options)

    for one in on_processes(world, measure):
        assert one.metrics == whole.metrics
        assert one.items.keys() == whole.items.keys()
        assert all(np.array_equal(one.items[name], whole.items[name]) for name in whole.items)
    assert whole.items["index"].tolist() == numbers


def test_nothing_depends_on_the_size_of_a_batch_of_a_model_that_does_not():
    net = OneByOne(small_net())
    one, other = (
        evaluate(net, {"test": part(range(12), size, Blobs())}, CALIBRATION, batch_size=batch_size, **OPTIONS)
        for size, batch_size in ((3, 5), (5, 64))
    )
    assert one.metrics == other.metrics
    assert all(np.array_equal(one.items[name], other.items[name]) for name in one.items)


def test_accuracy_alone_is_one_pass():
    calls = []

    def predict(image):
        calls.append(len(image))
        return image.flatten(1)[:, :7]

    found = evaluate(predict, {"test": part(range(7), composed=Blobs())}, CALIBRATION, full=False)
    assert calls == [3, 3, 1]
    assert found.metrics == accuracy(predict, loader(range(7)))
    assert found.items.keys() == {"index", "correct"}


def test_every_view_is_asked_for_once():
    calls = []

    def predict(image):
        calls.append(len(image))
        return image.flatten(1)[:, :7]

    evaluate(predict, {"test": part(range(7))}, CALIBRATION, floor_items=4)
    assert calls == [*[9] * 4, 4, *[3] * 3, *[3, 3, 1], *[1] * 2]  # calibration; clean, warped and restored


def test_parts_may_be_left_out():
    found = evaluate(OneByOne(small_net()), {"test": part(range(4))})
    names = {"invariance_error", "invariance_flips", "invariance_floor", "accuracy", "oracle_accuracy"}
    assert found.metrics.keys() == {"accuracy", "nll"} | {f"warp_{name}" for name in names}
    with pytest.raises(ValueError, match="there are no items to evaluate"):
        evaluate(small_net(), {"test": part([])})
    with pytest.raises(ValueError, match=r"share is \(2, 2\)"):
        evaluate(small_net(), {"test": part([1])}, share=(2, 2))


@pytest.mark.parametrize("calls", [1, 6, 8])
def test_a_model_that_fails_is_left_as_it_was(calls):
    """In the calibration, and in what follows it."""
    net = small_net().train()
    left = calls

    def fail(*_):
        nonlocal left
        left -= 1
        if not left:
            raise OSError("the disk is gone")

    net.register_forward_pre_hook(fail)
    with pytest.raises(OSError, match="the disk is gone"):
        evaluate(net, {"test": part(range(7))}, CALIBRATION)
    assert all(module.training for module in net.modules()) and torch.is_grad_enabled()
