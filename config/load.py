"""Recipes by their names: read into the dataclasses of schema.py, over their parents, and written back."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial as bound
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from config.convert import Place, Settings, build, kinds, merged, partial, plain, sections_of, variant_of
from config.errors import SettingWarning
from config.files import FOLDER, Dumper, File, Source, home_of, parse, read, script_of
from config.reference.reading import keys_of, translated
from config.renamed import METHODS, renamed
from config.schema import Config, ConfigError
from config.words import expected, shown


class Recipe(NamedTuple):
    """A name where it can be meant.

    Args:
        name: of the recipe.
        source: what was asked for it, in whose namespace its own parents and members are looked up.
    """

    name: str
    source: Source

    @property
    def file(self) -> File:
        """The file in which it stands."""
        return self.source.files[self.name]

    @property
    def content(self) -> Any:
        """As YAML gave it."""
        return self.file.recipes[self.name]

    @property
    def is_suite(self) -> bool:
        """Whether it stands for other recipes."""
        return isinstance(self.content, dict) and "suite" in self.content

    def is_same(self, other: Recipe) -> bool:
        """Whether both names mean the same lines of the same file."""
        return self.name == other.name and self.file.path.resolve() == other.file.path.resolve()


def load_recipes(
    file: str | Path, name: str | None = None, overrides: Iterable[str] = (), kind: str | Sequence[str] = "digits"
) -> list[tuple[str, Config]]:
    """Read a recipe, or all members of a suite in their order.

    Args:
        file: path of a YAML file, or the name of one in ``config/``. It may have the published flat format.
        name: of a recipe or suite of the file, or of its families; it may be left out where the file holds one recipe.
        overrides: "key=value" with a dotted key and a YAML value, for every member.
        kind: of the data, or several kinds: the first is that of a recipe which names no data. Data of another kind is
            refused.

    Returns:
        Pairs of recipe name and settings.

    Raises:
        ConfigError: for all that cannot be meant, with file, recipe and key.
    """
    source = read(file)
    if name is None:
        if len(source.names) > 1:
            raise ConfigError(f"{source.file.label}: no recipe is named; expected one of {', '.join(source.names)}")
        name = next(iter(source.names))
    overrides = list(overrides)
    members = _members(_recipe(source, name, source.file.label))
    known = (kind,) if isinstance(kind, str) else tuple(kind)
    return [(member.name, _load(member, overrides, _kind_of(member, known))) for member in members]


def load_run(file: str | Path) -> tuple[str, Config]:
    """The recipe of a run, from the ``config.yaml`` in its folder, whichever kind of data it has.

    Returns:
        Its name and its settings.
    """
    file = Path(file)
    if not file.is_file():
        raise ConfigError(f"{file.parent} holds no {file.name}; expected the folder of a finished run")
    known = [section.kind for section in sections_of(kinds(Config)["data"])]
    (found,) = load_recipes(file, kind=known)
    return found


def recipe_names(file: str | Path) -> list[str]:
    """Names of the recipes and suites of a file and of its families, in their order."""
    return read(file).names


def to_dict(config: Config) -> Settings:
    """All settings of a recipe as mappings, lists and scalars."""
    return plain(config)


def comparable(config: Config) -> Settings:
    """All settings, with phases that have no epochs left out, and those that have, with all of their weights.

    Two recipes that say the same in other words are then equal.
    """
    settings = to_dict(config)
    phases = zip(settings["train"]["phases"], config.train.epochs_of_phases, strict=True)
    settings["train"]["phases"] = [
        {**phase, "epochs": epochs, "terms": {name: config.weights(name)[number] for name in config.loss.terms}}
        for number, (phase, epochs) in enumerate(phases)
        if epochs
    ]
    return settings


def dump(name: str, config: Config) -> str:
    """The text of a recipe file that holds this one recipe with all its settings."""
    content = {name: to_dict(config)}
    return yaml.dump(content, Dumper=Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def _recipe(source: Source, name: str, asking: str, child: Recipe | None = None) -> Recipe:
    """The recipe of a name that the command gives, or that another recipe gives."""
    if name not in source.files:
        others = [other for other in source.files if child is None or not child.is_same(Recipe(other, source))]
        hint = _elsewhere(name, is_parent=child is not None) or expected(name, others)
        raise ConfigError(f"{asking}: there is no recipe '{name}'. {hint}")
    return Recipe(name, source)


def _elsewhere(name: str, *, is_parent: bool) -> str:
    """Where a recipe stands in ``config/``, and how it is named from outside; empty: nowhere."""
    file = home_of(name)
    if file is None:
        return ""
    script = None if is_parent else script_of(file)
    way = f"python {script} --config_file {file} --config {name}" if script else f"extends: {file}:{name}"
    return f"It stands in config/{file}: {way}"


def _members(recipe: Recipe) -> list[Recipe]:
    """The recipes that a name stands for: itself, or the members of a suite."""
    if not recipe.is_suite:
        return [recipe]
    place = Place(f"{recipe.file.label}: {recipe.name}")
    others = [str(key) for key in recipe.content if key != "suite"]
    if others:
        raise place.error(f"has suite beside {', '.join(others)}; expected suite alone")
    names = recipe.content["suite"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise place.at("suite").error(f"is {shown(names)}; expected a list of recipe names")
    members = []
    for name in names:
        if names.count(name) > 1:
            raise place.at("suite").error(f"has '{name}' twice; expected each member once")
        members.append(_recipe(recipe.source, name, f"{place.source}: suite", recipe))
        if members[-1].is_suite:
            raise place.at("suite").error(f"has '{name}', which is a suite; expected recipes")
    return members


def _load(recipe: Recipe, overrides: list[str], kind: str) -> Config:
    settings, place = merged(_of_kind(kind), _settings(recipe, kind, [])), _place(recipe, kind)
    command = Place(f"command line: {recipe.name}")
    final = settings
    for override in sorted(overrides, key=lambda text: ".name=" not in text):  # first what says which keys there are
        final = merged(final, _override(override, final, command))
    _refuse_other_kind(settings, kind, place)
    _refuse_other_kind(final, kind, command)
    try:
        return build(Config, final, command)
    except ConfigError:
        build(Config, settings, place)  # the file is at fault where it fails without the overrides
        raise


def _kind_of(recipe: Recipe, known: Sequence[str]) -> str:
    """Of the data that a recipe names, if it is a known one; else the first."""
    first, *others = known
    if not others:
        return first
    settings = merged(_of_kind(first), _settings(recipe, first, []))
    at = _place(recipe, first).at("data")
    given = variant_of(sections_of(kinds(Config)["data"]), settings["data"]["name"], at).kind
    return given if given in others else first


def _refuse_other_kind(settings: Settings, kind: str, place: Place) -> None:
    """Before all else: what is about data that are not the script's would be told of them setting by setting."""
    name, at = settings["data"]["name"], place.at("data")
    given = variant_of(sections_of(kinds(Config)["data"]), name, at).kind
    if given != kind:
        raise at.at("name").error(f"is {name}, of {given}; expected {kind}")


def _of_kind(kind: str) -> Settings:
    """What a recipe of a kind of data has where it says nothing."""
    variant = next(one for one in sections_of(kinds(Config)["data"]) if one.kind == kind)
    return {"data": {"name": variant.tags[0]}, **variant.defaults}


def _settings(recipe: Recipe, kind: str, children: list[Recipe]) -> Settings:
    """The checked settings of a recipe, over those of its parents, of which the later lie over the earlier."""
    content, place = recipe.content, _place(recipe, kind)
    if keys_of(recipe.file, kind) is not None:
        return translated(recipe.file, recipe.name, kind, place, bound(_base, kind=kind))
    if not isinstance(content, dict):
        raise place.error(f"is {shown(content)}; expected a mapping of settings")
    settings: Settings = {}
    way = [*children, recipe]
    for parent in _parents(recipe, place.at("extends")):
        if any(parent.is_same(other) for other in way):
            raise place.at("extends").error(f"goes in a circle: {' -> '.join(_shown([*way, parent]))}")
        settings = merged(settings, _settings(parent, kind, way))
    own = {key: value for key, value in content.items() if key != "extends"}
    return merged(settings, _checked(own, place, merged(_of_kind(kind), settings)))


def _base(parent: str | None, kind: str) -> Settings:
    """What an entry of the published flat format is laid over: one of our recipes, or nothing but defaults."""
    if parent is None:
        return _of_kind(kind)
    ours = read(FOLDER / "adapter_config.yaml")  # by its path, for the user's file may have this name
    return merged(_of_kind(kind), _settings(Recipe(parent, ours), kind, []))


def _place(recipe: Recipe, kind: str) -> Place:
    flat = keys_of(recipe.file, kind) or {}
    return Place(f"{recipe.file.label}: {recipe.name}", aliases={ours: theirs for theirs, ours in flat.items()})


def _checked(given: Settings, place: Place, below: Settings) -> Settings:
    """Settings under the keys of today, checked; keys of before are named in one warning."""
    try:
        given, moved = renamed(given, below)
    except ConfigError as error:
        raise place.error(str(error)) from None
    if moved:
        told = ", ".join(f"{old} is {new}" for new, old in moved.items())
        warnings.warn(f"{place.source}: keys have moved: {told}; the old ones still work", SettingWarning, stacklevel=2)
        place = replace(place, aliases={**place.aliases, **moved})
    return partial(Config, given, place, below)


def _parents(recipe: Recipe, at: Place) -> list[Recipe]:
    """The recipes that ``extends`` names."""
    if "extends" not in recipe.content:
        return []
    given = recipe.content["extends"]
    if not isinstance(given, str | list) or not given:
        raise at.error(f"is {shown(given)}; expected the name of a recipe, as NAME or FILE:NAME, or a list of them")
    parents: list[Recipe] = []
    for number, reference in enumerate(given if isinstance(given, list) else [given]):
        here = at.at(number) if isinstance(given, list) else at
        parent = _referred(reference, recipe, here)
        if parent.is_suite:
            raise here.error(f"is '{reference}', a suite; expected a recipe")
        if any(parent.is_same(other) for other in parents):
            raise at.error(f"has '{reference}' twice; expected each parent once")
        parents.append(parent)
    return parents


def _referred(reference: Any, recipe: Recipe, at: Place) -> Recipe:
    """The recipe of the same namespace, or that of another file as FILE:NAME."""
    if not isinstance(reference, str):
        raise at.error(f"is {shown(reference)}; expected the name of a recipe, as NAME or FILE:NAME")
    file, colon, name = reference.rpartition(":")
    asking = f"{at.source}: {at.key}"
    if not colon:
        return _recipe(recipe.source, name, asking, recipe)
    if not file:
        raise at.error(f"is '{reference}'; expected the name of a recipe, as NAME or FILE:NAME")
    try:
        source = read(file, beside=recipe.file.path.parent)
    except ConfigError as error:
        raise ConfigError(f"{asking}: {error}") from None
    return _recipe(source, name, f"{asking}: {source.file.label}", recipe)


def _shown(way: list[Recipe]) -> list[str]:
    """Names, with their files where these differ."""
    is_one = len({recipe.file.label for recipe in way}) == 1
    return [recipe.name if is_one else f"{recipe.file.label}:{recipe.name}" for recipe in way]


def _override(text: str, settings: Settings, place: Place) -> Settings:
    """One key=value of the command line as checked settings."""
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise place.error(f"{text!r} is no setting; expected key=value, such as train.epochs=3")
    _refuse_absent(names, settings, place)
    given: Any = parse(value, f"{place.source}: {key}")
    for name in reversed(names):
        given = {name: given}
    return _checked(given, place, settings)


def _refuse_absent(names: list[str], settings: Settings, place: Place) -> None:
    """Refuse a setting of a method, under its section of before, that the recipe does not have."""
    method = settings.get("method", {}).get("name", "none")
    if len(names) > 1 and names[0] in METHODS and names[0] != method:
        raise place.at(".".join(names)).error(
            f"the method of this recipe is {method}; expected a recipe with {names[0]}, or all of it as "
            f"method={{name: {names[0]}, ...}}"
        )
