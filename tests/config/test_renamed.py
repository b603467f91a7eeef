"""Keys of before: every one still says what it said, alone, over parents of both kinds, and on the command line."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import comparable, load_recipes
from config.renamed import METHODS, OF_FIRST_PHASE, RENAMED
from config.schema import Config, ConfigError, Phase
from layers.spec import DEC, Candidates, Energy, Plain, Site, Solver

SITES = [{"stage": 0, "grid_size": 4}]
BELOW: dict[str, Any] = {  # of every recipe here, so that each setting can be meant
    "model": {"backbone": "resnet18"},
    "loss": {"two_views": True},
    "train": {"canonicalizer_lr": 0.1},
}
ALONE = {"trains": ["canonicalizer"], "epochs": 3, "terms": {"task": 1.0, "equivariance": 0.0}}
OLD_PARENT: dict[str, Any] = {
    "dec": {"sites": SITES, "strength": 0.5},
    "loss": {"equivariance": "mse", "equivariance_weight": 0.2, "phi_prior": 0.1, "canonicalizer_task_weight": 0.5},
    "train": {"canonicalizer_epochs": 4},
    "evaluation": {"local_scale_every": 60},
}
NEW_PARENT: dict[str, Any] = {
    "method": {"name": "dec", "sites": SITES, "strength": 0.5},
    "loss": {"equivariance": {"distance": "mse", "weight": 0.2}, "phi": {"prior": 0.1}},
    "train": {"phases": [ALONE | {"epochs": 4, "terms": {"task": 0.5, "equivariance": 0.0}}, {}]},
    "evaluation": {"full_every": 60},
}
NO_PARENT = {"method": {"name": "dec", "sites": SITES}}
EVERY: list[tuple[str, Any, str, Any]] = [  # (old key, value, new key, value)
    *((old, 0.3, new, 0.3) for old, new in RENAMED.items() if old.startswith("loss.")),
    ("evaluation.local_scale_every", 7, "evaluation.full_every", 7),
    ("loss.equivariance", "js", "loss.equivariance.distance", "js"),
    ("dec", {"strength": 0.25}, "method", {"name": "dec", "strength": 0.25}),
    ("dec.strength", 0.25, "method.strength", 0.25),
    ("dec.solver", {"max_steps": 9}, "method.solver", {"max_steps": 9}),
    ("energy", {"sites": SITES, "steps": 2}, "method", {"name": "energy", "sites": SITES, "steps": 2}),
    ("candidates", {"limit": 3}, "method", {"name": "candidates", "limit": 3}),
    ("candidates", {}, "method", {"name": "candidates"}),
    ("dec", None, "method", {"name": "none"}),
]
OF_PHASE = {  # by the parent, the phase that comes first, and what is left of it where one of its keys is given
    "train.canonicalizer_epochs": ("epochs", 5),
    "loss.canonicalizer_task_weight": ("task", 0.0),
    "loss.canonicalizer_equivariance_weight": ("equivariance", 2.0),
}


def nested(dotted: str, value: Any) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return value


def joined(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {name: joined(below[name], above[name]) for name in below.keys() & above if isinstance(below[name], dict)}
    return {**below, **above, **both}


def loaded(folder: Path, *recipes: dict[str, Any], words: tuple[str, ...] = ()) -> tuple[Config, list[str]]:
    """The last of some recipes, each over the one before, and what was warned of."""
    content = {f"r{i}": {"extends": f"r{i - 1}"} | own if i else own for i, own in enumerate(recipes)}
    (folder / "recipes.yaml").write_text(yaml.safe_dump(content))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ((_, config),) = load_recipes(folder / "recipes.yaml", f"r{len(recipes) - 1}", words)
    return config, [str(warning.message) for warning in caught]


def refusal(folder: Path, *recipes: dict[str, Any], words: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *recipes, words=words)
    return str(caught.value).replace(f"{folder}/", "")


def test_every_old_key_is_tried() -> None:
    tried = {old.split(".")[0] if old.split(".")[0] in METHODS else old for old, *_ in EVERY}
    assert tried == {*RENAMED, *METHODS, "loss.equivariance"} and OF_PHASE.keys() == OF_FIRST_PHASE.keys()


@pytest.mark.parametrize(("old", "value", "new", "meant"), EVERY)
@pytest.mark.parametrize("parent", [NO_PARENT, NEW_PARENT, OLD_PARENT], ids=["alone", "over_new", "over_old"])
def test_an_old_key_says_what_its_new_one_says(
    tmp_path, parent: dict[str, Any], old: str, value: Any, new: str, meant: Any
) -> None:
    below = joined(BELOW, parent)
    above: dict[str, Any] = {}
    if new == "method" and meant["name"] != "dec":  # it has no equilibrium, and perhaps no phase of its own
        above = {"loss": {"phi": {"prior": 0.0}}, "train": {"phases": [{}]}}
    expected, told = loaded(tmp_path, below, joined(above, nested(new, meant)))
    assert len(told) == (parent is OLD_PARENT)
    found, told = loaded(tmp_path, below, joined(above, nested(old, value)))
    assert found == expected
    moved = (old.split(".")[0], "method") if old.split(".")[0] in METHODS else (old, new)
    own = f"{tmp_path}/recipes.yaml: r1: keys have moved: {moved[0]} is {moved[1]}; the old ones still work"
    assert told.count(own) == 1 and len(told) == 1 + (parent is OLD_PARENT)
    on_command, told = loaded(
        tmp_path, below, above, words=(f"{old}={yaml.safe_dump(value, default_flow_style=True)}",)
    )
    assert on_command == expected
    assert f"command line: r1: keys have moved: {moved[0]} is {moved[1]}; the old ones still work" in told


@pytest.mark.parametrize("old", OF_PHASE)
@pytest.mark.parametrize("parent", [NO_PARENT, NEW_PARENT, OLD_PARENT], ids=["alone", "over_new", "over_old"])
def test_what_was_said_of_the_canonicalizers_own_phase_is_said_of_the_first_one(
    tmp_path, parent: dict[str, Any], old: str
) -> None:
    name, value = OF_PHASE[old]
    has_phase = parent is not NO_PARENT
    epochs, terms = (4, {"task": 0.5, "equivariance": 0.0}) if has_phase else (0, {"task": 1.0, "equivariance": 0.0})
    if name == "epochs":
        epochs = value
    else:
        terms |= {name: value}
    below = joined(BELOW, parent)
    for above, words in ((nested(old, value), ()), ({}, (f"{old}={value}",))):
        config, told = loaded(tmp_path, below, above, words=words)
        first = Phase(trains=("canonicalizer",), epochs=epochs, terms=terms)
        assert config.train.phases == (first, Phase())
        key = "epochs" if name == "epochs" else f"terms.{name}"
        assert sum(f": r1: keys have moved: {old} is train.phases[0].{key}; the old" in text for text in told) == 1


def test_the_old_recipe_as_a_whole_is_the_new_one(tmp_path) -> None:
    old, told = loaded(tmp_path, joined(BELOW, OLD_PARENT))
    new, nothing = loaded(tmp_path, joined(BELOW, NEW_PARENT))
    assert old == new and comparable(old) == comparable(new)
    assert nothing == [] and len(told) == 1  # one warning for all
    pairs = {
        "dec is method",
        "loss.equivariance is loss.equivariance.distance",
        "loss.equivariance_weight is loss.equivariance.weight",
        "loss.phi_prior is loss.phi.prior",
        "evaluation.local_scale_every is evaluation.full_every",
        "train.canonicalizer_epochs is train.phases[0].epochs",
        "loss.canonicalizer_task_weight is train.phases[0].terms.task",
    }
    assert set(told[0].partition("keys have moved: ")[2].partition(";")[0].split(", ")) == pairs


def test_old_weights_of_the_joint_phase_do_not_reach_the_canonicalizers_own(tmp_path) -> None:
    """As before: there, the equivariance had a weight of its own, and the cross-entropy 1."""
    own = {"loss": {"equivariance_weight": 0.2}, "train": {"canonicalizer_epochs": 2}}
    config, _ = loaded(tmp_path, joined(joined(BELOW, NO_PARENT), own))
    assert config.weights("equivariance") == [0.0, 0.2] and config.weights("task") == [1.0, 1.0]


@pytest.mark.parametrize("parent", [{"dec": {"sites": SITES}}, NO_PARENT], ids=["old", "new"])
def test_null_switches_a_method_off_and_leaves_others(tmp_path, parent: dict[str, Any]) -> None:
    below = {**BELOW, **parent}
    assert loaded(tmp_path, below, {"dec": None})[0].method == Plain()
    assert loaded(tmp_path, below, {"energy": None, "candidates": None})[0].method == DEC(sites=(Site(0, 4),))
    assert loaded(tmp_path, below, {"dec": None, "energy": {"sites": SITES}})[0].method == Energy(sites=(Site(0, 4),))
    assert loaded(tmp_path, below, {"dec": None, "method": {"name": "candidates"}})[0].method == Candidates()
    assert loaded(tmp_path, below, {"dec": None}, {"dec": {"sites": SITES}})[0].method == DEC(sites=(Site(0, 4),))
    assert loaded(tmp_path, below, words=("dec=null",))[0].method == Plain()
    assert loaded(tmp_path, below, words=("dec=null", "candidates={limit: 2}"))[0].method == Candidates(limit=2)


def test_sections_of_one_method_merge_and_those_of_another_replace(tmp_path) -> None:
    below = {**BELOW, "dec": {"sites": SITES, "solver": {"max_steps": 9}}}
    for own in ({"dec": {"solver": {"tol": 0.5}}}, {"method": {"solver": {"tol": 0.5}}}):
        assert loaded(tmp_path, below, own)[0].method == DEC(sites=(Site(0, 4),), solver=Solver(max_steps=9, tol=0.5))
    assert loaded(tmp_path, below, {"energy": {"sites": SITES}})[0].method == Energy(sites=(Site(0, 4),))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"dec": {"sites": SITES}, "energy": {"sites": SITES}}, "dec and energy are given; expected one method"),
        ({"candidates": {}, "method": {"name": "none"}}, "candidates and method are given; expected one method"),
        ({"dec": 3}, "method (the file's dec) is 3; expected a mapping with a name, one of dec, energy"),
        ({"dec": {"strength": "x"}}, "method.strength (the file's dec.strength) is 'x'; expected a finite number."),
        ({"dec": {"sites": [{"stage": []}]}}, "method.sites[0].stage (the file's dec.sites[0].stage) is []; expected"),
        ({"dec": {"steps": 2}}, "method.steps (the file's dec.steps): unknown key of dec; energy would have it"),
        ({"loss": {"phi_weight": "x"}}, "loss.phi.weight (the file's loss.phi_weight) is 'x'; expected a finite"),
        (
            {"loss": {"equivariance": "kll"}},
            "loss.equivariance.distance (the file's loss.equivariance) is 'kll'; expected one of kl, mse, js. Did you",
        ),
        (
            {"evaluation": {"local_scale_every": 0.5}},
            "evaluation.full_every (the file's evaluation.local_scale_every) is 0.5; expected a whole number",
        ),
        (
            {"train": {"canonicalizer_epochs": "two"}},
            "train.phases[0].epochs (the file's train.canonicalizer_epochs) is 'two'; expected a whole number",
        ),
        ({"train": {"canonicalizer_epochs": 99}}, "train.phases has 99 epochs; expected at most train.epochs, 60"),
        ({"loss": {"canonicalizer_task_weight": "x"}}, "train.phases[0].terms has task: x; expected a finite number"),
        ({"train": 3, "loss": {"canonicalizer_task_weight": 1}}, "train is 3; expected a mapping"),
        ({"loss": {"phi": 3, "phi_weight": 2}}, "loss.phi is 3; expected a mapping with some of weight, difference"),
        ({"loss": {"phi_weigth": 2}}, "loss.phi_weigth: unknown key."),
        (
            {"loss": {"phi": {"weight": 1.0}, "phi_weight": 2.0}},
            "loss.phi_weight and loss.phi.weight are given, which are the same; expected one of them",
        ),
    ],
)
def test_what_is_wrong_is_told_under_both_keys(tmp_path, own: dict[str, Any], words: str) -> None:
    own = joined({"model": BELOW["model"]}, own)
    assert refusal(tmp_path, own).startswith(f"recipes.yaml: r0: {words}")


def test_the_command_line_is_told_under_both_keys_too(tmp_path) -> None:
    found = refusal(tmp_path, joined(BELOW, NO_PARENT), words=("dec.strength=x",))
    assert found.startswith("command line: r0: method.strength (the file's dec.strength) is 'x'; expected a finite")
    found = refusal(tmp_path, joined(BELOW, NO_PARENT), words=("energy.steps=3",))
    assert found == (
        "command line: r0: energy.steps: the method of this recipe is dec; expected a recipe with energy, or all of it "
        "as method={name: energy, ...}"
    )


def test_a_phase_that_is_not_the_canonicalizers_gets_one_before_it(tmp_path) -> None:
    phases = [{"trains": ["backbone"], "epochs": 2}, {}]
    below = joined(joined(BELOW, NO_PARENT), {"train": {"phases": phases}})
    config, _ = loaded(tmp_path, below, {"train": {"canonicalizer_epochs": 3}})
    assert [phase.trains for phase in config.train.phases] == [
        ("canonicalizer",),
        ("backbone",),
        ("backbone", "canonicalizer"),
    ]
    assert config.train.epochs_of_phases == [3, 2, 55]
    assert below["train"]["phases"] == phases  # what was read stays as it was


@pytest.mark.parametrize("phases", [7, "all", [{"trains": 3}], [7]])
def test_phases_that_are_none_are_refused_beside_an_old_key(tmp_path, phases: Any) -> None:
    assert "train.phases" in refusal(tmp_path, NO_PARENT, {"train": {"canonicalizer_epochs": 3, "phases": phases}})
