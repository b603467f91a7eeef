"""A whole evaluation agrees with its single metrics, on one process and on several."""

import copy
import threading
from functools import partial

import numpy as np
import pytest
import torch

from evaluation.evaluator import evaluate
from evaluation.metrics import accuracy, local_scale_error, warp_invariance_error
from evaluation.predictions import predictions
from evaluation.temperature import fit_temperature
from report.bootstrap import paired_bootstrap
from tests.evaluation.stand_ins import Blobs, OneByOne, small_net, smooth_images

IMAGES, LABELS = smooth_images(12), torch.arange(12) % 7


def loader_of(indices, size=3):
    chosen = torch.tensor(list(indices))
    return list(zip(IMAGES[chosen].split(size), LABELS[chosen].split(size), strict=True))


CALIBRATION = [(smooth_images(40, seed=1), torch.arange(40) % 7)]
OPTIONS = {"local_scale_items": 5, "local_scale_draws": 3, "floor_items": 7, "grid_size": 5, "strength": 0.3}


def test_metrics_are_those_of_the_single_functions():
    net = OneByOne(small_net()).train()
    found = evaluate(net, loader_of, Blobs(), range(12), calibration=CALIBRATION, **OPTIONS)
    assert net.training
    loader = loader_of(range(12))
    temperature = fit_temperature(*predictions(net, CALIBRATION))
    warps = partial(warp_invariance_error, net, loader, grid_size=5, strength=0.3, floor_items=7)
    scales = partial(local_scale_error, net, Blobs(), items=5, draws=3)
    expected = {**accuracy(net, loader), **warps(), **scales(), "temperature": temperature}
    for one in (warps(temperature=temperature), scales(temperature=temperature)):
        expected |= {f"{name}_tempered": value for name, value in one.items() if not name.endswith("flips")}
    clean = predictions(net, loader)
    expected["nll"] = torch.nn.functional.cross_entropy(clean.logits.double(), clean.labels).item()
    assert found.metrics == pytest.approx(expected, rel=1e-12)

    assert found.items["index"].tolist() == list(range(12)) and found.items["local_scale_index"].tolist() == [*range(5)]
    per_item = {"correct", "nll", "warp_error", "warp_error_tempered", "warp_flip"}
    per_scaled = {"local_scale_error", "local_scale_error_tempered", "local_scale_flip"}
    assert found.items.keys() == {"index", "local_scale_index"} | per_item | per_scaled
    assert all(found.items[name].shape == (12,) for name in per_item)
    assert all(found.items[name].shape == (5,) for name in per_scaled)
    same = paired_bootstrap(found.items["warp_error"], found.items["warp_error"], samples=10)
    assert same == {"difference": 0, "low": 0, "high": 0}


@pytest.mark.parametrize(("world", "indices"), [(2, [3, 8, 0, 11, 5, 7, 2]), (3, [4, 6])])
@pytest.mark.parametrize("full", [True, False])
def test_shares_together_equal_one_process_exactly(world, indices, full):
    net = OneByOne(small_net())
    whole = evaluate(net, loader_of, Blobs(), indices, calibration=CALIBRATION, full=full, **OPTIONS)
    parts, barrier, found = [None] * world, threading.Barrier(world, timeout=30), [None] * world

    def gather(rank, columns):
        parts[rank] = columns
        barrier.wait()
        joined = {name: torch.cat([part[name] for part in parts]) for name in columns}
        barrier.wait()
        return joined

    def work(rank, net):
        found[rank] = evaluate(
            net,
            partial(loader_of, size=2),
            Blobs(),
            indices,
            calibration=CALIBRATION,
            share=(rank, world),
            gather=partial(gather, rank),
            batch_size=5,
            full=full,
            **OPTIONS,
        )

    threads = [threading.Thread(target=work, args=(rank, copy.deepcopy(net))) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        assert one.metrics == whole.metrics
        assert one.items.keys() == whole.items.keys()
        assert all(np.array_equal(one.items[name], whole.items[name]) for name in whole.items)
    assert whole.items["index"].tolist() == indices


def test_accuracy_alone_is_one_pass():
    calls = []

    def predict(image):
        calls.append(len(image))
        return image.flatten(1)[:, :7]

    found = evaluate(predict, loader_of, Blobs(), range(7), calibration=CALIBRATION, full=False)
    assert calls == [3, 3, 1]
    assert found.metrics == accuracy(predict, loader_of(range(7)))
    assert found.items.keys() == {"index", "correct"}


def test_parts_may_be_left_out():
    found = evaluate(OneByOne(small_net()), loader_of, None, range(4))
    names = {"error", "flips", "floor"}
    assert found.metrics.keys() == {"accuracy", "nll"} | {f"warp_invariance_{name}" for name in names}
    with pytest.raises(ValueError, match="indices is empty"):
        evaluate(small_net(), loader_of, None, [])
    with pytest.raises(ValueError, match=r"share is \(2, 2\)"):
        evaluate(small_net(), loader_of, None, [1], share=(2, 2))
