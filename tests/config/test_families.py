"""Recipes over several parents, of other files too, and files whose names are one namespace."""

from pathlib import Path

import pytest

import config.files
from config.load import load_recipes, recipe_names
from config.schema import Config, ConfigError
from layers.spec import DEC, Plain

MODEL = "model: {backbone: resnet18}"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a file below the current folder, in which config/ is ours to fill."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config.files, "FOLDER", tmp_path / "config")
    (tmp_path / "config").mkdir()

    def writer(name: str, text: str) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, "utf-8")
        return name

    return writer


@pytest.fixture
def family(write):
    """A published file and two of its families."""
    write("config/config_1.yaml", f"published: {{{MODEL}}}\nmine: {{extends: small_dem}}\n")
    write("config/mnist/light.yaml", "light: {suite: [small, light_dem]}\nlight_dem: {extends: small}\n")
    write("config/mnist/small.yaml", "small: {extends: published, train: {epochs: 9}}\nsmall_dem: {extends: small}\n")
    return write


def only(file: str, name: str | None = None) -> Config:
    ((_, config),) = load_recipes(file, name)
    return config


def message(file: str, name: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipes(file, name)
    return str(caught.value)


def test_later_parents_win_and_the_recipe_itself_wins_over_all(write) -> None:
    file = write(
        "recipes.yaml",
        """
network:
  model: {backbone: vit, image_size: 64, options: {a: 1}}
  method: {name: dec, sites: [{stage: 0}, {stage: 1}], solver: {max_steps: 9}}
  train: {epochs: 1, batch_size: 2, canonicalizer_lr: 0.5}
data: {model: {backbone: resnet18, options: {b: 2}}, train: {epochs: 3, batch_size: 4}}
both: {extends: [network, data], train: {batch_size: 5}}
other: {extends: [data, network]}
without: {extends: [both, data], method: {name: none}}
single: {extends: [both]}
""",
    )
    both = only(file, "both")
    assert (both.model.backbone, both.model.image_size, both.model.options) == ("resnet18", 64, {"a": 1, "b": 2})
    assert (both.train.epochs, both.train.batch_size, both.train.canonicalizer_lr) == (3, 5, 0.5)
    assert isinstance(both.method, DEC) and len(both.method.sites) == 2 and both.method.solver.max_steps == 9
    other = only(file, "other")
    assert (other.model.backbone, other.train.epochs, other.train.batch_size) == ("vit", 1, 2)
    assert only(file, "without").method == Plain()
    assert only(file, "single") == both


def test_two_ways_may_lead_to_one_parent(write) -> None:
    file = write(
        "recipes.yaml",
        f"a: {{{MODEL}}}\nb: {{extends: a, train: {{epochs: 2}}}}\nc: {{extends: a, warp: {{probability: 0.5}}}}\n"
        "d: {extends: [b, c]}",
    )
    config = only(file, "d")
    assert (config.train.epochs, config.warp.probability) == (2, 0.5)


def test_a_parent_of_another_file_is_looked_up_beside_the_asking_file_then_in_config(write) -> None:
    write("config/base.yaml", f"a: {{{MODEL}, train: {{epochs: 1}}}}\n")
    write("config/more/base.yaml", "a: {model: {backbone: vit}}\n")
    mine = write(
        "sub/mine.yaml", "b: {extends: base.yaml:a}\nc: {extends: more/base.yaml:a}\nd: {extends: ../up.yaml:a}"
    )
    write("up.yaml", "a: {extends: sub/base.yaml:a}")  # from its own folder, whoever asks
    assert only(mine, "b").train.epochs == 1
    assert only(mine, "c").model.backbone == "vit"
    write("sub/base.yaml", f"a: {{{MODEL}, train: {{epochs: 2}}}}\n")
    assert only(mine, "b").train.epochs == 2 and only(mine, "d").train.epochs == 2
    write("abs.yaml", f"e: {{extends: '{Path('sub/base.yaml').resolve()}:a'}}")
    assert only("abs.yaml").train.epochs == 2


def test_a_published_flat_file_may_hold_the_parent(write) -> None:
    write("flat.yaml", "base_config: {model: vit, batch_size: 7}\nvit: {epochs: 3, outer_lr: 0.5}\n")
    config = only(write("mine.yaml", "mine: {extends: flat.yaml:vit, train: {epochs: 4}}"))
    assert (config.train.batch_size, config.train.backbone_lr, config.train.epochs) == (7, 0.5, 4)


def test_mistakes_are_told_in_the_file_that_made_them(write) -> None:
    write("other.yaml", f"a: {{{MODEL}, train: {{epoch: 2}}}}\ns: {{suite: [a]}}\nb: {{extends: zzz}}\n")
    write("broken.yaml", "a: [\n")
    file = write(
        "mine.yaml",
        "one: {extends: other.yaml:a}\ntwo: {extends: [other.yaml:s]}\nthree: {extends: other.yaml:c}\n"
        "four: {extends: broken.yaml:a}\nfive: {extends: other.yaml:b}\nsix: {extends: sub/other.yaml:a}\n",
    )
    assert message(file, "one").startswith("other.yaml: a: train.epoch: unknown key. Did you mean 'epochs'?")
    assert message(file, "two") == "mine.yaml: two: extends[0] is 'other.yaml:s', a suite; expected a recipe"
    three = "mine.yaml: three: extends: other.yaml: there is no recipe 'c'. Expected one of a, s, b"
    assert message(file, "three") == three
    assert message(file, "four").startswith("mine.yaml: four: extends: broken.yaml: line 2: this is not YAML")
    assert message(file, "five").startswith("other.yaml: b: extends: there is no recipe 'zzz'. ")
    assert message(file, "six").startswith("mine.yaml: six: extends: sub/other.yaml: no such file; expected a path, or")


def test_circles_are_found_across_files(write) -> None:
    write("one.yaml", f"a: {{extends: two.yaml:b}}\nok: {{{MODEL}}}")
    write("two.yaml", "b: {extends: [one.yaml:ok, one.yaml:a]}")
    found = "two.yaml: b: extends: goes in a circle: one.yaml:a -> two.yaml:b -> one.yaml:a"
    assert message("one.yaml", "a") == found
    write("own.yaml", "a: {extends: own.yaml:a}")
    assert message("own.yaml") == "own.yaml: a: extends: goes in a circle: a -> a"


def test_a_published_file_and_its_families_are_one_namespace(family) -> None:
    assert recipe_names("config_1.yaml") == ["published", "mine", "light", "light_dem", "small", "small_dem"]
    assert recipe_names("mnist/small.yaml") == recipe_names("config/mnist/small.yaml") == ["small", "small_dem"]
    for file in (
        "config_1.yaml",
        "config/config_1.yaml",
        "mnist/small.yaml",
        str(Path("config/config_1.yaml").resolve()),
    ):
        assert only(file, "small_dem").train.epochs == 9
    for file in ("config_1.yaml", "mnist/light.yaml"):
        assert [name for name, _ in load_recipes(file, "light")] == ["small", "light_dem"]
    assert only("config_1.yaml", "mine") == only("mnist/light.yaml", "light_dem")
    family("my.yaml", "a: {extends: config_1.yaml:small}\nb: {extends: mnist/small.yaml:small}")
    assert only("my.yaml", "a") == only("my.yaml", "b") == only("config_1.yaml", "small")


def test_a_users_file_of_a_published_name_is_alone(family) -> None:
    family("config_1.yaml", f"own: {{{MODEL}}}\nchild: {{extends: small}}\n")
    family("mnist/small.yaml", f"small: {{{MODEL}}}\n")
    assert recipe_names("config_1.yaml") == ["own", "child"] and recipe_names("mnist/small.yaml") == ["small"]
    told = message("config_1.yaml", "small")
    assert told.startswith("config_1.yaml: there is no recipe 'small'. It stands in config/mnist/small.yaml: python ")
    assert message("config_1.yaml", "child").startswith("config_1.yaml: child: extends: there is no recipe 'small'.")


def test_messages_name_the_file_in_which_the_recipe_stands(family) -> None:
    family("config/mnist/wrong.yaml", f"a: {{{MODEL}, train: {{epoch: 2}}}}\ns: {{suite: [aa]}}\nc: {{extends: smal}}")
    assert message("config_1.yaml", "a").startswith("config/mnist/wrong.yaml: a: train.epoch: unknown key")
    assert message("config_1.yaml", "s").startswith("config/mnist/wrong.yaml: s: suite: there is no recipe 'aa'. Did")
    assert message("config_1.yaml", "c") == (
        "config/mnist/wrong.yaml: c: extends: there is no recipe 'smal'. Did you mean 'small'?"
    )
    assert message("config_1.yaml", "smal") == "config/config_1.yaml: there is no recipe 'smal'. Did you mean 'small'?"
    listed = ", ".join(recipe_names("config_1.yaml"))
    assert message("config_1.yaml") == f"config/config_1.yaml: no recipe is named; expected one of {listed}"
    assert message("mnist/small.yaml").endswith("small.yaml: no recipe is named; expected one of small, small_dem")


@pytest.mark.parametrize("asked", ["config_1.yaml", "mnist/small.yaml", "mnist/twice.yaml"])
def test_a_name_that_stands_in_two_files_is_refused_with_both(family, asked: str) -> None:
    family("config/mnist/twice.yaml", f"small: {{{MODEL}}}\n")
    assert message(asked, "published") == (
        "config/mnist/twice.yaml: small stands in config/mnist/small.yaml too; expected another name"
    )


def test_a_missing_file_is_told_with_those_of_the_families(family) -> None:
    words = message("mnist/smal.yaml", "small")
    assert words.startswith("mnist/smal.yaml: no such file; expected a path, or a name in config/. ")
    assert words.endswith("Did you mean 'mnist/small.yaml'?")
    assert message("zzz", "a").endswith("The folder config/ has config_1.yaml, mnist/light.yaml, mnist/small.yaml")
