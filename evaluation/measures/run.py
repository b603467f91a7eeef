"""What a run tells itself: how long it trained, and how many pictures could not be read."""

from __future__ import annotations

from evaluation.measure import NUMBER, SECONDS, Measure, Trial

MEASURES = [
    Measure(name="seconds", unit=SECONDS, trial=Trial.RUN, is_headline=True),
    Measure(name="broken", unit=NUMBER, trial=Trial.RUN),
]
