"""What a recipe's settings make of an evaluation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import train.measuring
from config.load import load_recipes
from config.schema import Config, ConfigError, EvaluationConfig, ModelConfig, PictureData, WarpConfig
from evaluation.evaluator import Evaluation
from layers.spec import DEC, Energy, Plain, Site
from tests.evaluation.stand_ins import Items, small_net, smooth_images
from train.distributed import Process
from train.measuring import build_measure

IMAGES, LABELS = smooth_images(4), torch.arange(4)
MODEL = ModelConfig(backbone="none")
CONFIG = Config(model=MODEL)
ONE = (Site("image"),)
ALONE = Process(0, 1, torch.device("cpu"))


@dataclass
class Splits:
    """Few items, of which some may be broken."""

    batches: list[list[int]]
    broken: int = 0
    limit: int = 0
    calibration: None = None
    evaluated: dict = field(init=False)

    def __post_init__(self):
        self.evaluated = {"test": Items(IMAGES, LABELS, self.batches)}

    def check(self):
        if self.broken > self.limit:
            raise OSError("too many pictures could not be read")

    def count_broken(self, summed):
        return int(summed(torch.tensor(self.broken)))


def test_what_could_not_be_read_is_told_first() -> None:
    """It says more than that there was nothing to be measured."""
    with pytest.raises(OSError, match="too many"):
        build_measure(CONFIG, Splits([], broken=1), ALONE)(small_net(), True)


def test_broken_pictures_are_counted_where_there_are_any() -> None:
    whole = build_measure(CONFIG, Splits([[0, 1], [2, 3]]), ALONE)(small_net(), True).metrics
    some = build_measure(CONFIG, Splits([[0, 1], [2, 3]], broken=2, limit=5), ALONE)(small_net(), True).metrics
    assert "broken" not in whole and some == whole | {"broken": 2}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strengths": (0.1, -0.5)}, "strengths has -0.5; expected finite numbers of at least 0"),
        ({"strengths": (float("nan"),)}, "strengths has nan; expected finite numbers of at least 0"),
        ({"strengths": (0.5, 0.1, 0.5)}, r"strengths is \[0.5, 0.1, 0.5\]; expected each once"),
        ({"scales": (0.0,)}, "scales has 0.0; expected finite numbers above 0"),
        ({"evaluations": (3, 0)}, "evaluations has 0; expected at least 1"),
        ({"interpolations": ("cubic",)}, "interpolations has 'cubic'; expected some of bilinear, nearest, bicubic"),
    ],
)
def test_values_that_nothing_can_be_measured_at(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EvaluationConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": Plain(), "evaluation": EvaluationConfig(evaluations=(1, 2))}, r"evaluations is \[1, 2\]; it needs"),
        ({"method": Energy(sites=ONE), "evaluation": EvaluationConfig(evaluations=(1,))}, "it needs method.name: dec"),
        (
            {"evaluation": EvaluationConfig(scales=(3.0,))},
            "has 3, a digit of 84 pixels; expected at least 1 and at mos",
        ),
        ({"evaluation": EvaluationConfig(scales=(0.01,))}, "has 0.01, a digit of 0.28 pixels; expected at least 1"),
        (
            {"data": PictureData(), "evaluation": EvaluationConfig(split="val", scales=(1.0,))},
            "^evaluation.scales is set, which is about digits or dense or scaled; data.name is folder, of pictures",
        ),
    ],
)
def test_what_the_rest_of_a_recipe_cannot_be_measured_at(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config(model=MODEL, **settings)


def test_a_recipe_asks_for_them(tmp_path: Path) -> None:
    """In the words of YAML, where a whole number may stand for any number, and an unknown word is refused."""
    file = tmp_path / "some.yaml"
    others = "model: {backbone: none}, method: {name: dec, sites: [{stage: image}]}"
    lists = "strengths: [0, 0.25], interpolations: [nearest], evaluations: [1, 3], scales: [0.5, 1]"
    file.write_text(f"one: {{{others}, evaluation: {{{lists}}}}}\n")
    ((_, config),) = load_recipes(file)
    chosen = config.evaluation
    assert (chosen.strengths, chosen.interpolations) == ((0.0, 0.25), ("nearest",))
    assert (chosen.evaluations, chosen.scales) == ((1, 3), (0.5, 1.0))
    with pytest.raises(ConfigError, match=r"evaluation.interpolations\[0\] is 'cubic'; expected one of bilin"):
        load_recipes(file, overrides=["evaluation.interpolations=[cubic]"])
    with pytest.raises(ConfigError, match=r"evaluation.evaluations is \[1, 3\]; it needs method.name"):
        load_recipes(file, overrides=["method={name: none}"])


@pytest.mark.parametrize(
    ("settings", "finds"),
    [
        ({"method": DEC(sites=ONE)}, True),
        ({"method": Energy(sites=ONE)}, True),
        ({"method": DEC(sites=(Site("image"), Site(0)))}, False),
        ({"method": DEC(sites=(Site("image", restore=True), Site(0, restore=True)))}, True),
        ({"method": DEC(sites=ONE, condition="feature", normalize=False)}, False),
        ({"method": DEC(sites=ONE), "warp": WarpConfig(strength=0.0)}, False),
        ({"method": Plain()}, False),
    ],
)
def test_a_share_is_undone_where_one_warp_could_undo_all(
    settings: dict[str, Any], finds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sites that add up, or without a warp to undo, there is no such share."""
    asked: dict[str, Any] = {}

    def evaluate(model: nn.Module, **options: Any) -> Evaluation:
        asked.update(options)
        return Evaluation()

    monkeypatch.setattr(train.measuring, "evaluate", evaluate)
    config = Config(model=MODEL, **settings)
    build_measure(config, Splits([[0, 1]]), ALONE)(small_net(), True)
    assert ("forms" in asked["gives"]) == finds
    assert asked["gives"] - {"forms"} == config.method.gives


def test_lists_of_the_recipe_are_measured() -> None:
    chosen = EvaluationConfig(strengths=(0.1,), interpolations=("nearest",))
    metrics = build_measure(Config(model=MODEL, evaluation=chosen), Splits([[0, 1]]), ALONE)(small_net(), True).metrics
    assert {"warp_accuracy_at_0.1", "warp_flips_at_0.1", "warp_accuracy_by_nearest"} <= metrics.keys()
