"""Which files show one object: the published grouping, and what it left open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dataloader.pictures.groups import ScaleGroups, scale_groups
from dataloader.splits import batches_of
from evaluation.parts import first_batches

GOLDEN = Path(__file__).parents[2] / "golden" / "scale_groups.json"


def names_of(groups: ScaleGroups, names: list[str]) -> list[list[str]]:
    return [[names[item] for item in group] for group in groups.members]


def test_groups_are_the_published_ones() -> None:
    """Scale 1 comes first, the others rise; the original's groups stood in an order of their own."""
    golden = json.loads(GOLDEN.read_text())
    found = scale_groups(golden["files"])
    assert {tuple(group) for group in found.members} == {tuple(group) for group in golden["groups"]}
    assert len(found.members) == len(golden["groups"]) == 6
    assert found.common_scales == (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    assert found.report() == "6 groups at scales 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3"


def test_every_item_knows_its_group_and_scale() -> None:
    names = ["b/x_scale_2.png", "a/x_scale_1.png", "a/y.png", "b/x_scale_1.png", "a/x_scale_0.5.png"]
    found = scale_groups(names)
    assert names_of(found, names) == [
        ["b/x_scale_1.png", "b/x_scale_2.png"],  # x of another folder is another object
        ["a/x_scale_1.png", "a/x_scale_0.5.png"],
        ["a/y.png"],
    ]
    assert found.of_item.tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(found.scales, [2, 1, np.nan, 1, 0.5])
    assert found.has_scales and not scale_groups(["a/y.png", "a/z.png"]).has_scales


@pytest.mark.parametrize("one", ["1", "1.0", "1.00"])
def test_one_is_one_however_it_is_written(one: str) -> None:
    names = [f"n/o_scale_{scale}.JPEG" for scale in ("0.7", "1.3", one)]
    found = scale_groups(names)
    assert found.members == [[2, 0, 1]]
    assert found.common_scales == (0.7, 1.0, 1.3)


@pytest.mark.parametrize(
    ("name", "stem", "scale"),
    [
        ("n/a_scale_1.JPEG", "a", 1),
        ("n/a_scale_0.7.jpg", "a", 0.7),
        ("n/a_scale_10", "a", 10),
        ("n/a_scale_2_scale_0.5.png", "a_scale_2", 0.5),  # what was scaled once has a name with a scale
        ("n/ä b_scale_1.2.webp", "ä b", 1.2),
    ],
)
def test_the_scale_stands_behind_the_last_mark(name: str, stem: str, scale: float) -> None:
    found = scale_groups([name, f"n/{stem}_scale_3.png"])
    assert found.scales.tolist() == [scale, 3] and len(found.members) == 1


@pytest.mark.parametrize("name", ["n/a.JPEG", "n/a_scale_.png", "n/_scale_1.png", "n/a_scale_big.png", "a_scale_1/b"])
def test_a_name_without_a_scale_is_a_group_by_itself(name: str) -> None:
    found = scale_groups([name, "n/other_scale_1.png"])
    assert found.members == [[0], [1]] and np.isnan(found.scales[0])


def test_groups_that_are_not_as_they_should_be_are_reported() -> None:
    scales = {"whole": "1 0.7 1.3", "short": "1 0.7", "long": "1 0.7 1.3 2", "twice": "1 1.0 0.7 1.3"}
    names = [f"n/{stem}_scale_{scale}.png" for stem, listed in scales.items() for scale in listed.split()]
    assert scale_groups(names).report() == (
        "4 groups at scales 0.7, 1, 1.3; 1 lack some of these; 1 have others; 1 have one twice"
    )
    assert scale_groups(names[-4:]).common_scales == (0.7, 1.0, 1.3)
    headless = [name for name in names if name != "n/short_scale_1.png"]
    assert scale_groups([*headless, "n/plain.png"]).report() == (
        "4 groups at scales 0.7, 1, 1.3; 1 lack some of these; 1 have others; 1 have one twice; 1 have no scale 1, "
        "and so no consistency; 1 files without a scale"
    )


@pytest.mark.parametrize("count", [1, 6, 13, 99])
@pytest.mark.parametrize("size", [7, 16, 100])
def test_batches_hold_whole_groups_and_leave_none_out(count: int, size: int) -> None:
    """The original evaluated no group at all below 98 of them."""
    found = scale_groups([f"n/{item}_scale_{scale}.png" for scale in (1, 0.5, 2) for item in range(count)])
    batches = found.batches(size)
    assert [item for batch in batches for item in batch] == [item for group in found.members for item in group]
    sizes = [len(batch) for batch in batches]
    assert set(sizes[:-1]) <= {size // 3 * 3} and 0 < sizes[-1] <= size
    assert all(len(set(found.of_item[batch])) * 3 == len(batch) for batch in batches)


def test_a_group_larger_than_a_batch_is_one_by_itself() -> None:
    groups = [[0], [1, 2, 3, 4], [5], [6]]
    assert batches_of(groups, 2) == [[0], [1, 2, 3, 4], [5, 6]]
    assert batches_of([], 2) == []
    assert groups == [[0], [1, 2, 3, 4], [5], [6]]  # nothing was joined into them


def test_the_first_items_are_the_same_ones_in_batches_of_any_size() -> None:
    groups = [[0, 1, 2], [3], [4, 5], [6, 7, 8, 9]]
    for size in (1, 3, 4, 100):
        for count in (1, 5, 7, 10, 50):
            taken = first_batches(batches_of(groups, size), count)
            assert [item for batch in taken for item in batch] == list(range(min(count, 10)))
