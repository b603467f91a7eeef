"""What a run tells itself: its length, what could not be read, and the temperature that calibrates the model."""

from evaluation.measure import NUMBER, SECONDS, Measure, Trial

MEASURES = [
    Measure(name="seconds", unit=SECONDS, trial=Trial.RUN, is_headline=True),
    Measure(name="broken", unit=NUMBER, trial=Trial.RUN),
    Measure(name="temperature", unit=NUMBER, trial=Trial.RUN),
]
