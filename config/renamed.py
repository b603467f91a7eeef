"""Keys that recipes had before, and where each of them is today: old files and commands go on saying what they said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.convert import Settings, plain
from config.errors import ConfigError

METHODS = ("dec", "energy", "candidates")  # each was a section of its own; today they are the method's names
RENAMED = {
    "loss.equivariance_weight": "loss.equivariance.weight",
    "loss.phi_weight": "loss.phi.weight",
    "loss.phi_difference": "loss.phi.difference",
    "loss.phi_difference_increment": "loss.phi.difference_increment",
    "loss.phi_difference_max": "loss.phi.difference_max",
    "loss.phi_prior": "loss.phi.prior",
    "loss.consistency_weight": "loss.consistency.weight",
    "loss.uniqueness_weight": "loss.uniqueness.weight",
    "evaluation.local_scale_every": "evaluation.full_every",
}
OF_FIRST_PHASE = {  # in which the canonicalizer trains alone
    "train.canonicalizer_epochs": ("epochs",),
    "loss.canonicalizer_task_weight": ("terms", "task"),
    "loss.canonicalizer_equivariance_weight": ("terms", "equivariance"),
}
PUBLISHED_TERMS = {"task": 1.0, "equivariance": 0.0}  # of that phase, where a recipe said nothing else


def renamed(content: Settings, below: Settings) -> tuple[Settings, dict[str, str]]:
    """The same settings under the keys of today.

    Args:
        content: as YAML gave it, checked by nobody.
        below: checked settings that it will lie over.

    Returns:
        the settings, and the old key of every new one.
    """
    content = {name: dict(value) if isinstance(value, dict) else value for name, value in content.items()}
    moved = dict(_methods(content, below))
    distance = _section(content, "loss").get("equivariance")
    if isinstance(distance, str):
        content["loss"]["equivariance"] = {"distance": distance}
        moved["loss.equivariance.distance"] = "loss.equivariance"
    for old, new in RENAMED.items():
        section, _, name = old.rpartition(".")
        if name in _section(content, section):
            value = content[section].pop(name)
            if _has(content, new):
                raise ConfigError(f"{old} and {new} are given, which are the same; expected one of them")
            _set(content, new, value)
            moved[new] = old
    return content, moved | dict(_first_phase(content, below))


def _methods(content: Settings, below: Settings) -> Iterator[tuple[str, str]]:
    """Move the section of a method; one that is null switches that method off."""
    given = {name: content.pop(name) for name in METHODS if name in content}
    wanted = [name for name, value in given.items() if value is not None]
    if len(wanted) > 1 or (wanted and "method" in content):
        both = " and ".join([*wanted, *(["method"] if "method" in content else [])])
        raise ConfigError(f"{both} are given; expected one method")
    for name in wanted:
        value = given[name]
        if isinstance(value, dict) and "name" in value:
            raise ConfigError(f"{name}.name: unknown key; {name} is the name of the method itself")
        content["method"] = {"name": name, **value} if isinstance(value, dict) else value
    is_off = below.get("method", {}).get("name", "none") in (*given, "none")
    if given and not wanted and "method" not in content and is_off:
        content["method"] = {"name": "none"}
    for name in sorted(given, key=wanted.__contains__):  # what is wanted has the last word
        yield "method", name


def _first_phase(content: Settings, below: Settings) -> Iterator[tuple[str, str]]:
    """Move what was said of the phase in which the canonicalizer trains alone into the list of phases."""
    given = {}
    for old, way in OF_FIRST_PHASE.items():
        section, _, name = old.rpartition(".")
        if name in _section(content, section):
            given[way] = content[section].pop(name)
            yield f"train.phases[0].{'.'.join(way)}", old
    if not given:
        return
    train = content.setdefault("train", {})
    if not isinstance(train, dict):
        return  # the reader refuses it
    phases = plain(train.get("phases", below.get("train", {}).get("phases", ()))) or [{}]
    if not isinstance(phases, list):
        return
    first = phases[0]
    if not (isinstance(first, dict) and first.get("trains") == ["canonicalizer"]):
        first = {"trains": ["canonicalizer"], "epochs": 0, "terms": dict(PUBLISHED_TERMS)}
        phases = [first, *phases]
    for way, value in given.items():
        _set(first, ".".join(way), value)
    train["phases"] = phases


def _section(content: Settings, name: str) -> Any:
    """A section as a mapping; empty where it is none, which the reader refuses."""
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _has(content: Settings, dotted: str) -> bool:
    section, _, name = dotted.rpartition(".")
    for part in section.split("."):
        content = _section(content, part)
    return name in content


def _set(content: Settings, dotted: str, value: Any) -> None:
    """Set a value; one below what is no mapping is left out, for the reader refuses that."""
    *sections, name = dotted.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            return
    content[name] = value
