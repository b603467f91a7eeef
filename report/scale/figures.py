"""Every figure that runs on objects at many sizes have something for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from report.scale import accuracy, maps, orbits
from report.scale.drawing import Drawing
from report.scale.protocol import ScaleRun, by_protocol, names_of

Draw = Callable[[Sequence[ScaleRun]], Drawing | None]
OF_ALL: tuple[Draw, ...] = (accuracy.curves, accuracy.scores, accuracy.costs)  # with a panel per protocol
OF_STUDIES: tuple[Draw, ...] = (  # which average over runs, and so take those of one protocol
    *(maps.equivariance, maps.crops, maps.index, maps.channels, maps.places),
    *(orbits.aggregate, orbits.individual, orbits.overview, orbits.shifted, orbits.local),
    *(orbits.explanations, orbits.restoration),
)


def drawings(runs: Sequence[ScaleRun]) -> list[Drawing]:
    """Those of studies bear the name of their protocol where there are several."""
    found = [drawing for draw in OF_ALL if (drawing := draw(runs)) is not None]
    protocols = by_protocol(runs)
    for protocol, name in names_of(protocols).items():
        ending = f"_{name}" if len(protocols) > 1 else ""
        own = [drawing for draw in OF_STUDIES if (drawing := draw(protocols[protocol])) is not None]
        found += [drawing._replace(name=drawing.name + ending) for drawing in own]
    return found
