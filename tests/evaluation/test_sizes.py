"""What is known at every size of the objects, held to a count by hand, on one process and on two."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.evaluator import evaluate
from tests.evaluation.picture_sets import on_processes
from tests.evaluation.stand_ins import chunks

SIDES = np.array([17.0, 20, 34, 35, 40, 64])  # 17 and 20 are halves of 34 and 40; 35 and 64 have none
OBJECTS, CLASSES = 7, 5
generator = np.random.default_rng(3)
SHARES = np.array([0.2, 0.4, 0.9, 0.5, 0.7, 1.0])
KNOWN = generator.random((len(SIDES), OBJECTS)) < SHARES[:, None]  # side by side, the objects that the model knows
LABELS = np.arange(OBJECTS) % CLASSES


class Groups(NamedTuple):
    """Of every item."""

    scales: np.ndarray
    of_item: np.ndarray


class Part(NamedTuple):
    """Items whose images hold their place among all of them, in batches."""

    numbers: list[int]
    batches: list[list[int]]
    groups: Groups | None
    kind: str = "stir"
    composed: None = None

    def loader(self, batches):
        for batch in batches:
            image = (
                torch.tensor([self.numbers[item] for item in batch]).float()[:, None, None, None].expand(-1, 1, 4, 4)
            )
            yield image, torch.tensor([LABELS[self.numbers[item] % OBJECTS] for item in batch]), torch.tensor(batch)


class Table(nn.Module):
    """Says the label of the items that it knows, and the next class of all others."""

    def forward(self, image):
        number = image[:, 0, 0, 0].round().long()
        label = torch.from_numpy(LABELS)[number % OBJECTS]
        known = torch.from_numpy(KNOWN.flatten())[number]
        return nn.functional.one_hot(torch.where(known, label, (label + 1) % CLASSES), CLASSES).float()


def judged(share=(0, 1), gather=lambda columns: columns):
    """The first part has two sides, the second one all, in an order that mixes them."""
    order = generator_order()
    groups = Groups(SIDES[np.array(order) // OBJECTS], np.array(order) % OBJECTS)
    first = [number for number in order if number // OBJECTS in (0, 5)]
    parts = {
        "test": Part(first, chunks(range(len(first)), 4), None),
        "sizes": Part(order, chunks(range(len(order)), 5), groups),
    }
    return evaluate(Table(), parts, share=share, gather=gather, warp_items=2, floor_items=1)


def generator_order():
    return np.random.default_rng(5).permutation(KNOWN.size).tolist()


def test_sizes_are_counted_as_by_hand():
    assert len(set(KNOWN.sum(1))) > 3
    found = judged().metrics
    at = {int(side): KNOWN[row].sum() / OBJECTS for row, side in enumerate(SIDES)}
    assert found["accuracy"] == pytest.approx((at[17] + at[64]) / 2)
    assert found["size_accuracy"] == pytest.approx(sum(at.values()) / len(at))
    per_side = {name: value for name, value in found.items() if name.startswith("size_accuracy_at_")}
    assert per_side == pytest.approx({f"size_accuracy_at_{side}": share for side, share in at.items()})
    assert found["worst_size_accuracy"] == pytest.approx(min(at.values()))
    assert found["octave_drop"] == pytest.approx((at[34] - at[17] + at[40] - at[20]) / 2)


def test_chance_is_the_share_of_the_commonest_class():
    """Of seven objects two have class 0, and two class 1."""
    assert judged().metrics["chance"] == pytest.approx(2 / OBJECTS)


def test_the_cost_is_that_of_one_image():
    """A linear layer of 16 pixels and 5 classes, whatever the batch."""
    part = Part(list(range(14)), chunks(range(14), 4), None)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
    assert evaluate(model, {"test": part}, warp_items=2, floor_items=1).metrics["multiply_adds"] == 16 * CLASSES


def test_every_object_is_kept_for_comparisons():
    items = judged().items
    order = generator_order()
    assert items["scales_index"].tolist() == list(range(KNOWN.size))
    assert items["size_correct"].tolist() == KNOWN.flatten()[order].astype(float).tolist()


def test_two_processes_find_the_numbers_of_one():
    alone = judged()
    for both in on_processes(2, judged):
        assert both.metrics == alone.metrics
        assert both.items.keys() == alone.items.keys()
        assert all(np.array_equal(both.items[name], alone.items[name]) for name in alone.items)


def test_without_two_sizes_an_octave_apart_there_is_no_drop():
    order = [number for number in generator_order() if number // OBJECTS in (3, 5)]
    groups = Groups(SIDES[np.array(order) // OBJECTS], np.array(order) % OBJECTS)
    part = Part(order, chunks(range(len(order)), 5), groups)
    found = evaluate(Table(), {"test": part._replace(groups=None), "sizes": part}, warp_items=2, floor_items=1).metrics
    assert "octave_drop" not in found and "size_accuracy_at_35" in found


def test_between_full_evaluations_accuracy_is_all_that_is_measured():
    part = Part(list(range(14)), chunks(range(14), 4), None)
    assert evaluate(Table(), {"watched": part}, full=False).metrics == {"accuracy": KNOWN[:2].mean()}
