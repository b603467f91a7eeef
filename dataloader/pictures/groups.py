"""Which files show one object at several scales: ``class/NAME_scale_S.EXT``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dataloader.splits import batches_of

SCALED = re.compile(r"(?P<stem>.+)_scale_(?P<scale>\d+(?:\.\d+)?)(?:\.[^./]+)?")


@dataclass(frozen=True)
class ScaleGroups:
    """Items in groups; an item without a scale in its name is a group by itself.

    Args:
        members: item numbers of each group: scale 1 first, then by rising scale.
        scales: of every item, (N,); NaN where its name has none.
    """

    members: list[list[int]]
    scales: np.ndarray

    @cached_property
    def of_item(self) -> np.ndarray:
        """The group of every item, (N,)."""
        numbers = np.empty(len(self.scales), np.int64)
        for number, group in enumerate(self.members):
            numbers[group] = number
        return numbers

    @cached_property
    def siblings(self) -> np.ndarray:
        """The item that shows every item's object at scale 1, (N,): itself, where it does so; -1 where none does."""
        numbers = np.full(len(self.scales), -1)
        for group in self.members:
            if self.scales[group[0]] == 1:
                numbers[group] = group[0]
        own = self.scales == 1
        numbers[own] = np.flatnonzero(own)  # also where a group has two of them
        return numbers

    @property
    def has_scales(self) -> bool:
        """Whether any item has a scale in its name."""
        return bool(np.isfinite(self.scales).any())

    @property
    def common_scales(self) -> tuple[float, ...]:
        """The set of scales that most groups have, rising."""
        counts = Counter(tuple(sorted({*self.scales[group].tolist()})) for group in self._scaled())
        return max(counts, key=lambda scales: (counts[scales], len(scales)), default=())

    def batches(self, size: int) -> list[list[int]]:
        """Whole groups together, as many as fit."""
        return batches_of(self.members, size)

    def report(self) -> str:
        """How many groups are as they should be, and what the others lack."""
        common = set(self.common_scales)
        groups = [set(self.scales[group]) for group in self.members if not self._is_single(group)]
        lacking = sum(not common <= scales for scales in groups)
        extra = sum(bool(scales - common) for scales in groups)
        doubled = sum(len(scales) < len(group) for scales, group in zip(groups, self._scaled(), strict=True))
        without_one = sum(1.0 not in scales for scales in groups)
        single = len(self.members) - len(groups)
        faults = [
            (lacking, "lack some of these"),
            (extra, "have others"),
            (doubled, "have one twice"),
            (without_one, "have no scale 1, and so no consistency"),
        ]
        text = f"{len(groups)} groups at scales {', '.join(f'{scale:g}' for scale in sorted(common))}"
        text += "".join(f"; {count} {words}" for count, words in faults if count)
        return text + (f"; {single} files without a scale" if single else "")

    def _scaled(self) -> list[list[int]]:
        return [group for group in self.members if not self._is_single(group)]

    def _is_single(self, group: list[int]) -> bool:
        return bool(np.isnan(self.scales[group[0]]))


def scale_groups(names: Sequence[str]) -> ScaleGroups:
    """Group files by folder and the name before ``_scale_``; "1" and "1.0" are one scale.

    Args:
        names: paths with "/" between folders.
    """
    groups: dict[tuple, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(_shown(name)[0] or (number,), []).append(number)
    return _sorted(groups.values(), names)


def neighbours(names: Sequence[str]) -> ScaleGroups:
    """Groups of the pictures of one object that arrive one after the other; any other is a group by itself."""
    members: list[list[int]] = []
    for number, name in enumerate(names):
        if not (number and show_the_same(names[number - 1], name)):
            members.append([])
        members[-1].append(number)
    return _sorted(members, names)


def show_the_same(name: str, other: str) -> bool:
    """Whether two files are one object at two scales."""
    (shown, _), (other_shown, _) = _shown(name), _shown(other)
    return shown is not None and shown == other_shown


def _shown(name: str) -> tuple[tuple[str, str] | None, float]:
    """A file's object and its scale; None and NaN where the name has no scale."""
    folder, _, file = name.rpartition("/")
    match = SCALED.fullmatch(file)
    return ((folder, match["stem"]), float(match["scale"])) if match else (None, np.nan)


def _sorted(groups: Iterable[list[int]], names: Sequence[str]) -> ScaleGroups:
    scales = np.array([_shown(name)[1] for name in names])
    return ScaleGroups([sorted(group, key=lambda item: (scales[item] != 1, scales[item])) for group in groups], scales)
