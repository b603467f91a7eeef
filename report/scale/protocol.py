"""What makes runs comparable: the data that they learned from and were judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from config.scenarios import SCENARIOS, Scenario
from report.figures import scale_curve
from report.runs import Run, collect

CONFIG = "config.yaml"
# Settings of the data that are about training alone.
AUGMENTS = ("rescale", "fresh", "fresh_scales", "shift", "flip", "cutout")
TECHNICAL = ("root", "workers", "download")
REPEATED = ("realisation",)  # of a data set that is drawn several times, as a seed is
FREE = {*AUGMENTS, *TECHNICAL, *REPEATED}


@dataclass(frozen=True)
class Protocol:
    """What all runs of one table have in common.

    Args:
        settings: of the data, but for those that do not matter here.
    """

    settings: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Protocol:
        """That of a data section."""
        return cls(tuple((key, _fixed(value)) for key, value in data.items() if key not in FREE))

    def __getitem__(self, key: str) -> Any:
        return dict(self.settings).get(key)

    @property
    def data(self) -> str:
        """The data's name, or its file's."""
        return Path(self["file"]).stem if self["file"] else str(self["name"]).removeprefix("stir/").replace("/", "-")

    @property
    def scenario(self) -> Scenario | None:
        """Which sizes are trained on, where the data have scenarios."""
        return SCENARIOS.get(self["scenario"])

    @property
    def title(self) -> str:
        """As figures and files call it, such as ``emoji-dejavu Mid2Rest``."""
        return f"{self.data} {self.scenario.name}" if self.scenario else self.data

    @property
    def name(self) -> str:
        """The title as names of files have it."""
        return self.title.replace(" ", "_")

    def difference(self, other: Protocol) -> str:
        """The first setting in which two protocols differ, with both values."""
        names = [*dict(self.settings), *dict(other.settings)]
        name = next(name for name in names if self[name] != other[name])
        return f"data.{name} {self[name]} and {other[name]}"


def _fixed(value: Any) -> Any:
    return tuple(_fixed(part) for part in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ScaleRun:
    """A finished run, with what its settings say."""

    recipe: str
    seed: int
    folder: Path
    metrics: dict[str, float]
    config: dict[str, Any]

    @cached_property
    def protocol(self) -> Protocol:
        return Protocol.of(self.config["data"])

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
    def is_collapsed(self) -> bool:
        """Whether it has learned nothing: at the sizes of training it knows less than twice what chance does."""
        return self.trained_accuracy < 2 * self.metrics.get("chance", 0.0)

    def study(self, name: str) -> dict[str, np.ndarray] | None:
        """What a study of the run found, or None where it was not made."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}


def scale_runs(root: str | Path, recipes: Sequence[str] | None = None) -> list[ScaleRun]:
    """All finished runs below a folder, or those of some recipes in their order."""
    found = [_opened(run) for run in collect(root) if run.metrics is not None]
    if recipes is None:
        return found
    known = {run.recipe for run in found}
    for name in recipes:
        if name not in known:
            raise ValueError(f"no finished run has the recipe {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    return [run for name in recipes for run in found if run.recipe == name]


def _opened(run: Run) -> ScaleRun:
    path = run.folder / CONFIG
    try:
        (config,) = yaml.safe_load(path.read_text("utf-8")).values()
        config["data"], config["model"]["backbone"]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a run's settings; expected what a training script wrote") from error
    assert run.metrics is not None
    return ScaleRun(run.recipe, run.seed, run.folder, run.metrics, config)


def by_protocol(runs: Iterable[ScaleRun]) -> dict[Protocol, list[ScaleRun]]:
    """The runs of each protocol."""
    found: dict[Protocol, list[ScaleRun]] = {}
    for run in runs:
        found.setdefault(run.protocol, []).append(run)
    return found


def by_recipe(runs: Iterable[ScaleRun]) -> dict[str, list[ScaleRun]]:
    """The runs of each recipe, one per seed."""
    found: dict[str, list[ScaleRun]] = {}
    for run in runs:
        found.setdefault(run.recipe, []).append(run)
    return found


def require_one_protocol(runs: Sequence[ScaleRun]) -> Protocol:
    """The protocol of all runs; what was trained or judged on other data has no place in their table."""
    first = runs[0]
    for run in runs:
        if run.protocol != first.protocol:
            raise ValueError(
                f"{first.folder} and {run.folder} have different protocols, {first.protocol.difference(run.protocol)}; "
                "a table has runs of one: name its recipes with --recipes, or leave --recipes out for a table of each"
            )
    return first.protocol
