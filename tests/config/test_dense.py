"""What recipes of dense prediction can set, and what they cannot."""

from __future__ import annotations

import pytest

from config.load import load_recipes
from config.schema import Config, ConfigError, DenseDigitsData, DigitsData, EvaluationConfig, ModelConfig
from layers.spec import DEC, Average, Site

DENSE = DenseDigitsData(n_digits=2, scales=((0.5, 1.0),) * 2, test_scales=((0.5, 1.0),) * 2)
MODEL = ModelConfig(backbone="test_resnet", pretrained=False)
AT_OUTPUT = DEC(sites=(Site("image", 4, restore=True, restore_at="output"),))


def test_what_no_map_can_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="restores a warp at the output; it needs data of kind dense"):
        Config(model=MODEL, method=AT_OUTPUT, data=DigitsData())
    with pytest.raises(ConfigError, match=r"method\.name is average, which is about one class per image"):
        Config(model=MODEL, method=Average(), data=DENSE)
    with pytest.raises(ConfigError, match=r"model\.resize is 256, which cuts pixels away that have labels"):
        Config(model=ModelConfig(backbone="test_resnet", image_size=224, resize=256), data=DENSE)
    with pytest.raises(ConfigError, match=r"evaluation\.studies is set, which is about digits or pictures or stir"):
        Config(model=MODEL, data=DENSE, evaluation=EvaluationConfig(studies=("orbits",)))
    assert Config(model=MODEL, method=AT_OUTPUT, data=DENSE).method == AT_OUTPUT


def test_a_loss_that_asks_for_what_maps_have_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.teach has a weight; pixels of a sibling lie elsewhere"):
        load_recipes("dense/small.yaml", "dense_base", ["loss.teach.weight=1.0"], kind="dense")
    with pytest.raises(ConfigError, match=r"loss\.task\.class_weights is set, which is about dense"):
        load_recipes("mnist/small.yaml", "small_base", ["loss.task.class_weights=[0.1, 1.0]"])
    with pytest.raises(ConfigError, match=r"class_weights is \[0\.0, 0\.0\]; expected numbers of at least 0, not all"):
        load_recipes("dense/small.yaml", "dense_base", ["loss.task.class_weights=[0.0, 0.0]"], kind="dense")
    two = "method={name: dec, sites: [{stage: 0, restore: true, restore_at: output}, {stage: 1}]}"
    with pytest.raises(ConfigError, match="with 2 sites; expected one, or restore: true at all of them"):
        load_recipes("dense/small.yaml", "dense_base", [two, "loss.undo.weight=1.0"], kind="dense")
