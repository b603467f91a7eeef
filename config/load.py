"""Recipe files: YAML with named recipes, read into the dataclasses of schema.py, and written back."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args

import yaml

from config.convert import Place, Settings, build, kinds, merged, partial, plain, section_of
from config.flat_keys import OURS
from config.imagenet import ImageNetConfig
from config.reference import is_flat, to_recipe
from config.reference_imagenet import BACKBONES, to_imagenet_recipe
from config.reference_imagenet import KNOWN as IMAGENET_KEYS
from config.reference_imagenet import OURS as IMAGENET_OURS
from config.schema import Config, ConfigError
from config.words import shown, suggestion

Experiment = TypeVar("Experiment", bound=Config)

FOLDER = Path(__file__).parent
NAME = re.compile(r"\w[\w.-]*")  # it names the folder of a run
EXPONENT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


class Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, which YAML 1.1 takes for text."""


class Dumper(yaml.SafeDumper):
    """Puts text that looks like such a number in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (Loader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


class File(NamedTuple):
    """A recipe file.

    Args:
        label: how messages call it.
        recipes: name to content, unchecked but for its names.
        schema: the dataclass that every recipe is made into.
    """

    label: str
    recipes: dict[str, Any]
    schema: type[Config] = Config


def load_recipes(
    file: str | Path,
    name: str | None = None,
    overrides: Iterable[str] = (),
    schema: type[Experiment] = Config,  # type: ignore[assignment]
) -> list[tuple[str, Experiment]]:
    """Read a recipe, or all members of a suite in their order.

    Args:
        file: path of a YAML file, or the bare name of one in ``config/``. It may have the published flat format.
        name: of a recipe or suite of the file; it may be left out where the file holds one recipe.
        overrides: "key=value" with a dotted key and a YAML value, for every member.
        schema: what the script that asks can run, ``Config`` or ``ImageNetConfig``.

    Returns:
        Pairs of recipe name and settings.

    Raises:
        ConfigError: for all that cannot be meant, with file, recipe and key.
    """
    source = _read(file)._replace(schema=schema)
    if name is None:
        if len(source.recipes) > 1:
            raise ConfigError(f"{source.label}: no recipe is named; expected one of {', '.join(source.recipes)}")
        name = next(iter(source.recipes))
    overrides = list(overrides)
    return [(member, _load(source, member, overrides)) for member in _members(source, name)]  # type: ignore[misc]


def recipe_names(file: str | Path) -> list[str]:
    """Names of the recipes and suites of a file, in its order."""
    return list(_read(file).recipes)


def to_dict(config: Config) -> Settings:
    """All settings of a recipe as mappings, lists and scalars."""
    return plain(config)


def dump(name: str, config: Config) -> str:
    """The text of a recipe file that holds this one recipe with all its settings."""
    content = {name: to_dict(config)}
    return yaml.dump(content, Dumper=Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def _read(file: str | Path) -> File:
    path = Path(file)
    if not path.exists() and path.name == str(file) and (FOLDER / path).exists():
        path = FOLDER / path
    label = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        known = sorted(other.name for other in FOLDER.glob("*.yaml"))
        hint = suggestion(path.name, known) or f"The folder config/ has {', '.join(known) or 'none'}"
        raise ConfigError(f"{label}: no such file; expected a path, or a name in config/. {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label}: cannot be read as a text file ({error})") from None
    content = _parse(text, label)
    if not isinstance(content, dict) or not content:
        given = "empty" if content in (None, {}) else shown(content)
        raise ConfigError(f"{label}: is {given}; expected a mapping of recipe names to recipes")
    for name in content:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            hint = "" if isinstance(name, str) else ". Put it in quotes, or it is no text"
            raise ConfigError(
                f"{label}: a recipe is named {shown(name)}; expected letters, digits, '_', '-' and '.'{hint}"
            )
    return File(label, content)


def _parse(text: str, label: str) -> Any:
    """The value of YAML text, in which no key stands twice."""
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if (circle := _circle(node, [], set())) is not None:
            raise ConfigError(f"{label}: line {circle}: an alias stands inside of what it names; expected an end to it")
        for key, first, second in _repeated(node, "", set()):
            where = key.replace(".", ": ", 1)  # the recipe, then the key in it
            raise ConfigError(f"{label}: {where} stands twice, in lines {first} and {second}; expected once")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{label}: {line}this is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{label}: this is not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{label}: this is nested too deeply") from None


def _repeated(node: yaml.Node, above: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Keys that a mapping holds twice, of which YAML would drop the first."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    first: dict[str, int] = {}
    for entry in node.value:
        if not isinstance(node, yaml.MappingNode):
            yield from _repeated(entry, above, seen)
            continue
        key, value = entry
        at = f"{above}.{key.value}".removeprefix(".")
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.value in first and not key.tag.endswith(":merge"):
            yield at, first[key.value], line
        if isinstance(key, yaml.ScalarNode):
            first[key.value] = line
        yield from _repeated(value, at, seen)


def _circle(node: yaml.Node, above: list[yaml.Node], done: set[int]) -> int | None:
    """The line of a mapping or list that contains itself through an alias, or None."""
    if id(node) in done or not isinstance(node, yaml.CollectionNode):
        return None
    if any(node is other for other in above):
        return node.start_mark.line + 1
    for entry in node.value:
        for part in entry if isinstance(entry, tuple) else (entry,):
            if (line := _circle(part, [*above, node], done)) is not None:
                return line
    done.add(id(node))
    return None


def _members(source: File, name: str) -> list[str]:
    """The recipes that a name stands for: itself, or the members of a suite."""
    content = _content(source, name, source.label)
    if not (isinstance(content, dict) and "suite" in content):
        return [name]
    place = Place(f"{source.label}: {name}")
    others = [str(key) for key in content if key != "suite"]
    if others:
        raise place.error(f"has suite beside {', '.join(others)}; expected suite alone")
    members = content["suite"]
    if not isinstance(members, list) or not members or not all(isinstance(member, str) for member in members):
        raise place.at("suite").error(f"is {shown(members)}; expected a list of recipe names")
    for member in members:
        if members.count(member) > 1:
            raise place.at("suite").error(f"has '{member}' twice; expected each member once")
        content = _content(source, member, f"{place.source}: suite")
        if isinstance(content, dict) and "suite" in content:
            raise place.at("suite").error(f"has '{member}', which is a suite; expected recipes")
    return members


def _content(source: File, name: str, asking: str) -> Any:
    if name not in source.recipes:
        known = source.recipes
        hint = suggestion(name, known) or f"Expected one of {', '.join(known)}"
        raise ConfigError(f"{asking}: there is no recipe '{name}'. {hint}")
    return source.recipes[name]


def _load(source: File, name: str, overrides: list[str]) -> Config:
    place = Place(f"{source.label}: {name}", schema=source.schema)
    if source.schema is ImageNetConfig and is_flat(source.recipes, ImageNetConfig, IMAGENET_KEYS):
        place = replace(place, aliases={ours: flat for flat, ours in IMAGENET_OURS.items()})
        flat = _over_base(source, name, "base", place)
        settings = _translated(lambda: to_imagenet_recipe(name, flat), place, source.schema)
        backbone = name.rpartition("_")[2]
        parent = f"base_{backbone}" if backbone in BACKBONES else "base"
        # by its path, for the user's file may have this name
        below = _read(FOLDER / "adapter_config.yaml")._replace(schema=ImageNetConfig)
        settings = merged(_settings(below, parent, []), settings)
    elif is_flat(source.recipes):
        place = replace(place, aliases={ours: flat for flat, ours in OURS.items()})
        flat = _over_base(source, name, "base_config", place)
        settings = _translated(lambda: to_recipe(flat), place, source.schema)
    else:
        settings = _settings(source, name, [])
    command = Place(f"command line: {name}", schema=source.schema)
    final = settings
    for override in overrides:
        final = merged(final, _override(override, final, command, source.schema))
    try:
        return build(source.schema, final, command)
    except ConfigError:
        build(source.schema, settings, place)  # the file is at fault where it fails without the overrides
        raise


def _settings(source: File, name: str, children: list[str]) -> Settings:
    """The checked settings of a recipe, over those of its parents."""
    place = Place(f"{source.label}: {name}", schema=source.schema)
    content = source.recipes[name]
    if not isinstance(content, dict):
        raise place.error(f"is {shown(content)}; expected a mapping of settings")
    if "suite" in content:
        raise Place(f"{source.label}: {children[-1]}").at("extends").error(f"is '{name}', a suite; expected a recipe")
    own = partial(source.schema, {key: value for key, value in content.items() if key != "extends"}, place)
    if "extends" not in content:
        return own
    parent, at = content["extends"], place.at("extends")
    if not isinstance(parent, str):
        raise at.error(f"is {shown(parent)}; expected the name of a recipe of the same file")
    if parent in [*children, name]:
        raise at.error(f"goes in a circle: {' -> '.join([*children, name, parent])}")
    _content(source, parent, f"{place.source}: extends")
    return merged(_settings(source, parent, [*children, name]), own)


def _over_base(source: File, name: str, base: str, place: Place) -> Settings:
    """An entry of the published flat format over its base entry."""
    below = source.recipes.get(base) or {}
    own = source.recipes[name]
    if not (isinstance(below, dict) and isinstance(own, dict)):
        raise place.error(f"is {shown(own)}; expected a mapping of settings")
    return {**below, **own}


def _translated(
    translate: Callable[[], tuple[Settings, dict[str, str]]], place: Place, schema: type[Config]
) -> Settings:
    """Checked settings of a flat entry; keys without effect are named in one warning."""
    try:
        recipe, ignored = translate()
    except ConfigError as error:
        raise ConfigError(f"{place.source}: {error}") from None
    if ignored:
        reasons: dict[str, list[str]] = {}
        for key, reason in ignored.items():
            reasons.setdefault(reason, []).append(key)
        listed = "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in reasons.items())
        warnings.warn(f"{place.source}: without effect: {listed}", stacklevel=4)
    return partial(schema, recipe, place)


def _override(text: str, settings: Settings, place: Place, schema: type[Config]) -> Settings:
    """One key=value of the command line as checked settings."""
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise place.error(f"{text!r} is no setting; expected key=value, such as train.epochs=3")
    below: Any = settings
    cls: Any = schema
    for depth, name in enumerate(names[:-1], 1):
        kind = kinds(cls).get(name)
        cls = section_of(kind)
        if cls is None:
            break
        below = below.get(name, None if NoneType in get_args(kind) else {})
        if below is None:
            section = ".".join(names[:depth])
            raise place.at(key.strip()).error(
                f"{section} is null in this recipe; expected a recipe with it, or all of it as {section}={{...}}"
            )
    given: Any = _parse(value, f"{place.source}: {key}")
    for name in reversed(names):
        given = {name: given}
    return partial(schema, given, place)
