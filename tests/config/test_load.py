"""Reading recipe files: what is merged, what is refused with which words, overrides, suites, and the way back."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from config.convert import dotted_keys, kinds, section_of
from config.files import FOLDER, parse
from config.imagenet import ImageNetConfig
from config.load import dump, load_recipes, recipe_names, to_dict
from config.schema import Config, ConfigError, ModelConfig, TrainConfig
from layers.spec import DEC, Candidates, Energy, Site, Solver

MODEL = "model: {backbone: resnet18}"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes recipes.yaml into the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def writer(text: str, name: str = "recipes.yaml") -> str:
        Path(name).write_text(text, "utf-8")
        return name

    return writer


def only(file: str, name: str | None = None, *overrides: str) -> Config:
    ((_, config),) = load_recipes(file, name, overrides)
    return config


def message(call, *args) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args)
    return str(caught.value)


def test_what_a_recipe_leaves_out_has_the_default(write) -> None:
    assert only(write(f"a: {{{MODEL}}}")) == Config(model=ModelConfig(backbone="resnet18"))


def test_children_merge_mappings_and_replace_lists(write) -> None:
    file = write("""
grandparent:
  model: {backbone: resnet18, options: {drop_rate: 0.1, act_layer: gelu}}
  train: {epochs: 7, schedule: {name: step, factor: 0.3}}
  dec: {sites: [{stage: 0}, {stage: 1}], solver: {max_steps: 9}}
parent: {extends: grandparent, train: {backbone_lr: 0.5, schedule: {factor: 0.4}}, model: {options: {drop_rate: 0.2}}}
child: {extends: parent, dec: {sites: [{stage: image, grid_size: 6}]}}
without: {extends: child, dec: null}
again: {extends: without, dec: {sites: [{stage: 3}]}}
""")
    child = only(file, "child")
    assert child.model.options == {"drop_rate": 0.2, "act_layer": "gelu"}
    assert (child.train.epochs, child.train.backbone_lr) == (7, 0.5)
    assert (child.train.schedule.name, child.train.schedule.factor) == ("step", 0.4)
    assert child.dec == DEC(sites=(Site(stage="image", grid_size=6),), solver=Solver(max_steps=9))
    assert only(file, "without") == replace(child, dec=None)
    assert only(file, "again").dec == DEC(sites=(Site(stage=3),))


def test_values_arrive_in_their_types(write) -> None:
    config = only(
        write(f"""
a:
  {MODEL}
  data: {{scales: [[1, 2], [0.5, 1.5], [1, 1]]}}
  energy: {{sites: [{{stage: 0}}, {{stage: 1}}], learning_rate: [0.1, 1], betas: [0, 0.5]}}
  train: {{backbone_lr: 1e-4, canonicalizer_lr: 1, weight_decay: 2E-3, amp: off, backbone_clip: null}}
""")
    )
    assert config.data.scales == ((1.0, 2.0), (0.5, 1.5), (1.0, 1.0))
    assert config.energy is not None and config.energy.learning_rate == (0.1, 1.0)
    train = config.train
    assert (train.backbone_lr, train.canonicalizer_lr, train.weight_decay) == (1e-4, 1.0, 2e-3)
    assert isinstance(train.canonicalizer_lr, float) and train.amp == "off" and train.backbone_clip is None
    assert only("recipes.yaml", None, "energy.learning_rate=0.2").energy.learning_rate == 0.2


def test_numbers_with_an_exponent_are_numbers_in_free_options_too(write) -> None:
    config = only(write("a: {model: {backbone: x, options: {rate: 1e-1, name: '1e-1'}}}"))
    assert config.model.options == {"rate": 0.1, "name": "1e-1"}
    assert only(write(dump("a", config))) == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trainn: {}", "trainn: unknown key. Did you mean 'train'?"),
        ("train: {epoch: 3}", "train.epoch: unknown key. Did you mean 'epochs'?"),
        ("patience: 3", "patience: unknown key. Did you mean 'train.schedule.patience'?"),
        ("grid_size: 3", "grid_size: unknown key. Did you mean 'warp.grid_size'?"),
        (
            "model: {backbone: x, options: {checkpoint_path: f, pretrained_cfg_overlay: {}}}",
            "model.options has checkpoint_path, pretrained_cfg_overlay; weights of a file are named by model.weights",
        ),
        ("warp: {zzz: 3}", "warp.zzz: unknown key. Expected one of grid_size, strength, probability"),
        ("train: {outer_lr: 3}", "train.outer_lr: unknown key. In recipes, the published 'outer_lr' is train.back"),
        ("dec: {sites: [{stage: 0}, {grid: 4}]}", "dec.sites[1].grid: unknown key. Did you mean 'grid_size'?"),
        ("train: {epochs: three}", "train.epochs is 'three'; expected a whole number"),
        ("train: {epochs: 3.0}", "train.epochs is 3.0; expected a whole number"),
        ("train: {epochs: true}", "train.epochs is true; expected a whole number"),
        ("train: {epochs: null}", "train.epochs is null; expected a whole number"),
        ("train: {epochs: '3'}", "train.epochs is '3'; expected a whole number. Leave out the quotes"),
        ("train: {backbone_lr: true}", "train.backbone_lr is true; expected a finite number"),
        ("train: {backbone_lr: '1e-4'}", "train.backbone_lr is '1e-4'; expected a finite number. Leave out the quotes"),
        ("train: {backbone_lr: .nan}", "train.backbone_lr is nan; expected a finite number"),
        ("train: {backbone_lr: .inf}", "train.backbone_lr is inf; expected a finite number"),
        ("train: {ema: None}", "train.ema is the text 'None'; expected a finite number or null. For no value,"),
        ("warm_start: none", "warm_start is the text 'none'; expected text or null. For no value, write null"),
        ("train: {compile: 1}", "train.compile is 1; expected true or false"),
        ("wandb: {project: 7}", "wandb.project is 7; expected text. Put it in quotes"),
        ("data: {root: no}", "data.root is false; expected text. Put it in quotes"),
        ("loss: {equivariance: kll}", "loss.equivariance is 'kll'; expected one of kl, mse, js. Did you mean 'kl'?"),
        ("data: {layout: 3}", "data.layout is 3; expected one of horizontal, vertical, diagonal, all"),
        (
            "dec: {sites: [{stage: imag}]}",
            "dec.sites[0].stage is 'imag'; expected a whole number or one of image, input",
        ),
        ("dec: {sites: [{stage: true}]}", "dec.sites[0].stage is true; expected a whole number or one of image, input"),
        (
            "dec: {sites: [{grid_size: 4}]}",
            "dec.sites[0].stage: missing; expected a whole number or one of image, input",
        ),
        ("dec: {sites: [0]}", "dec.sites[0] is 0; expected a mapping with some of stage, grid_size, restore"),
        ("dec: {channels: [3, 8]}", "dec.sites: missing; expected a list, each a mapping with some of stage"),
        (
            "dec: {sites: [{stage: 0}], pools: 2}",
            "dec.pools is 2; expected a list, each a whole number. Did you mean [2]",
        ),
        ("data: {scales: [[1, 2], [1, two], [1, 2]]}", "data.scales[1][1] is 'two'; expected a finite number"),
        ("data: {scales: [[1, 2], [1], [1, 2]]}", "data.scales[1] is [1]; expected a list of 2, each a finite number"),
        ("energy: {sites: [{stage: 0}], betas: [1]}", "energy.betas is [1]; expected a list of 2"),
        ("energy: {sites: [{stage: 0}], learning_rate: [a]}", "energy.learning_rate[0] is 'a'; expected a finite"),
        ("energy: {sites: [{stage: 0}], learning_rate: a}", "energy.learning_rate is 'a'; expected a finite number or"),
        ("train: 3", "train is 3; expected a mapping with some of epochs, "),
        ("train:", "train is null; expected a mapping"),
        ("model: resnet50", "model is 'resnet50'; expected a mapping with some of backbone, pretrained"),
        ("model: {options: [1]}", "model.options is [1]; expected a mapping"),
        ("model: {pretrained: false}", "model.backbone: missing; expected text"),
        ("3: 4", "3: unknown key"),
        ("train: {epochs: 0}", "train.epochs is 0; expected at least 1"),
        ("train: {schedule: {factor: 2}}", "train.schedule.factor is 2.0; expected between 0 and 1"),
        ("dec: {sites: [{stage: -1}]}", "dec.sites[0].stage is -1; expected 0, 1, ..., image or input"),
        ("loss: {phi_prior: 0.1}", "loss: the phi losses compare two views; set two_views: true"),
        ("train: {canonicalizer_epochs: 2}", "train.canonicalizer_epochs is above 0; it needs a dec or energy section"),
        ("extends: b", "extends: there is no recipe 'b'. Expected one of swin, vit, all"),
        ("extends: swinn", "extends: there is no recipe 'swinn'. Did you mean 'swin'?"),
        ("extends: 3", "extends is 3; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: []", "extends is []; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: null", "extends is null; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: [vit, 3]", "extends[1] is 3; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: [vit, [vit]]", "extends[1] is ['vit']; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: [vit, vit]", "extends has 'vit' twice; expected each parent once"),
        ("extends: [vit, 'recipes.yaml:vit']", "extends has 'recipes.yaml:vit' twice; expected each parent once"),
        ("extends: [vit, swinn]", "extends[1]: there is no recipe 'swinn'. Did you mean 'swin'?"),
        ("extends: [vit, all]", "extends[1] is 'all', a suite; expected a recipe"),
        ("extends: ':vit'", "extends is ':vit'; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: recipe.yaml:vit", "extends: recipe.yaml: no such file; expected a path, or a name in config/. "),
        (
            "extends: config_2.yaml:vit",
            "extends: config_2.yaml: no such file; expected a path, or a name in config/. Did",
        ),
        ("extends: recipes.yaml:vitt", "extends: recipes.yaml: there is no recipe 'vitt'. Did you mean 'vit'?"),
        ("extends: recipes.yaml:all", "extends is 'recipes.yaml:all', a suite; expected a recipe"),
        ("extends: 'recipes.yaml:'", "extends: recipes.yaml: there is no recipe ''. Expected one of swin, vit, all"),
        ("extends: [vit, recipes.yaml:swin]", "extends: goes in a circle: swin -> swin"),
        ("extends: [swin]", "extends: goes in a circle: swin -> swin"),
        ("extends: swin", "extends: goes in a circle: swin -> swin"),
    ],
)
def test_a_wrong_setting_is_reported_with_its_place(write, setting: str, words: str) -> None:
    model = "" if setting.startswith("model") else f"  {MODEL}\n"
    file = write(f"swin:\n{model}  {setting}\nvit: {{{MODEL}}}\nall: {{suite: [vit]}}\n")
    assert message(only, file, "swin").startswith(f"recipes.yaml: swin: {words}")


def test_a_mistake_is_reported_in_the_recipe_that_made_it(write) -> None:
    file = write(f"parent: {{{MODEL}, train: {{epoch: 2}}}}\nchild: {{extends: parent}}")
    assert message(only, file, "child").startswith("recipes.yaml: parent: train.epoch: unknown key")


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
            "a:\n  dec:\n    sites: [{stage: 1, stage: 2}]\n",
            "recipes.yaml: a: dec.sites.stage stands twice, in lines 3 and 3; expected once",
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


def test_overrides_are_read_like_the_file(write) -> None:
    file = write(f"a: {{{MODEL}, dec: {{sites: [{{stage: 0}}]}}}}")
    config = only(file, "a", "train.epochs=3", "train.backbone_lr=1e-4", "dec.strength=.5", "dec.sites=[{stage: 2}]")
    assert (config.train.epochs, config.train.backbone_lr) == (3, 1e-4)
    assert config.dec == DEC(sites=(Site(stage=2),), strength=0.5)
    assert only(file, "a", "dec=null").dec is None
    assert only(file, "a", "dec=null", "dec={sites: [{stage: 1}]}", "dec.strength=.1").dec == DEC(
        sites=(Site(stage=1),), strength=0.1
    )
    assert only(file, "a", "train={epochs: 4}", "train.epochs=5").train == TrainConfig(epochs=5)
    assert only(file, "a", "warm_start=a=b").warm_start == "a=b"
    assert only(file, "a", "model.options.drop_rate=0.1").model.options == {"drop_rate": 0.1}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", "train.epoch: unknown key. Did you mean 'epochs'?"),
        ("train.epochs=three", "train.epochs is 'three'; expected a whole number"),
        ("train.epochs=", "train.epochs is null; expected a whole number"),
        ("train.epochs=0", "train.epochs is 0; expected at least 1"),
        ("train.epochs.x=0", "train.epochs is {'x': 0}; expected a whole number"),
        ("train.epochs=[", "train.epochs: line 1: this is not YAML"),
        ("train={epochs: 1, epochs: 2}", "train: epochs stands twice, in lines 1 and 1; expected once"),
        ("epochs=3", "epochs: unknown key. Did you mean 'train.epochs'?"),
        ("extends=a", "extends: unknown key"),
        ("train.epochs", "'train.epochs' is no setting; expected key=value, such as train.epochs=3"),
        ("=3", "'=3' is no setting; expected key=value"),
        ("train..epochs=3", "'train..epochs=3' is no setting; expected key=value"),
        ("warp.scales[0]=3", "warp.scales[0]: unknown key"),
        ("dec.strength=.5", "dec.strength: dec is null in this recipe; expected a recipe with it, or all"),
        ("candidates.limit=4", "candidates.limit: candidates is null in this recipe"),
        ("dec.solver.tol=.5", "dec.solver.tol: dec is null in this recipe"),
        ("outer_lr=.5", "outer_lr: unknown key. In recipes, the published 'outer_lr' is train.backbone_lr"),
    ],
)
def test_a_wrong_override_is_reported_as_the_command_line(write, override: str, words: str) -> None:
    file = write(f"a: {{{MODEL}}}")
    assert message(only, file, "a", override).startswith(f"command line: a: {words}")


def test_the_file_is_blamed_for_its_own_mistakes(write) -> None:
    file = write(f"a: {{{MODEL}, train: {{epochs: 0}}}}\nb: {{data: {{workers: 0}}}}")
    assert message(only, file, "a", "data.workers=0").startswith("recipes.yaml: a: train.epochs is 0")
    assert only(file, "a", "train.epochs=2").train.epochs == 2
    assert only(file, "b", "model.backbone=vit").model.backbone == "vit"


def test_a_dumped_recipe_is_a_file_that_runs_as_it_stands(write) -> None:
    config = Config(
        model=ModelConfig(backbone="resnet18", image_size=None, options={"a": [1, {"b": "None"}], "c": 1e-7}),
        dec=DEC(sites=(Site(stage="image"), Site(stage=2, restore=True)), input_size=None),
        train=TrainConfig(backbone_lr=3e-5, amp="off"),
        warm_start="1e5",
        output_dir="Läufe: neu # 1",
    )
    file = write(dump("x", config), "config.yaml")
    assert recipe_names(file) == ["x"]
    assert load_recipes(file) == [("x", config)]
    assert yaml.safe_load(dump("x", config)) == {"x": to_dict(config)}


@pytest.mark.parametrize("name", recipe_names("config_1.yaml"))
def test_every_recipe_survives_the_way_back(write, name: str) -> None:
    for member, config in load_recipes("config_1.yaml", name):
        if member == name:
            assert load_recipes(write(dump(member, config))) == [(member, config)]


def test_sections_start_from_the_defaults_of_their_class() -> None:
    def check(cls: type) -> None:
        for entry in fields(cls):
            section = section_of(kinds(cls)[entry.name])
            if section is not None and entry.default is not None and entry.name != "model":
                assert entry.default == section(), f"{cls.__name__}.{entry.name}"
                check(section)

    check(Config)
    check(DEC)
    assert {"train.schedule.name", "dec.solver.tol", "dec", "model.options"} <= set(dotted_keys(Config))


@pytest.mark.parametrize(
    "text",
    [
        "a: {model: {backbone: x, options: &o {again: *o}}}",
        "a: {model: {backbone: x, options: &o {deep: [1, {deeper: *o}]}}}",
        "a: &a {model: {backbone: x}, data: *a}",
        "a: {data: {scales: &s [[0.4, 2.0], *s]}}",
    ],
)
def test_an_alias_inside_of_what_it_names_is_told(write, text: str) -> None:
    file = write(f"# one line above\n{text}\n")
    assert "recipes.yaml: line 2: an alias stands inside of what it names" in message(load_recipes, file)
    with pytest.raises(ConfigError, match="an alias stands inside of what it names"):
        load_recipes(write("a: {model: {backbone: x}}"), "a", ["model.options=&o {again: *o}"])


def test_an_alias_may_stand_many_times() -> None:
    """Each step doubles what is written out: looking at every way through would never end."""
    text = "b0: &b0 [x]\n" + "".join(f"b{k}: &b{k} [*b{k - 1}, *b{k - 1}]\n" for k in range(1, 60))
    assert len(parse(text, "recipes.yaml")) == 60


@pytest.mark.parametrize(
    ("schema", "setting", "words"),
    [
        (ImageNetConfig, "mixup: 0.8", "mixup: unknown key. Did you mean 'augmentation.mixup'?"),
        (ImageNetConfig, "train: {mixup: 0.8}", "train.mixup: unknown key. Did you mean 'augmentation.mixup'?"),
        (ImageNetConfig, "evaluation: {full_ever: 1}", "evaluation.full_ever: unknown key. Did you mean 'full_every'?"),
        # of the other script alone: what was given is never answered with itself
        (ImageNetConfig, "data: {n_digits: 2}", "data.n_digits: unknown key. Expected one of name, root"),
        (Config, "evaluation: {warp_items: 2}", "evaluation.warp_items: unknown key. "),
        (ImageNetConfig, "evaluation: {local_scale_items: 2}", "evaluation.local_scale_items: unknown key. "),
    ],
)
def test_a_misplaced_key_is_looked_for_in_what_the_script_can_run(write, schema, setting: str, words: str) -> None:
    text = message(partial(load_recipes, schema=schema), write(f"a: {{model: {{backbone: x}}, {setting}}}"))
    key = words.partition(":")[0]
    assert words in text and f"Did you mean '{key}'" not in text


def test_a_recipe_nests_the_options_themselves(write) -> None:
    """Whatever a DEC can be told, a recipe can say, with the same defaults and the same checks."""
    text = "dec: {sites: [{stage: 0}], solver: {name: fixed_point, damping: 0.5, backward_steps: 7, early_stop: false}}"
    config = only(write(f"a: {{{MODEL}, {text}}}"))
    solver = Solver("fixed_point", damping=0.5, backward_steps=7, early_stop=False)
    assert config.dec == DEC(sites=(Site(0),), solver=solver)
    words = message(only, write(f"a: {{{MODEL}, dec: {{sites: [{{stage: 0}}], solver: {{max_steps: 2}}}}}}"))
    assert words == "recipes.yaml: a: dec.solver.max_steps is 2; anderson needs a whole number of at least 3"


def test_the_baselines_options_are_nested_too(write) -> None:
    config = only(write(f"a: {{{MODEL}, energy: {{sites: [{{stage: 0}}], pools: [2, 1], betas: [0.9, 0.99]}}}}"))
    assert config.energy == Energy(sites=(Site(0),), pools=(2, 1), betas=(0.9, 0.99))
    config = only(write(f"a: {{{MODEL}, candidates: {{limit: 2, restore: true}}}}"))
    assert config.candidates == Candidates(limit=2, restore=True)
