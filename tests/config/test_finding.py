"""Which recipes a name stands for, and what is said where it stands for none."""

from pathlib import Path

import pytest

from config.files import FOLDER
from config.load import load_recipes, recipe_names
from tests.config.reading import MODEL, message, only


def test_circles_and_suites_are_no_parents(write) -> None:
    file = write(
        f"a: {{extends: b}}\nb: {{extends: c}}\nc: {{extends: a}}\nd: {{extends: s}}\ns: {{suite: [e]}}\ne: {{{MODEL}}}"
    )
    assert message(only, file, "a") == "recipes.yaml: c: extends: goes in a circle: a -> b -> c -> a"
    assert message(only, file, "d") == "recipes.yaml: d: extends is 's', a suite; expected a recipe"
    own = message(only, write(f"a: {{{MODEL}, extends: a}}"), "a")
    assert own == "recipes.yaml: a: extends: goes in a circle: a -> a"


def test_a_suite_is_its_members_in_order(write) -> None:
    file = write(f"a: {{{MODEL}}}\nb: {{extends: a, train: {{epochs: 9}}}}\nall: {{suite: [b, a]}}")
    assert [(name, config.train.epochs) for name, config in load_recipes(file, "all")] == [("b", 9), ("a", 60)]
    assert [config.train.epochs for _, config in load_recipes(file, "all", ["train.epochs=3"])] == [3, 3]
    assert recipe_names(file) == ["a", "b", "all"]


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("{suite: [a], train: {epochs: 3}}", "s: has suite beside train; expected suite alone"),
        ("{suite: []}", "s: suite is []; expected a list of recipe names"),
        ("{suite: a}", "s: suite is 'a'; expected a list of recipe names"),
        ("{suite: [a, aa]}", "s: suite: there is no recipe 'aa'. Did you mean 'a'?"),
        ("{suite: [a, s]}", "s: suite has 's', which is a suite; expected recipes"),
        ("{suite: [a, a]}", "s: suite has 'a' twice; expected each member once"),
    ],
)
def test_a_suite_lists_other_recipes(write, suite: str, words: str) -> None:
    file = write(f"a: {{{MODEL}}}\ns: {suite}")
    assert message(load_recipes, file, "s") == f"recipes.yaml: {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "recipes.yaml: is empty; expected a mapping of recipe names to recipes"),
        ("# nothing\n", "recipes.yaml: is empty"),
        ("{}", "recipes.yaml: is empty"),
        ("- a\n- b\n", "recipes.yaml: is ['a', 'b']; expected a mapping of recipe names to recipes"),
        ("a: {b: [}\n", "recipes.yaml: line 1: this is not YAML: "),
        ("a:\n  b: 1\n c: 2\n", "recipes.yaml: line 3: this is not YAML: "),
        (
            "a: !!python/object:os.system {}",
            "recipes.yaml: line 1: this is not YAML: could not determine a constructor",
        ),
        ("a: {b: 2024-13-45}", "recipes.yaml: this is not YAML: month must be in 1..12"),
        ("a: {b: \x07}", "recipes.yaml: this is not YAML: "),
        ("a: 1\n---\nb: 2\n", "recipes.yaml: line 2: this is not YAML: "),
        ("a: {? [1] : 2}", "recipes.yaml: line 1: this is not YAML: found unhashable key"),
        ("1: {}\n", "recipes.yaml: a recipe is named 1; expected letters"),
        (
            "off: {}\n",
            "recipes.yaml: a recipe is named false; expected letters, digits, '_', '-' and '.'. Put it in quotes",
        ),
        ("a/b: {}\n", "recipes.yaml: a recipe is named 'a/b'; expected letters"),
        ("a: 3\n", "recipes.yaml: a: is 3; expected a mapping of settings"),
        ("a:\n", "recipes.yaml: a: is null; expected a mapping of settings"),
        ("a: {}\nb: {}\na: {}\n", "recipes.yaml: a stands twice, in lines 1 and 3; expected once"),
        (
            "a:\n  train:\n    epochs: 1\n    epochs: 2\n",
            "recipes.yaml: a: train.epochs stands twice, in lines 3 and 4; expected once",
        ),
        (
            "a:\n  method:\n    sites: [{stage: 1, stage: 2}]\n",
            "recipes.yaml: a: method.sites.stage stands twice, in lines 3 and 3; expected once",
        ),
    ],
)
def test_a_file_that_holds_no_recipes_is_reported(write, text: str, words: str) -> None:
    assert message(load_recipes, write(text), "a").startswith(words)


def test_missing_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = message(load_recipes, "config_2.yaml", "a")
    assert words.startswith("config_2.yaml: no such file; expected a path, or a name in config/. ")
    assert "Did you mean 'config_1.yaml'?" in words
    assert "no such file" in message(load_recipes, "other/config_1.yaml", "a")
    (tmp_path / "folder").mkdir()
    assert "folder: cannot be read as a text file" in message(load_recipes, "folder", "a")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    assert "bytes.yaml: cannot be read as a text file" in message(load_recipes, "bytes.yaml", "a")


def test_bare_names_are_looked_up_in_config(write) -> None:
    assert "swin_transformer" in recipe_names("config_1.yaml")
    assert recipe_names(FOLDER / "config_1.yaml") == recipe_names("config_1.yaml")
    write(f"mine: {{{MODEL}}}", "config_1.yaml")
    assert recipe_names("config_1.yaml") == ["mine"]


def test_a_recipe_must_be_there_and_be_named(write) -> None:
    file = write(f"swin: {{{MODEL}}}\nvit: {{{MODEL}}}")
    assert message(load_recipes, file, "swim") == "recipes.yaml: there is no recipe 'swim'. Did you mean 'swin'?"
    assert message(load_recipes, file, "zzz") == "recipes.yaml: there is no recipe 'zzz'. Expected one of swin, vit"
    assert message(load_recipes, file) == "recipes.yaml: no recipe is named; expected one of swin, vit"


@pytest.mark.parametrize(
    ("file", "name", "home", "way"),
    [
        ("scale/stir.yaml", "stl10", "scale/stl10.yaml", "python train_scale.py --config_file scale/stl10.yaml"),
        (
            "scale/stir.yaml",  # which has an mnist_rescale
            "mnist_scale_quick",
            "scale/mnist_scale.yaml",
            "python train_scale.py --config_file scale/mnist_scale.yaml",
        ),
        (
            "dense/small.yaml",
            "voc_vit_base",
            "dense/pictures.yaml",
            "python train_dense.py --config_file dense/pictures.yaml",
        ),
        ("config_1.yaml", "emoji_disco", "scale/stir.yaml", "python train_scale.py --config_file scale/stir.yaml"),
        ("scale/stir.yaml", "vit", "config_1.yaml", "python train_mnist.py --config_file config_1.yaml"),
        ("config_1.yaml", "dem_vit", "adapter_config.yaml", "python train_imagenet.py --config_file adapter_config"),
    ],
)
def test_a_recipe_of_another_file_is_told_with_its_command(file: str, name: str, home: str, way: str) -> None:
    words = f"config/{file}: there is no recipe '{name}'. It stands in config/{home}: {way}"
    told = message(load_recipes, file, name)
    assert told.replace(f"{FOLDER}/", "config/").startswith(words) and told.endswith(f" --config {name}")


def test_a_parent_of_another_file_is_told_as_it_is_named_there(write) -> None:
    file = write("a: {extends: small_base}\nb: {extends: aa}\ns: {suite: [small_base]}\n")
    told = "there is no recipe 'small_base'. It stands in config/mnist/small.yaml: extends: mnist/small.yaml:small_base"
    assert message(load_recipes, file, "a") == f"recipes.yaml: a: extends: {told}"
    assert message(load_recipes, file, "s") == f"recipes.yaml: s: suite: {told}"
    part = "It stands in config/networks.yaml: extends: networks.yaml:light_dec"  # which no script runs by itself
    assert message(load_recipes, file, "light_dec") == f"recipes.yaml: there is no recipe 'light_dec'. {part}"


def test_a_recipe_is_not_offered_as_its_own_parent(write) -> None:
    file = write("mine: {extends: minee}\n")
    assert (
        message(load_recipes, file) == "recipes.yaml: mine: extends: there is no recipe 'minee'. There is no other one"
    )


def test_of_many_recipes_some_are_told_with_their_number() -> None:
    told = message(load_recipes, "config_1.yaml", "zzzz")
    assert f"Expected one of {len(recipe_names('config_1.yaml'))}, such as " in told and len(told) < 250


def test_of_ten_recipes_all_are_told(write) -> None:
    names = [f"r{number}" for number in range(10)]
    told = message(load_recipes, write("".join(f"{name}: {{{MODEL}}}\n" for name in names)), "zzzz")
    assert told.endswith(f"Expected one of {', '.join(names)}")
