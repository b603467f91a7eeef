"""What tests of recipe files read, and what they are told."""

import pytest

from config.load import load_recipes
from config.schema import Config, ConfigError

MODEL = "model: {backbone: resnet18}"


def only(file: str, name: str | None = None, *overrides: str) -> Config:
    ((_, config),) = load_recipes(file, name, overrides)
    return config


def message(call, *args) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args)
    return str(caught.value)
