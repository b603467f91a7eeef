"""Entry point of torch.hub: ``torch.hub.load(<checkout>, "dec", source="local")``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file

from models.dec import DECModel, Site, with_dec
from models.light import LIGHT

dependencies = ["torch", "timm", "torchdeq", "safetensors"]

# The published ImageNet settings: one canonicalizer network, and per recipe the sites.
PUBLISHED_NETWORK = {"channels": (3, 64, 128), "kernel_sizes": (5, 3), "pools": (4, 2)}
PUBLISHED_SITES = {
    "dem_swin": (Site("image", 6), Site(0, 4)),
    "dem_vit": (Site("image", 4), Site(0, 4)),
    "dem_deit": (Site("image", 10), Site(0, 4)),
    "dem_beit": (Site(0, 10), Site(1, 4)),
    "dem1_beit": (Site(0, 4), Site(1, 4)),
}


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
        recipe: ``light``, or a published setting: ``dem_swin``, ``dem_vit``, ``dem_deit``, ``dem_beit`` or
            ``dem1_beit``; without one the image and the first stage are canonicalized on 4 x 4 knots.
        pretrained: True for timm's published weights (needs a network), or a safetensors or pth file with a state dict
            under timm's names, which must fit exactly.
        backbone_options: for ``timm.create_model``, ``{"num_classes": 10}`` for instance.
        **options: for ``with_dec``; they win over the recipe.
    """
    recipes = {name: {"sites": sites, **PUBLISHED_NETWORK} for name, sites in PUBLISHED_SITES.items()}
    recipes["light"] = LIGHT
    if recipe is not None and recipe not in recipes:
        raise ValueError(f"recipe is {recipe!r}; expected one of {', '.join(recipes)}")
    network = timm.create_model(backbone, pretrained=pretrained is True, **(backbone_options or {}))
    if not isinstance(pretrained, bool):
        network.load_state_dict(_read_state(Path(pretrained)), strict=True)
    return with_dec(network, **(recipes[recipe or "dem_vit"] | options))


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"there are no weights at {path}; expected a safetensors or pth file")
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
