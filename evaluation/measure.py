"""What a metric is: its name and unit, what it is measured on, and how it comes about."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from evaluation.sharing import Columns


class Unit(NamedTuple):
    """How a value is told: so many times itself, with so many decimals, under a heading with this sign."""

    name: str
    times: int = 1
    decimals: int = 4
    sign: str = ""


SHARE = Unit("share", times=100, decimals=2, sign="%")
DISTANCE = Unit("distance of two predictions")
NATS = Unit("nats")
NUMBER = Unit("number")
COUNT = Unit("how many", decimals=0)
PIXELS = Unit("pixels", decimals=3, sign="px")
SECONDS = Unit("seconds", decimals=0)


class Trial(Enum):
    """What a model is put to, in the order of tables, and what a metric is given of it."""

    CLEAN = "clean"  # the first part: the Views of a batch
    SCALES = "scales"  # every part that shows objects at several scales: the Views of a batch
    WARPS = "warp"  # the first part, randomly warped: the Views of a batch
    LOCAL_SCALE = "local_scale"  # items composed at random scales: a Comparison
    COMPOSED = "composed"  # the same items, all parts of each at one given scale: an AtScales
    CANONICAL = "canonical"  # the first warped items, where the model finds warps: the Views of a batch
    EQUILIBRIUM = "equilibrium"  # what an adapted model tells of its warps: an Equilibrium
    COST = "cost"  # the multiply-adds of the model's answer to one image, as a float
    STUDY = "study"  # a closer look at the finished model: nothing, for a study tells its numbers itself
    RUN = "run"  # nothing: the run tells such a metric itself

    @property
    def index(self) -> str:
        """Of items.npz, the column that numbers the trial's items."""
        return "index" if self is Trial.CLEAN else f"{self.value}_index"


class Averaged(NamedTuple):
    """Values that one number is the mean of."""

    values: Tensor
    numbers: Tensor  # of the items, or of what else the values belong to
    numbered_by: str | None = None  # what the numbers are called in items.npz, if not by the trial's index
    suffix: str = ""  # to the names of metric and column


def every_item(values: Tensor, columns: Columns) -> list[Averaged]:
    """All items count alike."""
    return [Averaged(values, columns["index"])]


class AllBut(Container[str]):
    """Every kind of data except some."""

    def __init__(self, *kinds: str):
        self.kinds = kinds

    def __contains__(self, kind: object) -> bool:
        return kind not in self.kinds


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric."""

    name: str  # in a summary
    unit: Unit
    trial: Trial
    of: Callable[..., Tensor] | None = None
    """What came of the trial, and the temperature, to one value per item; None where the run tells it itself. With
    ``per``, it takes the value as ``at`` too."""
    over: Callable[[Tensor, Columns], list[Averaged]] = every_item
    """The values of all items, and the columns of ``BASE``, to what is averaged."""
    column: str | Mapping[str, str] | None = None
    """What it is called in items.npz, by kind of data where that differs from its name; None keeps no values."""
    per: str | None = None
    """A setting of the evaluation that lists values, such as ``strengths``: it is measured at each of them, and each
    number has the value behind its name."""
    needs: str | None = None
    """What the model must give besides logits, in the words of ``gives`` of ``evaluate``."""
    kinds: Container[str] = AllBut("dense")  # of data that it is measured for; those of pixels name dense
    quick: Container[str] = ()  # kinds of data for which it is measured between the full evaluations too
    is_tempered: bool = False  # whether it is measured at the temperature that calibrates the model, and not at 1
    is_headline: bool = False  # whether tables show it unless they are asked for others

    def applies_to(self, kind: str, *, full: bool = True) -> bool:
        """Whether it is measured for this kind of data, in a full evaluation or in any."""
        return kind in self.quick or (full and kind in self.kinds)

    def column_for(self, kind: str) -> str | None:
        """What it is called in items.npz."""
        return self.column.get(kind, self.name) if isinstance(self.column, Mapping) else self.column

    def values(self, found: Any, temperature: float | None) -> Tensor:
        """Of what came of the trial."""
        at = temperature if self.is_tempered else 1.0
        assert self.of is not None and at is not None
        return self.of(found, at)

    @property
    def names(self) -> set[str]:
        """All that it is called, in a summary and in items.npz."""
        columns = self.column.values() if isinstance(self.column, Mapping) else [self.column or self.name]
        return {self.name, *columns}

    def tempered(self) -> Measure:
        """The same at the temperature that calibrates the model."""
        return replace(self._renamed("_tempered"), is_tempered=True)

    def at_each(self, settings: Mapping[str, Sequence[Any]]) -> list[Measure]:
        """One metric for each value that it is measured at; the metric itself where it depends on no setting."""
        if self.per is None:
            return [self]
        assert self.of is not None
        return [
            replace(self._renamed(f"_{shown(value)}"), of=partial(self.of, at=value), per=None)
            for value in settings[self.per]
        ]

    def _renamed(self, ending: str) -> Measure:
        """The same with this behind its names."""
        if isinstance(self.column, Mapping):
            column: Any = {kind: f"{name}{ending}" for kind, name in self.column.items()}
        else:
            column = self.column and f"{self.column}{ending}"
        return replace(self, name=f"{self.name}{ending}", column=column)


def shown(value: float | str) -> str:
    """A value of a setting as names of metrics end: ``0.7``, ``3``, ``nearest``."""
    return value if isinstance(value, str) else f"{value:g}"


def averages(measures: Iterable[Measure], columns: Columns) -> Iterator[tuple[Measure, Averaged]]:
    """What the values of every item come to, of the metrics that there is an item for."""
    for measure in measures:
        if measure.trial is not Trial.SCALES or columns["scale"].isfinite().any():
            yield from ((measure, part) for part in measure.over(columns[measure.name], columns) if len(part.values))
