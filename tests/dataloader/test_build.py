"""Every kind of data is found by its name alone, and offers the same."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import pytest

import dataloader.dense.build
import dataloader.digits.build
import dataloader.pictures.build
import dataloader.scaled.build
import dataloader.stir.build
from config.schema import Config, Data, DigitsData, EvaluationConfig, ModelConfig, PictureData
from dataloader import build, mnist
from dataloader.digits.items import LocallyScaledMNIST

MODEL = ModelConfig(backbone="test_vit", pretrained=False)
KINDS = {
    "digits": dataloader.digits.build,
    "pictures": dataloader.pictures.build,
    "scaled": dataloader.scaled.build,
    "stir": dataloader.stir.build,
    "dense": dataloader.dense.build,
}


def test_a_kind_is_the_name_of_its_folder() -> None:
    folders = {path.parent.name for path in Path(build.__file__).parent.glob("*/build.py")}
    assert folders == KINDS.keys() == {section.kind for section in get_args(Data)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_what_the_dispatcher_hands_on(kind: str) -> None:
    for name in ("count_classes", "build_splits"):
        parameters = [inspect.signature(getattr(module, name)).parameters for module in (build, KINDS[kind])]
        assert list(parameters[0]) == list(parameters[1])


def test_classes_are_counted_before_any_item_is_looked_at() -> None:
    assert build.count_classes(Config(model=MODEL, data=DigitsData(root="nowhere", download=False))) == 1000
    data = PictureData(root="nowhere", class_map="imagenet")
    assert build.count_classes(Config(model=MODEL, data=data, evaluation=EvaluationConfig(split="val"))) == 1000


def test_the_public_name_stays() -> None:
    assert mnist.LocallyScaledMNIST is LocallyScaledMNIST
