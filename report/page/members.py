"""Members of orbits under local warps, as the study of that name left them in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report.runs import Run, read_arrays

MEMBERS = "members.npz"
OF_ORBIT = ("labels", "centres", "strengths")  # one value per image, per centre, per strength

Arrays = Mapping[str, np.ndarray]


class Walk(NamedTuple):
    """The members that one run kept, as ``evaluation/studies/members.py`` describes them."""

    recipe: str
    seed: int
    arrays: Arrays

    @property
    def sites(self) -> list[str]:
        return [str(name) for name in self.arrays["sites"]]

    @property
    def scores(self) -> np.ndarray:
        """(N, P, S), the probability of the true class."""
        labels = self.arrays["labels"][:, None, None, None]
        return np.take_along_axis(self.arrays["probabilities"], labels, 3)[..., 0]

    def picture(self, name: str, sample: int, centre: int, strength: int) -> np.ndarray:
        """One of ``pictures`` or ``form_0``, ..., as (H, W) or (H, W, 3)."""
        return _for_eyes(self.arrays[name][sample, centre, strength])

    def sheet(self, name: str, sample: int) -> np.ndarray:
        """All members of an image side by side: centres below each other, strengths from left to right."""
        rows = [np.concatenate([_for_eyes(one) for one in row], 1) for row in self.arrays[name][sample]]
        return np.concatenate(rows, 0)


def walks(runs: Sequence[Run]) -> tuple[list[Walk], list[str]]:
    """Of each recipe the first seed that kept members, and in words which ones are left out, and why."""
    found: dict[str, Walk] = {}
    notes = []
    for run in runs:
        path = run.folder / MEMBERS
        if run.recipe not in found and path.is_file():
            try:
                found[run.recipe] = Walk(run.recipe, run.seed, _read(path))
            except ValueError as error:
                notes.append(f"{error}.")
    kept: list[Walk] = []
    for walk in found.values():
        if kept and not _shows_the_same(walk.arrays, kept[0].arrays):
            notes.append(f"{walk.recipe} is left out: its pictures are not those of {kept[0].recipe}.")
        else:
            kept.append(walk)
    return kept, notes


def _read(path: Path) -> Arrays:
    arrays = read_arrays(path)
    of_sites = [f"{name}_{site}" for name in ("grid", "form") for site in range(len(arrays.get("sites", ())))]
    of_members = ["probabilities", "pictures", "residuals", *of_sites]
    if missing := [name for name in ("sites", *OF_ORBIT, *of_members) if name not in arrays]:
        raise ValueError(f"{path} cannot be read: it has no {', '.join(missing)}")
    count = tuple(len(arrays[name]) for name in OF_ORBIT)
    if odd := [name for name in of_members if arrays[name].shape[:3] != count]:
        raise ValueError(f"{path} cannot be read: {odd[0]} has shape {arrays[odd[0]].shape}; expected {count} first")
    if wild := [name for name in of_members if not np.isfinite(arrays[name]).all()]:
        raise ValueError(f"{path} is left out: values of {', '.join(wild)} are not finite, so the model has diverged")
    return arrays


def _shows_the_same(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in ("labels", "centres", "strengths", "pictures"))


def _for_eyes(image: np.ndarray) -> np.ndarray:
    """(C, H, W) as (H, W, 3) where C is 3, and else the mean of its channels, (H, W)."""
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0).round().astype(np.uint8)
