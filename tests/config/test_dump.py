"""A recipe that is written down comes back as it was."""

import pytest
import yaml

from config.load import comparable, dump, load_recipes, recipe_names, to_dict
from config.schema import Config, ModelConfig, Phase, TrainConfig
from layers.spec import DEC, Candidates, Energy, Plain, Site
from tests.config.reading import MODEL, only


def test_a_dumped_recipe_is_a_file_that_runs_as_it_stands(write) -> None:
    config = Config(
        model=ModelConfig(backbone="resnet18", image_size=None, options={"a": [1, {"b": "None"}], "c": 1e-7}),
        method=DEC(sites=(Site(stage="image"), Site(stage=2, restore=True)), input_size=None),
        train=TrainConfig(
            backbone_lr=3e-5,
            canonicalizer_lr=0.1,
            amp="off",
            phases=(Phase(trains=("canonicalizer",), epochs=2, terms={"task": 1e-7}), Phase(rates={"backbone": 1e-5})),
        ),
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


@pytest.mark.parametrize("method", [Plain(), Candidates(limit=3), Energy(sites=(Site(stage=1),), betas=(0.1, 0.2))])
def test_every_method_survives_the_way_back(write, method) -> None:
    config = Config(model=ModelConfig(backbone="x"), method=method)
    assert to_dict(config)["method"]["name"] == method.tags[0]
    assert only(write(dump("a", config))) == config


def test_what_is_said_in_other_words_compares_equal(write) -> None:
    """A phase without epochs is none, and a weight that is repeated is that of the loss."""
    file = write(f"""
a: {{{MODEL}, train: {{epochs: 5}}}}
b:
  {MODEL}
  train: {{epochs: 5, phases: [{{trains: [canonicalizer], epochs: 0}}, {{epochs: 5, terms: {{task: 1}}}}]}}
c: {{{MODEL}, train: {{epochs: 5, phases: [{{terms: {{task: 0.5}}}}]}}}}
""")
    a, b, c = (comparable(only(file, name)) for name in "abc")
    assert a == b != c
