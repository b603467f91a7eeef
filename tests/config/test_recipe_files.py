"""The files in config/ as texts: what they say about their recipes, and that they say nothing twice."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.files import FAMILIES, FOLDER, read
from config.load import load_recipes, recipe_names, to_dict
from models.light import LIGHT

FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
RECIPES = [(file, name) for file in FILES for name in read(FOLDER / file).file.recipes]
COMMANDS = {
    "config_1.yaml": "bash run_mnist.sh config_1.yaml NAME SEED",
    "adapter_config.yaml": "python train_imagenet.py --config NAME --data_dir DIR",
    "networks.yaml": "python train_imagenet.py --config_file networks.yaml --config NAME --data_dir DIR",
    "mnist": "bash run_mnist.sh config_1.yaml NAME ",
    "imagenet": "python train_imagenet.py --config NAME",
    "scale": "python train_scale.py --config NAME",
    **{
        f"scale/{name}.yaml": f"python train_scale.py --config_file scale/{name}.yaml --config NAME"
        for name in ("mnist_scale", "local", "stl10")
    },
    "dense": "python train_dense.py --config",
}

every_file = pytest.mark.parametrize("file", FILES)
every_recipe = pytest.mark.parametrize(("file", "name"), RECIPES, ids=[name for _, name in RECIPES])


def kind_of(file: str) -> str | tuple[str, ...]:
    """Of the data that a file's recipes are about; of scaled networks, all that their script takes."""
    if file.startswith("scale"):
        return ("stir", "scaled", "digits")
    kinds = {"dense": "dense", "adapter": "pictures", "imagenet": "pictures"}
    return next((kind for start, kind in kinds.items() if file.startswith(start)), "digits")


def header(file: str) -> str:
    return (FOLDER / file).read_text("utf-8").split("\n\n")[0]


def not_run(file: str) -> set[str]:
    """The names that the header lists as such."""
    listed = re.search(r"# Not yet run.*?: (.*?)\.", header(file), re.DOTALL)
    return set(re.findall(r"\w+", listed[1])) if listed else set()


def content_of(file: str, name: str) -> Any:
    return read(FOLDER / file).file.recipes[name]


@every_file
def test_a_file_begins_with_what_it_is_for_how_it_is_run_and_what_to_expect(file: str) -> None:
    lines = header(file).splitlines()
    assert all(line.startswith("#") for line in lines) and not lines[0].startswith(("# Run:", "# Expect:"))
    part = "# Run:" + header(file).partition("# Run:")[2]
    commands = [re.split(r"    \(", line[10:])[0] for line in part.splitlines() if re.match(r"#( Run:|   ) {4}", line)]
    assert any(command.startswith(COMMANDS[file if file in COMMANDS else file.split("/")[0]]) for command in commands)
    named = {name for command in commands for name in re.findall(r"--config (\S+)", command)}
    assert named <= {"NAME", *recipe_names(FOLDER / file)}
    is_published = file in ("config_1.yaml", "adapter_config.yaml", "networks.yaml")
    if not is_published and file != "mnist/quickstart.yaml":  # that suite runs if nothing is named
        assert named >= {name for name in recipe_names(FOLDER / file) if "suite" in content_of(file, name)}
    assert "# Expect: " in header(file) or not_run(file) == set(recipe_names(FOLDER / file))


@every_recipe
def test_every_recipe_says_what_to_expect_unless_its_file_does(file: str, name: str) -> None:
    text = (FOLDER / file).read_text("utf-8")
    about = text.split(f"\n{name}:\n")[1].split("\n\n")[0]
    assert "# Run:" not in about and "not yet run" not in about.lower()
    if file in FAMILIES:
        assert "none of them has been trained to its end here" in header(file) and "# Expect" not in about
    elif "suite" not in content_of(file, name):
        assert ("\n  # Expect: " in f"\n{about}") != (name in not_run(file))


@every_file
def test_a_header_lists_as_not_run_what_there_is(file: str) -> None:
    assert not_run(file) <= set(recipe_names(FOLDER / file))


@every_file
def test_lines_are_no_longer_than_120(file: str) -> None:
    assert all(len(line) <= 120 for line in (FOLDER / file).read_text("utf-8").splitlines())


def same(own: dict, below: dict) -> list[str]:
    """The keys under which both have the same."""
    found = []
    for key, value in own.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            found += [f"{key}.{inner}" for inner in same(value, under)]
        elif key in below and under == value:
            found.append(key)
    return found


@every_recipe
def test_a_recipe_states_only_what_differs_from_its_parents(file: str, name: str, tmp_path: Path) -> None:
    content = content_of(file, name)
    if "suite" in content:
        return
    parents: Any = {"model": {"backbone": ""}}
    if "extends" in content:
        names = content["extends"] if isinstance(content["extends"], list) else [content["extends"]]
        parents = {"extends": [f"{FOLDER / one}" if ":" in one else f"{FOLDER / file}:{one}" for one in names]}
    (tmp_path / "below.yaml").write_text(yaml.safe_dump({"below": parents}))
    ((_, own_config),) = load_recipes(file, name, kind=kind_of(file))
    ((_, below),) = load_recipes(tmp_path / "below.yaml", kind=own_config.data.kind)
    own = {key: value for key, value in content.items() if key != "extends"}
    names = ("method.name", "data.name")  # they say which keys are meant
    assert [key for key in same(own, to_dict(below)) if key not in names] == []


@every_recipe
def test_a_recipe_is_found_by_its_own_file_and_by_the_published_one(file: str, name: str) -> None:
    kind = kind_of(file)
    expected = load_recipes(file, name, kind=kind)
    published = {family: name for name, family in FAMILIES.items()}.get(file.split("/")[0], file)
    assert load_recipes(published, name, kind=kind) == expected
    assert load_recipes(FOLDER / published, name, kind=kind) == expected
    assert name in recipe_names(file) and name in recipe_names(published)


def test_the_light_dec_of_the_recipes_is_that_of_the_models() -> None:
    for kind in ("digits", "pictures"):
        ((_, config),) = load_recipes("networks.yaml", "light_dec", kind=kind)
        assert config.method == LIGHT
