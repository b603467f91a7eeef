"""Entries of files in the published flat format, as settings of today."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from config.convert import Place, Settings, merged, partial
from config.errors import ConfigError, SettingWarning
from config.files import File
from config.reference import digits, keys, pictures
from config.schema import Config
from config.words import shown

Base = Callable[[str | None], Settings]  # the settings of one of our recipes, or of none but the defaults


def keys_of(file: File, kind: str) -> Mapping[str, str] | None:
    """The keys of a file in the published flat format, with ours; None for all other files."""
    if kind == "pictures" and digits.is_flat(file.recipes, pictures.KNOWN):
        return pictures.OURS
    return keys.OURS if digits.is_flat(file.recipes) else None


def translated(file: File, name: str, kind: str, place: Place, base: Base) -> Settings:
    """The checked settings of an entry, of pictures over those of the recipe that stands for the published command."""
    if keys_of(file, kind) is not pictures.OURS:
        entry = _over(file, name, "base_config", place)
        return _checked(lambda: digits.to_recipe(entry), place, base(None))
    entry = _over(file, name, "base", place)
    backbone = name.rpartition("_")[2]
    below = base(f"base_{backbone}" if backbone in pictures.BACKBONES else "base")
    return merged(below, _checked(lambda: pictures.to_imagenet_recipe(name, entry), place, below))


def _over(file: File, name: str, base: str, place: Place) -> dict[str, Any]:
    """An entry over the base entry of its file."""
    below, own = file.recipes.get(base) or {}, file.recipes[name]
    if not (isinstance(below, dict) and isinstance(own, dict)):
        raise place.error(f"is {shown(own)}; expected a mapping of settings")
    return {**below, **own}


def _checked(translate: Callable[[], tuple[Settings, dict[str, str]]], place: Place, below: Settings) -> Settings:
    """Checked settings; keys without effect are named in one warning."""
    try:
        recipe, ignored = translate()
    except ConfigError as error:
        raise ConfigError(f"{place.source}: {error}") from None
    if ignored:
        reasons: dict[str, list[str]] = {}
        for key, reason in ignored.items():
            reasons.setdefault(reason, []).append(key)
        listed = "; ".join(f"{', '.join(given)} ({reason})" for reason, given in reasons.items())
        warnings.warn(f"{place.source}: without effect: {listed}", SettingWarning, stacklevel=2)
    return partial(Config, recipe, place, below)
