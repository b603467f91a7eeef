"""All metrics, in a file for each family: what a file here calls ``MEASURES`` is found, measured, told and compared."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules

from evaluation.measure import NUMBER, Measure, Trial, Unit


def found_in(package: str, path: Iterable[str]) -> tuple[Measure, ...]:
    """The metrics of all files of a package, in the order of their trials."""
    modules = [import_module(f"{package}.{module.name}") for module in iter_modules(path)]
    found = [measure for module in modules for measure in module.MEASURES]
    return tuple(sorted(found, key=lambda measure: list(Trial).index(measure.trial)))


MEASURES = found_in(__name__, __path__)
BETWEEN = ("_at_", "_after_", "_by_")  # a metric's name and the value that it was measured at


def described(name: str) -> Measure | None:
    """What a number of a summary or a column of items.npz belongs to; ``top1_at_0.7`` is one of ``top1_at``."""
    for word in BETWEEN:
        head, found, _ = name.partition(word)
        if found:
            name = f"{head}{word.rstrip('_')}"
    return next((measure for measure in MEASURES if name in measure.names), None)


def unit_of(name: str) -> Unit:
    """The unit of a metric or a column; of an unknown one, a plain number."""
    measure = described(name)
    return NUMBER if measure is None else measure.unit
