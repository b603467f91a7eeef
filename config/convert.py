"""From plain values, as YAML gives them, to the dataclasses of schema.py: typed and closed, with messages that help."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from config.reference.keys import OURS
from config.schema import Config, ConfigError
from config.words import shown, suggestion

Section = TypeVar("Section")
Settings = dict[str, Any]

NULLS = ("none", "null", "nil", "~")  # what users write for YAML's null


@dataclass(frozen=True)
class Place:
    """Where a value stands, for messages.

    Args:
        source: file and recipe, or the command line and recipe.
        key: dotted.
        aliases: names that the file has for dotted keys, where they differ.
    """

    source: str
    key: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)

    def at(self, name: str | int) -> Place:
        """The place of a key of this mapping, or of an item of this list."""
        key = f"{self.key}[{name}]" if isinstance(name, int) else f"{self.key}.{name}".removeprefix(".")
        return replace(self, key=key)

    def error(self, message: str) -> ConfigError:
        """An error with a message such as "is 3; expected text", or one that stands by itself after a colon."""
        alias = self._alias()
        key = f"{self.key} (the file's {alias})" if alias else self.key
        gap = " " if message.startswith(("is ", "has ")) else ": "
        return ConfigError(f"{self.source}: {key}{gap}{message}" if key else f"{self.source}: {message}")

    def _alias(self) -> str:
        """What the file calls this key, or the nearest one above it, with the rest of the way; empty: the same."""
        above = [key for key in self.aliases if self.key == key or self.key.startswith((f"{key}.", f"{key}["))]
        nearest = max(above, key=len, default=None)
        return "" if nearest is None else f"{self.aliases[nearest]}{self.key[len(nearest) :]}"


def partial(cls: type, given: Any, place: Place, below: Settings | None = None) -> Settings:
    """Check the settings that a mapping gives, without asking for the others.

    Args:
        cls: the dataclass that they are of.
        given: as YAML gave it.
        place: of the mapping.
        below: settings that these will lie over, which may name the variant of a section.
    """
    if not isinstance(given, dict):
        names = ", ".join(kinds(cls))
        raise place.error(f"is {shown(given)}; expected a mapping with some of {names}")
    settings = {}
    for name, value in given.items():
        if name not in kinds(cls):
            raise place.at(str(name)).error(f"unknown key. {_known(cls, name, place.key)}")
        kind, at, under = kinds(cls)[name], place.at(name), (below or {}).get(name) or {}
        sections = sections_of(kind)
        if not sections:
            settings[name] = converted(kind, value, at)
        elif len(sections) == 1:
            settings[name] = partial(sections[0], value, at, under)
        else:
            settings[name] = _of_variant(sections, value, at, under)
    return settings


def build(cls: type[Section], settings: Settings, place: Place) -> Section:
    """Make a dataclass of checked settings; what they leave out has the default of the schema."""
    given = {}
    section: Any = cls  # a dataclass, which no annotation can say
    known = kinds(section)
    for entry in fields(section):
        kind, at = known[entry.name], place.at(entry.name)
        if entry.name in settings:
            value, sections = settings[entry.name], sections_of(kind)
            if sections:
                variant = sections[0] if len(sections) == 1 else variant_of(sections, value.get("name"), at)
                value = build(variant, value, at)
            given[entry.name] = value
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise at.error(f"missing; expected {described(kind)}")
    try:
        return cls(**given)
    except ValueError as error:  # a ConfigError, or one of layers/spec.py, which knows nothing of recipes
        first, _, rest = str(error).partition(" ")
        raise (place.at(first).error(rest) if first in known else place.error(str(error))) from None


def merged(below: Settings, above: Settings, cls: Any = Config) -> Settings:
    """Lay checked settings over others: mappings merge, unless they are unlike variants; all else is replaced."""
    joined = dict(below)
    for name, value in above.items():
        sections, under = sections_of(kinds(cls).get(name)), below.get(name)
        if sections and under is not None:
            section = next(one for one in sections if len(sections) == 1 or is_named(one, value["name"]))
            is_like = len(sections) == 1 or is_named(section, under["name"])
            value = merged(under, value, section) if is_like else value
        joined[name] = value if sections else _mixed(under, value)
    return joined


def _mixed(below: Any, above: Any) -> Any:
    """Lay a free value, such as model.options, over another: mappings merge."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{name: _mixed(below.get(name), value) for name, value in above.items()}}


def is_named(variant: Any, name: Any) -> bool:
    """Whether a name chooses this variant of a section: one of its tags, or what begins with one that ends in "/"."""
    return isinstance(name, str) and any(
        name == tag or (tag[-1] == "/" and name.startswith(tag)) for tag in variant.tags
    )


def variant_of(sections: tuple[Any, ...], name: Any, place: Place) -> Any:
    """The variant of a section that a name chooses."""
    found = next((one for one in sections if is_named(one, name)), None)
    if found is None:
        tags = [f"{tag}NAME" if tag[-1] == "/" else tag for one in sections for tag in one.tags]
        given = "missing" if name is None else f"is {shown(name)}"
        at, hint = place.at("name"), suggestion(name, tags) if isinstance(name, str) else ""
        raise at.error(f"{given}; expected one of {', '.join(tags)}. {hint}".rstrip(". "))
    return found


def _of_variant(sections: tuple[Any, ...], given: Any, place: Place, below: Settings) -> Settings:
    """Checked settings of a section that has variants, with the name that chooses one."""
    if not isinstance(given, dict):
        tags = ", ".join(tag for one in sections for tag in one.tags)
        raise place.error(f"is {shown(given)}; expected a mapping with a name, one of {tags}")
    name = given.get("name", below.get("name"))
    variant = variant_of(sections, name, place)
    rest = {key: value for key, value in given.items() if key != "name"}
    for key in rest.keys() - kinds(variant).keys():
        having = [tag for one in sections if key in kinds(one) for tag in one.tags]
        if having:
            raise place.at(str(key)).error(f"unknown key of {name}; {', '.join(having)} would have it")
    return {"name": name, **partial(variant, rest, place, below)}


def plain(value: Any) -> Any:
    """The way back: a dataclass as mappings, lists and scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        tag = {"name": value.tags[0]} if hasattr(value, "tags") else {}  # a field of that name says more
        return tag | {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def converted(kind: Any, value: Any, place: Place) -> Any:
    """The value as the annotation wants it; YAML's readings are repaired only where one meaning is possible."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(kind, value, place)
    if origin is Literal:
        if value is False and "off" in args:
            return "off"  # YAML 1.1 reads off as false
        if any(type(value) is type(choice) and value == choice for choice in args):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        is_any_length = len(args) == 2 and args[1] is ...
        if is_any_length or len(value) == len(args):
            each = [args[0]] * len(value) if is_any_length else list(args)
            return tuple(converted(each[i], item, place.at(i)) for i, item in enumerate(value))
    elif origin is dict and isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return value
    elif is_dataclass(kind) and isinstance(kind, type):
        return build(kind, partial(kind, value, place), place)
    elif kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif kind in (int, bool, str) and type(value) is kind:
        return value
    raise place.error(f"is {shown(value)}; expected {described(kind)}.{_hint(kind, value)}".removesuffix("."))


def described(kind: Any) -> str:
    """What a kind of value looks like, in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join([*(described(part) for part in args if part is not NoneType), *_null_of(args)])
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if origin is tuple and args[1:] == (...,):
        return f"a list, each {described(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}, each {described(args[0])}"
    if origin is dict:
        return "a mapping"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return words[kind] if kind in words else f"a mapping with some of {', '.join(kinds(kind))}"


@cache
def kinds(cls: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, resolved."""
    hints = get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in fields(cls)}


def sections_of(kind: Any) -> tuple[Any, ...]:
    """The dataclasses that a field holds, null or not: one, or the variants of a section; none of all other fields."""
    is_tuple = get_origin(kind) is tuple
    return () if is_tuple else tuple(part for part in (kind, *get_args(kind)) if is_dataclass(part))


def dotted_keys(cls: type, above: str = "") -> Iterator[str]:
    """All keys that can be set, sections too."""
    for name, kind in kinds(cls).items():
        yield f"{above}{name}"
        for section in sections_of(kind):
            yield from dotted_keys(section, f"{above}{name}.")


def _one_of(kind: Any, value: Any, place: Place) -> Any:
    parts = [part for part in get_args(kind) if part is not NoneType]
    if value is None and len(parts) < len(get_args(kind)):
        return None
    if isinstance(value, str) and value.lower() in NULLS and len(parts) < len(get_args(kind)):
        raise place.error(f"is the text {value!r}; expected {described(kind)}. For no value, write null")
    for part in parts:
        try:
            return converted(part, value, place)
        except ConfigError:
            if len(parts) == 1 or (get_origin(part) is tuple and isinstance(value, list)):
                raise  # its own message says more
    raise place.error(f"is {shown(value)}; expected {described(kind)}.{_hint(kind, value)}".removesuffix("."))


def _null_of(args: tuple) -> list[str]:
    return ["null"] if NoneType in args else []


def _hint(kind: Any, value: Any) -> str:
    if get_origin(kind) is Literal:
        hint = suggestion(value, (choice for choice in get_args(kind) if isinstance(choice, str)))
    elif kind is str and isinstance(value, bool | int | float):
        hint = "Put it in quotes"
    elif kind in (int, float) and isinstance(value, str):
        hint = "Leave out the quotes, if it has any"
    elif get_origin(kind) is tuple and not isinstance(value, list | dict):
        hint = f"Did you mean [{shown(value)}]?"
    else:
        hint = ""
    return f" {hint}" if hint else ""


def _known(cls: type, name: Any, at: str) -> str:
    elsewhere = [key for key in dict.fromkeys(dotted_keys(Config)) if key.rpartition(".")[2] == name and key != at]
    if elsewhere:
        return f"Did you mean {' or '.join(repr(key) for key in elsewhere)}?"
    if name in OURS:
        return f"In recipes, the published '{name}' is {OURS[name]}"
    return suggestion(name, kinds(cls)) or f"Expected one of {', '.join(kinds(cls))}"
