"""What makes runs comparable: the data that they learned from, and the items that they were judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from config.scenarios import SCENARIOS, Scenario
from config.schema import is_technical
from report.figures import scale_curve
from report.runs import SETTINGS, Run, collect, read_arrays

# Settings of the data that are about training alone.
AUGMENTS = ("rescale", "fresh", "fresh_scales", "shift", "flip", "cutout")
REPEATED = ("realisation",)  # of a data set that is drawn several times, as a seed is
SIZED = ("stir/", "scaled/")  # what the names of data begin with whose settings say which objects are tested
FREE = {*AUGMENTS, *REPEATED}
JUDGED = ("split", "items")  # settings of the evaluation that say what accuracy is of
SEPARATE = "name its recipes with --recipes, or leave --recipes out for a table of each"
AGAIN = "_eval"  # what the recipe of a run that was evaluated again ends with


@dataclass(frozen=True)
class Protocol:
    """What all runs of one table have in common.

    Args:
        settings: of the data, but for those that do not matter here, and of what is judged; ``data.name``, say.
    """

    settings: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, config: dict[str, Any]) -> Protocol:
        """That of a run's settings; one that is null might as well be absent, as it is from older runs."""
        data = {f"data.{key}": value for key, value in config["data"].items() if key not in FREE}
        judged = {f"evaluation.{key}": config.get("evaluation", {}).get(key) for key in JUDGED}
        found = {key: _fixed(value) for key, value in (data | judged).items() if value is not None}
        return cls(tuple((key, found[key]) for key in sorted(found) if not is_technical(key)))

    def __getitem__(self, key: str) -> Any:
        return dict(self.settings).get(key)

    @property
    def data(self) -> str:
        """The data's name, or its file's."""
        file = self["data.file"]
        return Path(file).stem if file else str(self["data.name"]).removeprefix("stir/").replace("/", "-")

    @property
    def scenario(self) -> Scenario | None:
        """Which sizes are trained on, where the data have scenarios."""
        return SCENARIOS.get(self["data.scenario"])

    @property
    def title(self) -> str:
        """As figures and files call it, such as ``emoji-dejavu Mid2Rest``."""
        split = self["evaluation.split"]
        return " ".join(
            [self.data, *([self.scenario.name] if self.scenario else []), *([split] if split == "validation" else [])]
        )

    def difference(self, other: Protocol) -> str:
        """The first setting in which two protocols differ, with both values."""
        names = sorted(dict(self.settings) | dict(other.settings))
        name = next(name for name in names if self[name] != other[name])
        return f"{name} {self[name]} and {other[name]}"


def _fixed(value: Any) -> Any:
    return tuple(_fixed(part) for part in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ScaleRun:
    """A finished run, with what its settings say.

    Args:
        again: the folder of a run that evaluated this one again, whose studies are this one's too.
    """

    recipe: str
    seed: int
    folder: Path
    metrics: dict[str, float]
    config: dict[str, Any]
    again: Path | None = None

    @cached_property
    def protocol(self) -> Protocol:
        return Protocol.of(self.config)

    @property
    def backbone(self) -> str:
        """The network's name."""
        return str(self.config["model"]["backbone"])

    @property
    def curve(self) -> dict[float, float]:
        """Accuracy by the objects' side in pixels."""
        return scale_curve(self.metrics, "size_accuracy")

    @property
    def trained_accuracy(self) -> float:
        """On test objects of the sizes that it trained on; where there are no sizes, on all."""
        scenario, curve = self.protocol.scenario, self.curve
        if scenario is None or not curve:
            return self.metrics["accuracy"]
        return float(np.mean([curve[side] for side in scenario.trained]))

    @property
    def seconds_per_epoch(self) -> float | None:
        """Of training, where there was any."""
        return self.metrics["seconds"] / self.metrics["epochs"] if self.metrics.get("epochs") else None

    @property
    def is_collapsed(self) -> bool | None:
        """Whether it has learned nothing: at the sizes of training it knows less than twice what chance does. With two
        classes that is everything; there, half way from chance to everything must be known. None where chance was not
        measured, or knows everything."""
        chance = self.metrics.get("chance", 1)
        return None if chance == 1 else self.trained_accuracy < min(2 * chance, (1 + chance) / 2)

    def study(self, name: str) -> dict[str, np.ndarray] | None:
        """What a study of the run found, or None where it was not made."""
        for folder in (self.folder, self.again):
            if folder is not None and (folder / f"{name}.npz").is_file():
                return read_arrays(folder / f"{name}.npz")
        return None


def scale_runs(root: str | Path, recipes: Sequence[str] | None = None) -> list[ScaleRun]:
    """All finished runs of classifiers of objects below a folder, or those of some recipes in their order.

    Runs on pictures and on pixels, which have no ``accuracy``, are none of them.
    """
    found = [_opened(run) for run in collect(root) if run.metrics is not None and "accuracy" in run.metrics]
    merged = _merged(found)
    if recipes is None:
        return merged
    known = {run.recipe for run in found}
    for name in recipes:
        if name not in known:
            raise ValueError(f"no finished run has the recipe {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    recipes = list(dict.fromkeys(recipes))
    chosen = {name: [run for run in merged if run.recipe == name] for name in recipes}
    # An evaluation that belongs to another run is a row of its own where it is asked for by its name.
    return [run for name in recipes for run in chosen[name] or found if run.recipe == name]


def _merged(runs: Sequence[ScaleRun]) -> list[ScaleRun]:
    """Without runs that evaluated another one again, by the same protocol: that one has their folders."""
    again = {
        (run.recipe.removesuffix(AGAIN), run.seed, run.protocol): run.folder
        for run in runs
        if run.recipe.endswith(AGAIN)
    }
    found = [replace(run, again=again.pop((run.recipe, run.seed, run.protocol), None)) for run in runs]
    left = set(again.values())
    return [run for run in found if not run.recipe.endswith(AGAIN) or run.folder in left]


def sized_protocol(folder: Path) -> Protocol | None:
    """That of a run; None where it is not of objects at many sizes, or its settings cannot be read."""
    try:
        config = _settings(folder)
    except ValueError:
        return None
    return Protocol.of(config) if str(config["data"].get("name")).startswith(SIZED) else None


def _opened(run: Run) -> ScaleRun:
    assert run.metrics is not None
    return ScaleRun(run.recipe, run.seed, run.folder, run.metrics, _settings(run.folder))


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        (config,) = yaml.safe_load(path.read_text("utf-8")).values()
        Protocol.of(config), config["model"]["backbone"]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a run's settings; expected what a training script wrote") from error
    return dict(config)


def by_protocol(runs: Iterable[ScaleRun]) -> dict[Protocol, list[ScaleRun]]:
    """The runs of each protocol."""
    found: dict[Protocol, list[ScaleRun]] = {}
    for run in runs:
        found.setdefault(run.protocol, []).append(run)
    return found


def names_of(protocols: Iterable[Protocol]) -> dict[Protocol, str]:
    """Their titles as names of files have them, with a number where several have one title."""
    found: dict[Protocol, str] = {}
    alike: Counter[str] = Counter()
    for protocol in protocols:
        title = protocol.title.replace(" ", "_")
        alike[title] += 1
        found[protocol] = f"{title}_{alike[title]}" if alike[title] > 1 else title
    return found


def by_recipe(runs: Iterable[ScaleRun]) -> dict[str, list[ScaleRun]]:
    """The runs of each recipe, one per seed."""
    found: dict[str, list[ScaleRun]] = {}
    for run in runs:
        found.setdefault(run.recipe, []).append(run)
    return found


def require_one_protocol(runs: Sequence[ScaleRun], remedy: str = SEPARATE) -> Protocol:
    """The protocol of all runs; what was trained or judged on other data has no place in their table."""
    first = runs[0]
    for run in runs:
        if run.protocol != first.protocol:
            raise ValueError(
                f"{first.folder} and {run.folder} have different protocols, {first.protocol.difference(run.protocol)}; "
                f"only runs of one can be compared: {remedy}"
            )
    return first.protocol
