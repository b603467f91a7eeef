"""Which sizes a scenario of the STIR study trains on, and which it is judged by."""

from __future__ import annotations

from typing import NamedTuple


class Scenario(NamedTuple):
    """Sizes in pixels, training and validation share theirs."""

    name: str
    trained: tuple[int, ...]
    tested: tuple[int, ...]


def _of(name: str, trained: range, *tested: range) -> Scenario:
    return Scenario(name, tuple(trained), tuple(side for part in tested for side in part))


SCENARIOS = {
    1: _of("Small2Large", range(17, 33), range(33, 65)),
    2: _of("Mid2Rest", range(33, 49), range(17, 33), range(49, 65)),
    3: _of("Large2Small", range(49, 65), range(17, 49)),
    4: _of("All2All", range(17, 65), range(17, 65)),
}
