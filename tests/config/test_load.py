"""Reading recipe files: what is merged, what is refused with which words, overrides, suites, and the way back."""

from dataclasses import MISSING, fields, is_dataclass, replace

import pytest

from config.convert import dotted_keys, kinds, sections_of
from config.files import parse
from config.load import dump, load_recipes
from config.schema import Config, ConfigError, ModelConfig, Phase, TrainConfig
from layers.spec import DEC, Candidates, Energy, Plain, Site, Solver
from tests.config.reading import MODEL, message, only


def test_what_a_recipe_leaves_out_has_the_default(write) -> None:
    assert only(write(f"a: {{{MODEL}}}")) == Config(model=ModelConfig(backbone="resnet18"))


def test_children_merge_mappings_and_replace_lists(write) -> None:
    file = write("""
grandparent:
  model: {backbone: resnet18, options: {drop_rate: 0.1, act_layer: gelu}}
  train: {epochs: 7, schedule: {name: step, factor: 0.3}}
  method: {name: dec, sites: [{stage: 0}, {stage: 1}], solver: {max_steps: 9}}
parent: {extends: grandparent, train: {backbone_lr: 0.5, schedule: {factor: 0.4}}, model: {options: {drop_rate: 0.2}}}
child: {extends: parent, method: {name: dec, sites: [{stage: image, grid_size: 6}]}}
unnamed: {extends: parent, method: {sites: [{stage: image, grid_size: 6}]}}
without: {extends: child, method: {name: none}}
again: {extends: without, method: {name: dec, sites: [{stage: 3}]}}
other: {extends: child, method: {name: energy, sites: [{stage: 3}]}}
""")
    child = only(file, "child")
    assert child.model.options == {"drop_rate": 0.2, "act_layer": "gelu"}
    assert (child.train.epochs, child.train.backbone_lr) == (7, 0.5)
    assert (child.train.schedule.name, child.train.schedule.factor) == ("step", 0.4)
    assert child.method == DEC(sites=(Site(stage="image", grid_size=6),), solver=Solver(max_steps=9))
    assert only(file, "unnamed") == child  # the name is that of the parent
    assert only(file, "without") == replace(child, method=Plain())
    assert only(file, "again").method == DEC(sites=(Site(stage=3),))
    assert only(file, "other").method == Energy(sites=(Site(stage=3),))  # nothing of the dec is left


def test_lists_of_phases_are_replaced(write) -> None:
    file = write(f"""
parent:
  {MODEL}
  method: {{name: dec, sites: [{{stage: 0}}]}}
  train: {{canonicalizer_lr: 0.1, phases: [{{trains: [canonicalizer], epochs: 4, terms: {{task: 0.5}}}}, {{}}]}}
child: {{extends: parent, train: {{phases: [{{trains: [canonicalizer], epochs: 2}}, {{rates: {{backbone: 1e-4}}}}]}}}}
""")
    phases = Phase(trains=("canonicalizer",), epochs=2), Phase(rates={"backbone": 1e-4})
    assert only(file, "child").train.phases == phases
    assert only(file, "parent").weights("task") == [0.5, 1.0]
    assert only(file, "child", "train.phases=[{}]").train.phases == (Phase(),)
    assert only(file, "child").train.epochs_of_phases == [2, 58]


def test_values_arrive_in_their_types(write) -> None:
    config = only(
        write(f"""
a:
  {MODEL}
  data: {{scales: [[1, 2], [0.5, 1.5], [1, 1]]}}
  method: {{name: energy, sites: [{{stage: 0}}, {{stage: 1}}], learning_rate: [0.1, 1], betas: [0, 0.5]}}
  train: {{backbone_lr: 1e-4, canonicalizer_lr: 1, weight_decay: 2E-3, amp: off, backbone_clip: null}}
""")
    )
    assert config.data.scales == ((1.0, 2.0), (0.5, 1.5), (1.0, 1.0))
    assert isinstance(config.method, Energy) and config.method.learning_rate == (0.1, 1.0)
    train = config.train
    assert (train.backbone_lr, train.canonicalizer_lr, train.weight_decay) == (1e-4, 1.0, 2e-3)
    assert isinstance(train.canonicalizer_lr, float) and train.amp == "off" and train.backbone_clip is None
    assert only("recipes.yaml", None, "method.learning_rate=0.2").method.learning_rate == 0.2


def test_numbers_with_an_exponent_are_numbers_in_free_options_too(write) -> None:
    config = only(write("a: {model: {backbone: x, options: {rate: 1e-1, name: '1e-1'}}}"))
    assert config.model.options == {"rate": 0.1, "name": "1e-1"}
    assert only(write(dump("a", config))) == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trainn: {}", "trainn: unknown key. Did you mean 'train'?"),
        ("train: {epoch: 3}", "train.epoch: unknown key. Did you mean 'epochs'?"),
        ("patience: 3", "patience: unknown key. Did you mean 'train.schedule.patience' or 'train.patience'?"),
        ("grid_size: 3", "grid_size: unknown key. Did you mean 'method.grid_size' or 'warp.grid_size'?"),
        (
            "model: {backbone: x, options: {checkpoint_path: f, pretrained_cfg_overlay: {}}}",
            "model.options has checkpoint_path, pretrained_cfg_overlay; weights of a file are named by model.weights",
        ),
        ("warp: {zzz: 3}", "warp.zzz: unknown key. Expected one of grid_size, strength, strengths, probability"),
        ("train: {outer_lr: 3}", "train.outer_lr: unknown key. In recipes, the published 'outer_lr' is train.back"),
        (
            "method: {name: dec, sites: [{stage: 0}, {grid: 4}]}",
            "method.sites[1].grid: unknown key. Did you mean 'grid_size'?",
        ),
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
        (
            "loss: {equivariance: {distance: kll}}",
            "loss.equivariance.distance is 'kll'; expected one of kl, mse, js. Did you mean 'kl'?",
        ),
        ("loss: {equivariance: 3}", "loss.equivariance is 3; expected a mapping with some of weight, distance"),
        ("data: {layout: 3}", "data.layout is 3; expected one of horizontal, vertical, diagonal, all"),
        (
            "method: {name: dec, sites: [{stage: true}]}",
            "method.sites[0].stage is true; expected a whole number or text",
        ),
        ("method: {name: dec, sites: [{grid_size: 4}]}", "method.sites[0].stage: missing; expected a whole number or"),
        (
            "method: {name: dec, sites: [0]}",
            "method.sites[0] is 0; expected a mapping with some of stage, grid_size, restore",
        ),
        (
            "method: {name: dec, channels: [3, 8]}",
            "method.sites: missing; expected a list, each a mapping with some of",
        ),
        (
            "method: {name: dec, sites: [{stage: 0}], pools: 2}",
            "method.pools is 2; expected a list, each a whole number. Did you mean [2]",
        ),
        (
            "method: {name: decc}",
            "method.name is 'decc'; expected one of dec, energy, candidates, average, none. Did you mean 'dec'",
        ),
        ("method: {name: 3}", "method.name is 3; expected one of dec, energy, candidates, average, none"),
        ("method: {strength: 0.5}", "method.name: missing; expected one of dec, energy, candidates, average, none"),
        (
            "method: dec",
            "method is 'dec'; expected a mapping with a name, one of dec, energy, candidates, average, none",
        ),
        (
            "method: null",
            "method is null; expected a mapping with a name, one of dec, energy, candidates, average, none",
        ),
        ("method: {name: energy, strength: 1}", "method.strength: unknown key of energy; dec, average would have it"),
        ("method: {name: none, sites: []}", "method.sites: unknown key of none; dec, energy would have it"),
        ("method: {name: dec, strenth: 1}", "method.strenth: unknown key. Did you mean 'strength'?"),
        ("method: {name: dec, zzz: 1}", "method.zzz: unknown key. Expected one of equilibrium, correction"),
        ("strength: 1", "strength: unknown key. Did you mean 'method.strength' or 'warp.strength'?"),
        ("data: {scales: [[1, 2], [1, two], [1, 2]]}", "data.scales[1][1] is 'two'; expected a finite number"),
        ("data: {scales: [[1, 2], [1], [1, 2]]}", "data.scales[1] is [1]; expected a list of 2, each a finite number"),
        ("method: {name: energy, sites: [{stage: 0}], betas: [1]}", "method.betas is [1]; expected a list of 2"),
        (
            "method: {name: energy, sites: [{stage: 0}], learning_rate: [a]}",
            "method.learning_rate[0] is 'a'; expected a",
        ),
        (
            "method: {name: energy, sites: [{stage: 0}], learning_rate: a}",
            "method.learning_rate is 'a'; expected a finite",
        ),
        ("train: 3", "train is 3; expected a mapping with some of epochs, "),
        ("train:", "train is null; expected a mapping"),
        ("model: resnet50", "model is 'resnet50'; expected a mapping with some of backbone, pretrained"),
        ("model: {options: [1]}", "model.options is [1]; expected a mapping"),
        ("model: {pretrained: false}", "model.backbone: missing; expected text"),
        ("3: 4", "3: unknown key"),
        ("train: {epochs: -1}", "train.epochs is -1; expected at least 0"),
        ("train: {schedule: {factor: 2}}", "train.schedule.factor is 2.0; expected between 0 and 1"),
        (
            "method: {name: dec, sites: [{stage: -1}]}",
            "method.sites[0].stage is -1; expected 0, 1, ..., image or input",
        ),
        ("loss: {phi: {prior: 0.1}}", "loss.phi compares two views; set loss.two_views: true"),
        ("loss: {phi: {prior: -0.1}}", "loss.phi.prior is -0.1; expected at least 0"),
        ("train: {phases: []}", "train.phases is empty; expected at least one, such as [{}]"),
        ("train: {phases: {}}", "train.phases is {}; expected a list, each a mapping with some of trains, epochs"),
        ("train: {phases: [3]}", "train.phases[0] is 3; expected a mapping with some of trains, epochs, terms, rates"),
        ("train: {phases: [{epoch: 3}]}", "train.phases[0].epoch: unknown key. Did you mean 'epochs'?"),
        ("train: {phases: [{epochs: 2}]}", "train.phases has 2 epochs; expected train.epochs, 60"),
        ("train: {phases: [{epochs: 70}, {}]}", "train.phases has 70 epochs; expected at most train.epochs, 60"),
        ("train: {phases: [{}, {}]}", "train: phases[0] has epochs: null; expected a number, for it is not the last"),
        ("train: {phases: [{terms: {tsk: 1}}]}", "train.phases[0].terms has tsk; expected some of task, equivariance,"),
        ("train: {phases: [{terms: {task: .inf}}]}", "train.phases[0].terms has task: inf; expected a finite number"),
        ("train: {phases: [{terms: [task]}]}", "train.phases[0].terms is ['task']; expected a mapping"),
        (
            "train: {phases: [{trains: [body]}]}",
            "train.phases[0].trains[0] is 'body'; expected one of backbone, canonicalizer",
        ),
        (
            "train: {phases: [{trains: [backbone], rates: {canonicalizer: 1}}]}",
            "train.phases[0].rates has canonicalizer, which does not train here; expected some of trains",
        ),
        (
            "train: {phases: [{trains: [canonicalizer], epochs: 2}, {}]}",
            "train.phases[0] trains the canonicalizer alone; it needs method.name: dec or energy",
        ),
        (
            "data: {name: mnst}",
            "data.name is 'mnst'; expected one of mnist, digits, folder, shapes, wds/NAME, hfds/NAM",
        ),
        ("data: {name: folder}", "data.name is folder, of pictures; expected digits"),
        (
            "data: {train_samples: 3}",
            "data.train_samples: unknown key of mnist; folder, shapes, wds/, hfds/, hfids/, dense/voc",
        ),
        ("augmentation: {mixup: 1}", "augmentation is set, which is about pictures; data.name is mnist, of digits"),
        ("evaluation: {split: val}", "evaluation.split is val; expected one of test, validation with digits"),
        ("extends: b", "extends: there is no recipe 'b'. Expected one of vit, all"),
        ("extends: vitt", "extends: there is no recipe 'vitt'. Did you mean 'vit'?"),
        ("extends: 3", "extends is 3; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: []", "extends is []; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: null", "extends is null; expected the name of a recipe, as NAME or FILE:NAME, or a list of them"),
        ("extends: [vit, 3]", "extends[1] is 3; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: [vit, [vit]]", "extends[1] is ['vit']; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: [vit, vit]", "extends has 'vit' twice; expected each parent once"),
        ("extends: [vit, 'recipes.yaml:vit']", "extends has 'recipes.yaml:vit' twice; expected each parent once"),
        ("extends: [vit, vitt]", "extends[1]: there is no recipe 'vitt'. Did you mean 'vit'?"),
        ("extends: [vit, all]", "extends[1] is 'all', a suite; expected a recipe"),
        ("extends: ':vit'", "extends is ':vit'; expected the name of a recipe, as NAME or FILE:NAME"),
        ("extends: recipe.yaml:vit", "extends: recipe.yaml: no such file; expected a path, or a name in config/. "),
        (
            "extends: config_2.yaml:vit",
            "extends: config_2.yaml: no such file; expected a path, or a name in config/. Did",
        ),
        ("extends: recipes.yaml:vitt", "extends: recipes.yaml: there is no recipe 'vitt'. Did you mean 'vit'?"),
        ("extends: recipes.yaml:all", "extends is 'recipes.yaml:all', a suite; expected a recipe"),
        ("extends: 'recipes.yaml:'", "extends: recipes.yaml: there is no recipe ''. Expected one of vit, all"),
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


def test_overrides_are_read_like_the_file(write) -> None:
    file = write(f"a: {{{MODEL}, method: {{name: dec, sites: [{{stage: 0}}]}}}}")
    config = only(
        file, "a", "train.epochs=3", "train.backbone_lr=1e-4", "method.strength=.5", "method.sites=[{stage: 2}]"
    )
    assert (config.train.epochs, config.train.backbone_lr) == (3, 1e-4)
    assert config.method == DEC(sites=(Site(stage=2),), strength=0.5)
    assert only(file, "a", "method.name=none").method == Plain()
    assert only(file, "a", "method.name=candidates", "method.limit=3").method == Candidates(limit=3)
    off, again = "method={name: none}", "method={name: dec, sites: [{stage: 1}]}"
    assert only(file, "a", off, again, "method.strength=.1").method == DEC(sites=(Site(stage=1),), strength=0.1)
    assert only(file, "a", "train={epochs: 4}", "train.epochs=5").train == TrainConfig(epochs=5)
    assert only(file, "a", "warm_start=a=b").warm_start == "a=b"
    assert only(file, "a", "model.options.drop_rate=0.1").model.options == {"drop_rate": 0.1}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", "train.epoch: unknown key. Did you mean 'epochs'?"),
        ("train.epochs=three", "train.epochs is 'three'; expected a whole number"),
        ("train.epochs=", "train.epochs is null; expected a whole number"),
        ("train.epochs=-1", "train.epochs is -1; expected at least 0"),
        ("train.epochs.x=0", "train.epochs is {'x': 0}; expected a whole number"),
        ("train.epochs=[", "train.epochs: line 1: this is not YAML"),
        ("train={epochs: 1, epochs: 2}", "train: epochs stands twice, in lines 1 and 1; expected once"),
        ("epochs=3", "epochs: unknown key. Did you mean 'train.epochs'?"),
        ("extends=a", "extends: unknown key"),
        ("train.epochs", "'train.epochs' is no setting; expected key=value, such as train.epochs=3"),
        ("=3", "'=3' is no setting; expected key=value"),
        ("train..epochs=3", "'train..epochs=3' is no setting; expected key=value"),
        ("warp.scales[0]=3", "warp.scales[0]: unknown key"),
        (
            "dec.strength=.5",
            "dec.strength: the method of this recipe is none; expected a recipe with dec, or all of it as method={",
        ),
        (
            "candidates.limit=4",
            "candidates.limit: the method of this recipe is none; expected a recipe with candidates",
        ),
        ("dec.solver.tol=.5", "dec.solver.tol: the method of this recipe is none"),
        ("method.strength=.5", "method.name: missing; expected one of dec, energy, candidates, average, none"),
        ("method.name=dec", "method.sites: missing; expected a list"),
        ("data.name=shapes", "data.name is shapes, of pictures; expected digits"),
        ("outer_lr=.5", "outer_lr: unknown key. In recipes, the published 'outer_lr' is train.backbone_lr"),
    ],
)
def test_a_wrong_override_is_reported_as_the_command_line(write, override: str, words: str) -> None:
    file = write(f"a: {{{MODEL}}}")
    assert message(only, file, "a", override).startswith(f"command line: a: {words}")


def test_the_file_is_blamed_for_its_own_mistakes(write) -> None:
    file = write(f"a: {{{MODEL}, train: {{epochs: -1}}}}\nb: {{data: {{workers: 0}}}}")
    assert message(only, file, "a", "data.workers=0").startswith("recipes.yaml: a: train.epochs is -1")
    assert only(file, "a", "train.epochs=2").train.epochs == 2
    assert only(file, "b", "model.backbone=vit").model.backbone == "vit"


def test_sections_start_from_the_defaults_of_their_class() -> None:
    seen = []

    def check(cls: type) -> None:
        for entry in fields(cls):
            sections = sections_of(kinds(cls)[entry.name])
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            if is_dataclass(default):
                assert type(default) in sections and default == type(default)(), f"{cls.__name__}.{entry.name}"
                seen.append(entry.name)
            for section in sections:
                check(section)

    check(Config)
    assert {"data", "method", "loss", "equivariance", "phi", "train", "schedule", "solver", "evaluation"} <= set(seen)
    assert {"train.schedule.name", "method.solver.tol", "method", "model.options", "loss.phi.prior"} <= set(
        dotted_keys(Config)
    )


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
    ("setting", "words"),
    [
        ("mixup: 0.8", "mixup: unknown key. Did you mean 'augmentation.mixup'?"),
        ("train: {mixup: 0.8}", "train.mixup: unknown key. Did you mean 'augmentation.mixup'?"),
        ("evaluation: {full_ever: 1}", "evaluation.full_ever: unknown key. Did you mean 'full_every'?"),
        # of the other script alone: what was given is never answered with itself
        ("data: {n_digits: 2}", "data.n_digits: unknown key of folder; mnist, digits, dense/digits, dense/mnist"),
        ("data: {name: mnist}", "data.name is mnist, of digits; expected pictures"),
        (
            "evaluation: {local_scale_items: 2}",
            "evaluation.local_scale_items is set, which is about digits or dense or scaled; data.name is folder",
        ),
        ("evaluation: {split: test}", "evaluation.split is test; expected one of val, held_out with pictures"),
    ],
)
def test_a_misplaced_key_is_looked_for_in_what_the_script_can_run(write, setting: str, words: str) -> None:
    file = write(f"a: {{model: {{backbone: x}}, {setting}}}")
    text = message(lambda: load_recipes(file, kind="pictures"))
    key = words.partition(":")[0]
    assert text.startswith(f"recipes.yaml: a: {words}") and f"Did you mean '{key}'" not in text


def test_a_kind_of_data_has_defaults_of_its_own(write) -> None:
    file = write(f"a: {{{MODEL}}}\nb: {{{MODEL}, data: {{name: shapes}}, evaluation: {{every: 3}}}}")
    (_, digits), *_ = load_recipes(file, "a")
    (_, pictures), *_ = load_recipes(file, "a", kind="pictures")
    assert (digits.data.name, digits.evaluation.split, digits.evaluation.full_every) == ("mnist", "test", 40)
    assert (digits.evaluation.every, digits.evaluation.warp_items, digits.evaluation.batch_size) == (20, None, 64)
    of_pictures = pictures.evaluation
    assert (pictures.data.name, of_pictures.split, of_pictures.full_every) == ("folder", "val", 10)
    assert (of_pictures.every, of_pictures.warp_items, of_pictures.batch_size) == (1, 1000, 100)
    assert (digits.wandb.project, pictures.wandb.project) == ("scale_mnist", "scale_imagenet")
    ((_, own),) = load_recipes(file, "b", kind="pictures")
    assert (own.data.name, own.evaluation.every, own.evaluation.full_every) == ("shapes", 3, 10)
    # what a run writes is read back, whatever kind is asked for
    for config, kind in ((digits, "digits"), (own, "pictures")):
        assert load_recipes(write(dump("a", config), "dumped.yaml"), kind=kind) == [("a", config)]


def test_a_recipe_nests_the_options_themselves(write) -> None:
    """Whatever a DEC can be told, a recipe can say, with the same defaults and the same checks."""
    solver = "{name: fixed_point, damping: 0.5, backward_steps: 7, early_stop: false}"
    text = f"method: {{name: dec, sites: [{{stage: 0}}], solver: {solver}}}"
    config = only(write(f"a: {{{MODEL}, {text}}}"))
    expected = Solver("fixed_point", damping=0.5, backward_steps=7, early_stop=False)
    assert config.method == DEC(sites=(Site(0),), solver=expected)
    text = "method: {name: dec, sites: [{stage: 0}], solver: {max_steps: 2}}"
    words = message(only, write(f"a: {{{MODEL}, {text}}}"))
    assert words == "recipes.yaml: a: method.solver.max_steps is 2; anderson needs a whole number of at least 3"


def test_the_baselines_options_are_nested_too(write) -> None:
    config = only(
        write(f"a: {{{MODEL}, method: {{name: energy, sites: [{{stage: 0}}], pools: [2, 1], betas: [0.9, 0.99]}}}}")
    )
    assert config.method == Energy(sites=(Site(0),), pools=(2, 1), betas=(0.9, 0.99))
    config = only(write(f"a: {{{MODEL}, method: {{name: candidates, limit: 2, restore: true}}}}"))
    assert config.method == Candidates(limit=2, restore=True)
