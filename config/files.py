"""Recipe files: which one is meant, which names can be meant in it, and how its YAML is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from config.schema import ConfigError
from config.words import shown, suggestion

FOLDER = Path(__file__).parent
FAMILIES = {"config_1.yaml": "mnist", "adapter_config.yaml": "imagenet"}  # published file: the folder of its families
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
        path: where it is.
        recipes: name to content, unchecked except for its names.
    """

    label: str
    path: Path
    recipes: dict[str, Any]


class Source(NamedTuple):
    """A file that is asked for recipes.

    Args:
        file: the file itself.
        names: what it lists: its own recipes, and of a published file those of its families too.
        files: all names that can be meant in it, each with the file in which it stands. A published file and its
            families are one namespace; any other file is alone.
    """

    file: File
    names: list[str]
    files: dict[str, File]


def read(name: str | Path, beside: Path = Path()) -> Source:
    """Read a recipe file, and those that share its namespace.

    Args:
        name: a path, or the name of a file in ``config/``, such as ``mnist/small.yaml``.
        beside: the folder in which a relative path starts.
    """
    file = _file(_find(name, beside))
    files: dict[str, File] = {}
    shared = _sharing(file.path)
    for path in shared:
        other = file if path.resolve() == file.path.resolve() else _file(path)
        for recipe in other.recipes:
            if recipe in files:
                raise ConfigError(f"{other.label}: {recipe} stands in {files[recipe].label} too; expected another name")
            files[recipe] = other
    is_first = file.path.resolve() == shared[0].resolve()
    return Source(file, list(files if is_first else file.recipes), files)


def _sharing(path: Path) -> list[Path]:
    """The files whose names are one namespace with those of this one, the published file first."""
    for published, family in FAMILIES.items():
        paths = [FOLDER / published, *sorted((FOLDER / family).glob("*.yaml"))]
        if path.resolve() in [other.resolve() for other in paths]:
            return paths
    return [path]


def _find(name: str | Path, beside: Path) -> Path:
    """The path of a file that is there."""
    path = beside / name
    known = sorted(other.relative_to(FOLDER).as_posix() for other in FOLDER.rglob("*.yaml"))
    if path.exists():
        return path
    if str(name) in known:
        return FOLDER / name
    hint = suggestion(name, known) or suggestion(path.name, known)
    hint = hint or f"The folder config/ has {', '.join(known) or 'none'}"
    raise ConfigError(f"{_label(path)}: no such file; expected a path, or a name in config/. {hint}")


def home_of(name: str) -> str | None:
    """The file in ``config/`` that a recipe stands in, as ``read`` takes it."""
    paths = sorted(FOLDER.rglob("*.yaml"))
    return next((path.relative_to(FOLDER).as_posix() for path in paths if name in _file(path).recipes), None)


def script_of(file: str) -> str | None:
    """The script that runs the recipes of a file in ``config/``; parts that recipes share are run by none."""
    family = FAMILIES.get(file, Path(file).parent.name)
    return f"train_{family}.py" if family else None


def _label(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _file(path: Path) -> File:
    """A file and its recipes."""
    label = _label(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label}: cannot be read as a text file ({error})") from None
    content = parse(text, label)
    if not isinstance(content, dict) or not content:
        given = "empty" if content in (None, {}) else shown(content)
        raise ConfigError(f"{label}: is {given}; expected a mapping of recipe names to recipes")
    for name in content:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            hint = "" if isinstance(name, str) else ". Put it in quotes, or it is no text"
            raise ConfigError(
                f"{label}: a recipe is named {shown(name)}; expected letters, digits, '_', '-' and '.'{hint}"
            )
    return File(label, path, content)


def parse(text: str, label: str) -> Any:
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
