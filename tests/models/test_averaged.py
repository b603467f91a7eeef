"""Test-time averaging: the mean over views that are the same for every image, and the plain model otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config.load import load_recipes
from config.schema import Config, ConfigError, DigitsData, ModelConfig
from layers.grid import random_warp_params
from layers.monotone import monotone_warp
from layers.seeds import seed_of
from layers.spec import Average, Method, Plain
from models.averaged import with_average
from models.build import build_model
from tests.train.runs import TINY, fitted, recipe, train

IMAGE = torch.rand(5, 3, 40, 48, generator=torch.Generator().manual_seed(0))


def built(method: Method) -> Any:
    model = ModelConfig(backbone="test_vit", pretrained=False, image_size=32)
    return build_model(Config(model=model, data=DigitsData(), method=method), 7, seed=3).eval()


def answers(model: nn.Module, image: Tensor = IMAGE) -> Tensor:
    with torch.no_grad():
        return model(image)


def test_it_has_the_names_and_the_weights_of_the_plain_model() -> None:
    plain, averaged = built(Plain()).state_dict(), built(Average()).state_dict()
    assert list(plain) == list(averaged)
    assert all(torch.equal(value, averaged[name]) for name, value in plain.items())


@pytest.mark.parametrize(("count", "trains"), [(1, False), (1, True), (4, True)])
def test_one_view_and_training_are_the_plain_model_bit_for_bit(count: int, trains: bool) -> None:
    plain, averaged = built(Plain()).train(trains), built(Average(count=count)).train(trains)
    assert torch.equal(answers(plain), answers(averaged))


def test_it_is_the_log_of_the_mean_over_the_image_and_warps_with_a_seed_each() -> None:
    plain, averaged = built(Plain()), built(Average(count=3, grid_size=5, strength=0.6))
    total = F.softmax(answers(plain), dim=-1)
    for number in (1, 2):
        generator = torch.Generator().manual_seed(seed_of("average", number))
        phi = random_warp_params(1, 5, 0.6, generator=generator)
        for place in range(len(IMAGE)):
            warped = monotone_warp(IMAGE[place : place + 1], phi)  # before it is resized to the backbone's 32 pixels
            total[place] += F.softmax(answers(plain, warped), dim=-1)[0]
    torch.testing.assert_close(answers(averaged).exp(), total / 3)
    torch.testing.assert_close(answers(averaged).exp().sum(-1), torch.ones(len(IMAGE)))
    assert not torch.allclose(total / 3, F.softmax(answers(plain), dim=-1))


def test_an_image_gets_the_same_answer_in_every_batch_and_every_time() -> None:
    averaged = built(Average())
    whole = answers(averaged)
    torch.rand(3)  # moves the global generator, which nothing is drawn from
    assert torch.equal(answers(averaged), whole)
    for size in (1, 2):
        torch.testing.assert_close(torch.cat([answers(averaged, part) for part in IMAGE.split(size)]), whole)


def test_more_views_keep_the_first_ones() -> None:
    few, more = with_average(nn.Identity(), count=3), with_average(nn.Identity(), count=5)
    assert few.warps_x is not None and more.warps_x is not None
    assert torch.equal(few.warps_x, more.warps_x[:2]) and len(more.warps_x.unique(dim=0)) == 4


def test_half_precision_images_and_double_ones_are_warped_too() -> None:
    averaged = with_average(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())).eval()
    for dtype in (torch.bfloat16, torch.float64):
        found = answers(averaged, IMAGE.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), answers(averaged), atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count is 0; expected a whole number of at least 1"),
        ({"count": True}, "count is True; expected a whole number"),
        ({"grid_size": 1}, "grid_size is 1; expected a whole number of at least 2"),
        ({"strength": -0.1}, "strength is -0.1; expected a finite number of at least 0"),
        ({"strength": float("inf")}, "strength is inf; expected a finite number"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Average(**options)


def test_maps_of_classes_are_refused_for_their_warps_are_not_undone() -> None:
    with pytest.raises(ValueError, match=r"logits have shape \(5, 3, 40, 48\); expected \(B, classes\)"):
        answers(with_average(nn.Identity()).eval())


def test_a_recipe_takes_steps_and_names_what_it_does_not_know(tmp_path: Path) -> None:
    method = {"name": "average", "count": 2, "grid_size": 3, "strength": 0.5}
    ((_, config),) = load_recipes(recipe(tmp_path, {"method": method}))
    assert config.method == Average(count=2, grid_size=3, strength=0.5)
    trainer, _ = fitted(config, steps=1)
    first = build_model(config, trainer.model.num_classes, 42).state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in trainer.model.state_dict().items())
    with pytest.raises(ConfigError, match=r"method\.count is 0; expected a whole number of at least 1"):
        load_recipes(recipe(tmp_path, {"method": {**method, "count": 0}}))
    with pytest.raises(ConfigError, match=r"method\.limit: unknown key of average; candidates would have it"):
        load_recipes(recipe(tmp_path, {"method": {**method, "limit": 2}}))


def test_it_measures_the_weights_of_a_plain_run(tmp_path: Path) -> None:
    assert TINY.get("method") is None
    file, output = recipe(tmp_path), f"output_dir={tmp_path}"
    train(file, tmp_path / "tiny" / "42", "train.epochs=1")
    averaged = train(file, tmp_path / "averaged", output, "--eval_only", "method.name=average", "method.count=2")
    assert averaged["weights"] == str(tmp_path / "tiny" / "42" / "model.safetensors")
