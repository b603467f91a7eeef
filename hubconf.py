"""Entry point of torch.hub: ``torch.hub.load(<checkout>, "dec", source="local")``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file

from config.load import FOLDER, load_recipes, recipe_names
from layers.spec import DEC
from models.build import trained_model
from models.dec import DECModel, with_dec
from models.light import LIGHT
from models.wrapped import WrappedBackbone

dependencies = ["torch", "timm", "torchdeq", "safetensors", "yaml", "huggingface_hub"]

RECIPES = FOLDER / "adapter_config.yaml"  # the path, for the current folder may have a file of this name


def dec(
    backbone: str = "deit_tiny_patch16_224",
    recipe: str | None = None,
    pretrained: bool | str | Path = False,
    *,
    backbone_options: dict[str, Any] | None = None,
    **options: Any,
) -> DECModel:
    """Build a timm backbone with DEC.

    Args:
        backbone: name of a timm model.
        recipe: ``light``, or one of config/adapter_config.yaml with a DEC, such as ``dem_swin`` (images then come
            normalized, as from timm's loaders); without one the image and the first stage are canonicalized on 4 x 4
            knots, ``dem_vit``.
        pretrained: True for timm's published weights (needs a network), or a safetensors or pth file with a state dict
            under timm's names, which must fit exactly.
        backbone_options: for ``timm.create_model``, ``{"num_classes": 10}`` for instance.
        **options: of a ``DEC``, and ``image_size`` and ``preprocess`` of ``with_dec``; they win over the recipe.
    """
    network = timm.create_model(backbone, pretrained=pretrained is True, **(backbone_options or {}))
    if not isinstance(pretrained, bool):
        network.load_state_dict(_read_state(Path(pretrained)), strict=True)
    return with_dec(network, spec_of(recipe or "dem_vit"), **options)


def trained(folder: str | Path) -> WrappedBackbone:
    """The model of a finished run, in evaluation mode.

    Args:
        folder: of the run, such as ``weights/small_residual/70``.
    """
    return trained_model(folder)


def spec_of(recipe: str) -> DEC:
    """The DEC of a recipe."""
    if recipe == "light":
        return LIGHT
    if recipe in recipe_names(RECIPES):
        configs = [config.resolved() for _, config in load_recipes(RECIPES, recipe, kind="pictures")]
        if len(configs) == 1 and isinstance(configs[0].method, DEC):
            return configs[0].method
    known = [name for name in recipe_names(RECIPES) if name.startswith("dem")]
    raise ValueError(f"recipe is {recipe!r}; expected light, or one of {', '.join(known)}")


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"there are no weights at {path}; expected a safetensors or pth file")
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
