"""Two models side by side, one of them with a DEC, and what they make of a picture."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config.load import load_run
from config.schema import Config, ConfigError, EvaluationConfig, ModelConfig, PictureData
from layers.grid import WarpParams
from layers.monotone import monotone_warp
from layers.seeds import seed_of
from layers.spec import DEC, Plain, Site
from models.build import build_backbone, check_head, input_description, plainly, published_config, trained_model
from models.dec import DECModel, with_dec
from models.wrapped import WrappedBackbone

BEGINNING = DEC(sites=(Site("image", 8),), equilibrium="residual")  # its maps begin at 0, so it changes nothing yet


class Pair(NamedTuple):
    """Two models of the same input and the same classes.

    Args:
        plain: without DEC, as a rule.
        dec: with DEC.
        configs: what each was made by; both are shown the pictures of the first one's data.
        descriptions: of each one's input, as ``timm.data.resolve_data_config`` gives it.
    """

    plain: WrappedBackbone
    dec: DECModel
    configs: tuple[Config, Config]
    descriptions: tuple[dict[str, Any], dict[str, Any]]


class SiteView(NamedTuple):
    """What happens at a site: of one image each, (1, C, H, W).

    Args:
        name: of the site.
        seen: the image as it arrives there; of a stage, as it reaches the backbone.
        phi: the warp that was found.
        canonical: ``seen`` under that warp.
        steps: evaluations before the search stopped.
        residual: that it was left with.
    """

    name: str
    seen: Tensor
    phi: WarpParams
    canonical: Tensor
    steps: int
    residual: float


class Comparison(NamedTuple):
    """Probabilities (1, classes) of an image by both models, and what happens to it at the sites of the DEC."""

    plain: Tensor
    dec: Tensor
    sites: list[SiteView]


def trained_pair(plain: str | Path, dec: str | Path) -> Pair:
    """The models of two finished runs, from their folders."""
    folders = (Path(plain), Path(dec))
    configs = tuple(load_run(folder / "config.yaml")[1].resolved() for folder in folders)
    first, second = (trained_model(folder) for folder in folders)
    if not isinstance(second, DECModel):
        raise ConfigError(f"{dec} has method.name {configs[1].method.tags[0]}; expected a run with dec")
    descriptions = tuple(
        input_description(config.model, model) for config, model in zip(configs, (first, second), strict=True)
    )
    return Pair(first, second, configs, descriptions)  # type: ignore[arg-type]


def beginning_pair(backbone: str, weights: str | Path | None = None, seed: int = 0) -> Pair:
    """A timm model, and the same behind a residual DEC that was not trained yet, and so changes nothing.

    Args:
        backbone: name of the timm model.
        weights: a safetensors or pth file under timm's names; None draws random ones.
        seed: of these.
    """
    described = ModelConfig(
        backbone=backbone, pretrained=False, weights=None if weights is None else str(weights), image_size=None
    )
    count = published_config(backbone).num_classes
    check_head(described, count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "model"))
        network = build_backbone(described, count).eval()
        adapted = with_dec(deepcopy(network), BEGINNING).eval()
    config = Config(data=PictureData(), model=described, evaluation=EvaluationConfig(split="val"))
    description = input_description(described, network)
    return Pair(plainly(network, Plain()).eval(), adapted, (config, config), (description, description))


def compared(pair: Pair, image: Tensor) -> Comparison:
    """What both say of an image, (1, C, H, W), and how the DEC sees it."""
    if len(image) != 1:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (1, C, H, W)")
    with torch.no_grad():
        output = pair.dec(image, return_output=True)
        return Comparison(pair.plain(image).softmax(-1), output.logits.softmax(-1), site_views(pair.dec, image, output))


def site_views(model: DECModel, image: Tensor, output: Any) -> list[SiteView]:
    """What an output for one image tells of every site."""
    behind = model.preprocess(image)
    views = []
    for number, (site, phi) in enumerate(zip(model.sites, output.phis, strict=True)):
        seen = image if site.opens == "input" else behind
        steps, residual = output.steps[0, number].item(), output.residual[0, number].item()
        views.append(SiteView(site.name, seen, phi, monotone_warp(seen, phi), steps, residual))
    return views
