"""Entry points of torch.hub: ``torch.hub.load(<checkout>, "dec", source="local")``, and "segmenter"."""

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
from models.dense import with_decoder
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
    network = _network(backbone, pretrained, backbone_options)
    return with_dec(network, spec_of(recipe or "dem_vit"), **options)


def trained(folder: str | Path) -> WrappedBackbone:
    """The model of a finished run, in evaluation mode.

    Args:
        folder: of the run, such as ``weights/small_residual/70``.
    """
    return trained_model(folder)


def segmenter(
    backbone: str = "deit_tiny_patch16_224",
    num_classes: int = 21,
    recipe: str | None = None,
    pretrained: bool | str | Path = False,
    *,
    decoder: dict[str, Any] | None = None,
    backbone_options: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Build a timm backbone with a decoder, which answers with a map of logits, plain or with DEC.

    Args:
        backbone: name of a timm model.
        num_classes: of every pixel.
        recipe: as for ``dec``; without one, and without ``sites`` among the options, there is no DEC.
        pretrained: as for ``dec``, of the backbone alone.
        decoder: options of ``models.dense.with_decoder``, ``{"name": "fusion"}`` for instance.
        backbone_options: for ``timm.create_model``.
        **options: as for ``dec``.
    """
    network = _network(backbone, pretrained, backbone_options)
    model = with_decoder(network, num_classes, **(decoder or {}))
    if recipe is not None:
        return with_dec(model, spec_of(recipe), **options)
    if not options:
        return model
    if "sites" not in options:
        raise ValueError(f"options are {', '.join(options)} without a recipe; expected sites among them")
    sites = options.pop("sites")
    return with_dec(model, sites, **options)


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


def _network(name: str, pretrained: bool | str | Path, options: dict[str, Any] | None) -> Any:
    """A timm model with fresh, published or given weights."""
    network = timm.create_model(name, pretrained=pretrained is True, **(options or {}))
    if not isinstance(pretrained, bool):
        network.load_state_dict(_read_state(Path(pretrained)), strict=True)
    return network


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"there are no weights at {path}; expected a safetensors or pth file")
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
