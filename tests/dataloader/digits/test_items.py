"""Locally scaled digits: equal to the reference and to drawing anew, and independent of who draws when."""

import os
import pickle
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from benchmarks.data import drawn_anew
from dataloader.digits.items import LocallyScaledMNIST, ScaledDigits
from dataloader.digits.single import embedded_digits
from dataloader.split import split_indices
from layers.seeds import seed_of

DATA = os.environ.get("LSE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="LSE_DATA names no folder with MNIST and reference items")
RANDOM = np.random.default_rng(0)
IMAGES, LABELS = RANDOM.integers(0, 256, (40, 28, 28), np.uint8), RANDOM.integers(0, 10, 40)
RANGE = (0.4, 2.0)


def same(item, other):
    np.testing.assert_array_equal(item[0], other[0])
    assert item[1] == other[1]


@pytest.fixture(scope="module")
def mnist():
    return LocallyScaledMNIST(Path(DATA) / "data", train=False, download=False)


@needs_data
def test_reference_items(mnist):
    golden = np.load(Path(DATA) / "golden" / "multi_digit_mnist.npz")
    for index, image, label in zip(golden["index"], golden["image"], golden["label"], strict=True):
        same(mnist.item(index), (image, label))
    index = int(golden["fixed_scale_index"])
    for factors, image in zip(golden["fixed_scales"], golden["fixed_scale_image"], strict=True):
        np.testing.assert_array_equal(mnist.item(index, factors)[0], image)
    assert (len(mnist), mnist.side, mnist.num_classes) == (10_000, 210, 1000)


@needs_data
def test_composing_is_much_faster_than_drawing_anew(mnist):
    indices = range(300)
    mnist.prepare(indices)
    ways = {
        "composed": mnist.item,
        "anew": lambda index: drawn_anew(mnist.images, mnist.labels, index),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(5):
        for name, draw in ways.items():
            start = time.perf_counter()
            for index in indices:
                draw(index)
            best[name] = min(best[name], time.perf_counter() - start)
    assert best["anew"] > 3 * best["composed"]  # benchmarks/data.py shows the figure


def test_layouts_occur_as_often_as_in_the_reference():
    data = ScaledDigits(
        np.full((10_000, 28, 28), 255, np.uint8), np.zeros(10_000, int), scales=[(1, 1)] * 3, cell_size=28
    )
    corners = {"horizontal": (42, 0), "vertical": (0, 42), "diagonal": (0, 0)}  # only there that layout is white
    images = (data.item(index)[0] for index in range(10_000))
    counts = Counter(name for image in images for name, corner in corners.items() if image[corner])
    assert counts == {"horizontal": 3413, "vertical": 3234, "diagonal": 3353}


@pytest.mark.parametrize("layout", ["horizontal", "vertical", "diagonal", "all"])
@pytest.mark.parametrize(
    ("scales", "cell_size"), [([RANGE, (0.1, 1.5)], 57), ([RANGE] * 3, 70), ([RANGE, (0.5, 0.9), (1, 1), RANGE], 60)]
)
def test_items_equal_those_drawn_anew(layout, scales, cell_size):
    options = {"scales": scales, "cell_size": cell_size, "layout": layout}
    data = ScaledDigits(IMAGES, LABELS, n_digits=len(scales), **options)
    assert (data.side, data.num_classes) == (len(scales) * cell_size, 10 ** len(scales))
    for index in [*random.Random(0).sample(range(40), 20), 39, 39]:
        same(data.item(index), drawn_anew(IMAGES, LABELS, index, **options))
        same(data.item(index), data.item(index - 40))  # negative indices count from the end
        factors = [random.Random(index).uniform(0.05, 2) for _ in scales]
        same(data.item(index, factors), drawn_anew(IMAGES, LABELS, index, factors, **options))
        same(data.item(index), drawn_anew(IMAGES, LABELS, index, **options))  # given scales left no trace


def test_the_label_reads_the_digits_around_the_end():
    data = ScaledDigits(IMAGES, np.arange(40) % 10)
    assert [data.item(index)[1] for index in (0, 1, 37, 38, 39)] == [12, 123, 789, 890, 901]


def test_a_digit_has_one_scale_in_whatever_place():
    data = ScaledDigits(IMAGES, LABELS)
    for index in range(38):
        assert data.scales_of(index)[1:] == data.scales_of(index + 1)[:2]
    assert data.scales_of(5)[2] == random.Random(7).uniform(0.4, 2)
    uneven = ScaledDigits(IMAGES, LABELS, scales=[RANGE, (0.5, 1), RANGE])
    assert uneven.scales_of(5)[0] == uneven.scales_of(3)[2] != uneven.scales_of(4)[1]


def test_the_scale_does_not_wrap():
    data = ScaledDigits(IMAGES, LABELS)
    assert data.scales_of(39)[1] == random.Random(40).uniform(0.4, 2) != data.scales_of(0)[0]
    same(data.item(39), data.item(39, data.scales_of(39)))


def test_preparing_changes_nothing():
    lazy, eager, partly = (ScaledDigits(IMAGES, LABELS, scales=[RANGE, (0.5, 1), RANGE]) for _ in range(3))
    eager.prepare()
    partly.item(7)
    partly.prepare([3, np.int64(8), torch.tensor(39), -20, 8])
    partly.prepare([])
    for index in range(40):
        same(lazy.item(index), eager.item(index))
        same(lazy.item(index), partly.item(index))
        same(lazy.item(index), drawn_anew(IMAGES, LABELS, index, scales=lazy.scales))


def test_what_was_prepared_is_not_drawn_again(monkeypatch):
    data = ScaledDigits(IMAGES, LABELS)
    data.prepare([5, 6, 38])
    monkeypatch.setattr("dataloader.digits.items._resized", None)
    for index in (5, 6, 38):
        data.item(index)
    with pytest.raises(TypeError):
        data.item(7)


def test_an_item_belongs_to_whoever_asked_for_it():
    data = ScaledDigits(IMAGES, LABELS)
    first, second = data.item(3), data.item(4)
    same(first, drawn_anew(IMAGES, LABELS, 3))
    first[0][:] = 77
    for item, index in ((second, 4), (data.item(3), 3)):
        same(item, drawn_anew(IMAGES, LABELS, index))


def test_restoring_leaves_interpolation_alone():
    data = ScaledDigits(IMAGES, LABELS)
    for index in (0, 11, 39):
        same(data.restored_item(index, (1, 1, 1)), data.item(index, (1, 1, 1)))
        same(data.restored_item(index, (1.3, 1.3, 1.3)), data.restored_item(index, (1.301,) * 3))  # 36 pixels both
    plain = np.full((3, 28, 28), 90, np.uint8)  # what has no detail loses none
    flat = ScaledDigits(plain, np.arange(3))
    same(flat.restored_item(0, (0.4, 0.7, 2)), flat.item(0, (1, 1, 1)))
    lost = [
        np.abs(data.restored_item(4, (scale,) * 3)[0].astype(float) - data.item(4, (1, 1, 1))[0]).mean()
        for scale in (0.4, 0.7, 2)
    ]
    assert lost[0] > lost[1] > lost[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_as_floats(channels):
    data = ScaledDigits(IMAGES, LABELS, channels=channels)
    image, label = data[4]
    assert image.shape == (channels, 210, 210) and image.dtype == torch.float32
    for channel in image:
        assert torch.equal(channel, torch.from_numpy(data.item(4)[0]) / 255)
    assert label == data.item(4)[1] and type(label) is int
    standard = ScaledDigits(IMAGES, LABELS, channels=channels, standardize=True)[4][0]
    torch.testing.assert_close(standard, (image - 0.1307) / 0.3081, rtol=0, atol=1e-6)


def test_the_end_is_an_end():
    data = ScaledDigits(IMAGES, LABELS)
    assert len(list(iter(data))) == len(data) == 40
    for read in (data.item, data.__getitem__, data.scales_of, lambda index: data.prepare([index])):
        for index in (40, -41):
            with pytest.raises(IndexError, match=rf"index {index} is out of range; there are 40 items"):
                read(index)


@pytest.mark.parametrize("fresh", [False, True])
def test_workers_give_the_same_items(fresh):
    data = ScaledDigits(IMAGES, LABELS, fresh_scales=fresh)
    data.prepare(range(10))
    alone, shared = (
        DataLoader(Subset(data, range(5, 25)), 5, num_workers=count, persistent_workers=count > 0) for count in (0, 2)
    )
    seen = []
    for epoch in (0, 1):
        data.set_epoch(epoch)  # workers that run since epoch 0 hear of it
        batches = list(zip(alone, shared, strict=True))
        assert all(torch.equal(mine, theirs) for pair in batches for mine, theirs in zip(*pair, strict=True))
        seen.append(batches[0][0][0])
    assert torch.equal(*seen) != fresh


def test_fresh_scales_depend_on_seed_epoch_and_position_alone():
    data = ScaledDigits(IMAGES, LABELS, fresh_scales=True, seed=1)
    first = [data.item(index) for index in range(40)]
    data.set_epoch(3)
    assert data.scales_of(39) == tuple(random.Random(seed_of(1, "scale", 3, p)).uniform(0.4, 2) for p in (39, 40, 41))
    third = [data.item(index) for index in range(40)]
    assert not any(np.array_equal(item[0], other[0]) for item, other in zip(first, third, strict=True))
    for index in range(40):
        same(third[index], data.item(index, data.scales_of(index)))
        assert third[index][1] == first[index][1]

    other = ScaledDigits(IMAGES, LABELS, fresh_scales=True, seed=1)  # not through the epochs between, nor in order
    other.set_epoch(3)
    other.prepare([30, 2])
    for index in reversed(range(40)):
        same(other.item(index), third[index])
    other.set_epoch(0)
    same(other.item(8), first[8])
    assert ScaledDigits(IMAGES, LABELS, fresh_scales=True, seed=2).scales_of(0) != other.scales_of(0)


def test_scales_that_are_not_fresh_know_no_epoch():
    data = ScaledDigits(IMAGES, LABELS, seed=5)
    before = data.item(3)
    data.set_epoch(9)
    same(data.item(3), before)
    same(ScaledDigits(IMAGES, LABELS).item(3), before)


def test_no_global_generator_is_touched():
    def states():
        return random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    data = ScaledDigits(IMAGES, LABELS, fresh_scales=True)
    data.prepare(range(3))
    data.set_epoch(1)
    assert data[5] and data.item(6, (1, 1, 1)) and data.restored_item(6, (0.5, 1, 1))
    assert len(embedded_digits(False)) == len(split_indices(9, 0, 3, 4))
    assert states() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_digits": 1}, "n_digits is 1; expected 2 to 18"),
        ({"n_digits": 2}, "scales has 3 intervals; expected one per digit, 2"),
        ({"scales": [RANGE, (2, 0.4), RANGE]}, r"scales holds \(2, 0.4\); expected \(low, high\) with low <= high"),
        ({"scales": [RANGE, (1,), RANGE]}, r"scales holds \(1,\); expected \(low, high\)"),
        ({"scales": [RANGE, RANGE, (1, 2.6)]}, "28 pixels 72.8 pixels large; expected 1 to cell_size = 70"),
        ({"scales": [RANGE, RANGE, (0.01, 2)]}, "scale 0.01 makes a digit of 28 pixels 0.28 pixels large"),
        ({"scales": [RANGE, RANGE, (1, float("inf"))]}, "scale inf makes"),
        ({"cell_size": 50}, "56 pixels large; expected 1 to cell_size = 50"),
        ({"layout": "circle"}, "layout is 'circle'; expected one of horizontal, vertical, diagonal, all"),
        ({"channels": 2}, "channels is 2; expected 1 or 3"),
        ({"images": IMAGES / 255}, r"images are float64 of shape \(40, 28, 28\); expected uint8 \(N, 28, 28\)"),
        ({"images": IMAGES[:0]}, "N at least 1"),
        ({"labels": LABELS[:5]}, r"labels are int64 of shape \(5,\); expected integers \(40,\)"),
        ({"labels": LABELS + 1}, "labels run from 1 to 10; expected digits, 0 to 9"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ScaledDigits(**({"images": IMAGES, "labels": LABELS} | options))


def test_bad_scales_of_an_item():
    data = ScaledDigits(IMAGES, LABELS)
    for draw in (data.item, data.restored_item):
        with pytest.raises(ValueError, match="scales has 2 factors; expected one per digit, 3"):
            draw(0, (1, 1))
        with pytest.raises(ValueError, match=r"scale 3.0 makes a digit of 28 pixels 84 pixels large; expected 1 to"):
            draw(0, (1, 1, 3))
        with pytest.raises(ValueError, match=r"scale nan makes"):
            draw(0, (1, 1, float("nan")))
    with pytest.raises(ValueError, match=r"scale 1.0 makes .* cell_size = 20"):
        ScaledDigits(IMAGES, LABELS, scales=[(0.5, 0.6)] * 3, cell_size=20).restored_item(0, (0.5, 0.5, 0.5))
