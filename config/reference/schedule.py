"""The published schedules, whose format is known by names and values alone."""

from __future__ import annotations

from typing import Any

from config.errors import ConfigError
from config.reference.keys import Entry
from config.words import shown

SCHEDULES = {"steplr": "step", "reducelronplateau": "plateau", "cycliclr": "cyclic"}
ScheduleKeys = tuple[dict[str, str], dict[str, Any]]  # theirs to ours, and torch's values for what is left out
SCHEDULE_KEYS: dict[str, ScheduleKeys] = {
    "step": ({"step": "step_size", "step_size": "step_size", "gamma": "factor"}, {"factor": 0.1}),
    "plateau": ({"patience": "patience", "factor": "factor"}, {"patience": 10, "factor": 0.1}),
    "cyclic": ({"step_size_up": "step_size", "base_lr": "base_lr", "max_lr": "max_lr"}, {"step_size": 2000}),
}


def read_schedule(entry: Entry) -> tuple[dict[str, Any], float | None]:
    """Our schedule, and the rate that the published one sets itself, if it does.

    The notes on the published format give its names and values; a name beside its values, a name with values inside,
    and values under a name are all taken.
    """
    given, beside = entry.get("scheduler"), entry.get("scheduler_kwargs") or {}
    if given is None:
        return {"name": "constant"}, None
    name, parts = given, [beside]
    if isinstance(given, dict):
        rest = dict(given)
        name = rest.pop("name", rest.pop("type", None))
        if name is None and len(rest) == 1:
            ((name, under),) = rest.items()
            parts.append(under or {})
        else:
            parts += [rest.pop("kwargs", None) or {}, rest]
    if not all(isinstance(part, dict) for part in parts):
        raise ConfigError(f"scheduler is {shown(given)}; expected its values as a mapping")
    values = {key: value for part in parts for key, value in part.items()}
    word = str(name).lower().replace("_", "")
    kind = SCHEDULES.get(word, word)
    if kind not in SCHEDULE_KEYS:
        raise ConfigError(f"scheduler is {shown(given)}; expected step, ReduceLROnPlateau or CyclicLR")
    names, defaults = SCHEDULE_KEYS[kind]
    if kind == "plateau" and values.get("mode") == "min":
        values = {key: value for key, value in values.items() if key != "mode"}
    unknown = [key for key in values if key not in names]
    if unknown:
        raise ConfigError(f"scheduler has {', '.join(map(str, unknown))}; expected only {', '.join(names)}")
    schedule = {"name": kind, **defaults, **{names[key]: value for key, value in values.items()}}
    if kind != "cyclic":
        return schedule, None
    lowest, highest = schedule.pop("base_lr", None), schedule.pop("max_lr", None)
    if not all(isinstance(rate, int | float) and rate > 0 for rate in (lowest, highest)):
        raise ConfigError("scheduler: CyclicLR needs base_lr and max_lr; expected two numbers above 0")
    return {**schedule, "floor": lowest / highest}, highest
