"""Two recipes on the same items: the difference of every metric that has values per item, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from report.bootstrap import paired_bootstrap
from report.markup import Format, heading, markup, number
from report.runs import ITEMS, Run, read_arrays
from report.scale.protocol import sized_protocol


@dataclass(frozen=True)
class Difference:
    """One metric of recipes a and b, averaged over seeds and items, and the interval of their difference."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    items: int


def compare(
    runs: Sequence[Run], a: str, b: str, *, samples: int = 10000, level: float = 0.95
) -> tuple[list[Difference], list[int]]:
    """Paired bootstrap of a - b over the seeds that both recipes have finished.

    Returns:
        the differences, and the seeds.
    """
    folders = {
        name: {run.seed: run.folder for run in runs if run.recipe == name and (run.folder / ITEMS).is_file()}
        for name in (a, b)
    }
    seeds = sorted(folders[a].keys() & folders[b].keys())
    if not seeds:
        raise ValueError(
            f"{a} and {b} have no seed in common with {ITEMS}: {_seeds(folders[a])} and {_seeds(folders[b])}"
        )
    of_a, of_b = ([read_arrays(folders[name][seed] / ITEMS) for seed in seeds] for name in (a, b))
    _check_protocols([folders[name][seed] for name in (a, b) for seed in seeds])
    everything = [*of_a, *of_b]
    metrics = [name for name in everything[0] if all(name in items for items in everything)]
    for name in filter(_is_index, metrics):
        if not all(np.array_equal(items[name], everything[0][name]) for items in everything):
            raise ValueError(f"{a} and {b} were not evaluated on the same items: their {name} differ")
    found = []
    for name in metrics:
        if not _is_index(name):
            x, y = (np.stack([items[name] for items in part]) for part in (of_a, of_b))
            interval = paired_bootstrap(x, y, samples=samples, level=level)
            found.append(Difference(name, x.mean().item(), y.mean().item(), **interval, items=x.shape[1]))
    return found, seeds


def render_differences(
    found: Sequence[Difference], a: str, b: str, seeds: Sequence[int], format: Format, *, level: float = 0.95
) -> str:
    """The differences as a table; CSV has plain numbers, the others shares in percent."""
    if format == "csv":
        headings = ["metric", a, b, "difference", "low", "high", "items", "seeds"]
        lines = [
            [d.metric, *(repr(v) for v in (d.a, d.b, d.difference, d.low, d.high)), str(d.items), _joined(seeds, " ")]
            for d in found
        ]
        return markup(headings, lines, [], format)
    headings = ["metric", a, b, f"{a} - {b}", f"{level:.0%} interval", "items"]
    lines = [
        [
            heading(d.metric),
            number(d.metric, d.a),
            number(d.metric, d.b),
            number(d.metric, d.difference, signed=True),
            f"{number(d.metric, d.low, signed=True)} to {number(d.metric, d.high, signed=True)}",
            str(d.items),
        ]
        for d in found
    ]
    return markup(headings, lines, [f"Paired bootstrap over items; mean of seeds {_joined(seeds, ', ')}."], format)


def _check_protocols(folders: Sequence[Path]) -> None:
    """Objects at many sizes are numbered alike by every protocol: their index does not tell whether they are the same
    ones."""
    known = [(folder, protocol) for folder in folders if (protocol := sized_protocol(folder)) is not None]
    for folder, protocol in known:
        first, expected = known[0]
        if protocol != expected:
            difference = expected.difference(protocol)
            raise ValueError(f"{first} and {folder} were not evaluated on the same items: {difference}")


def _is_index(name: str) -> bool:
    return name == "index" or name.endswith("_index")


def _seeds(folders: dict[int, Path]) -> str:
    return f"seeds {_joined(sorted(folders), ', ')}" if folders else "none"


def _joined(seeds: Sequence[int], between: str) -> str:
    return between.join(map(str, seeds))
