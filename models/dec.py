"""DEC as a plug: sites at the stages of any timm backbone, and the model that finds their warps and uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor, nn

from layers.canonicalizer import CanonicalForm, Canonicalizer
from layers.fixed_point import FixedPoint
from layers.spec import DEC, Site
from models import hub
from models.adapted import AdaptedModel, DECOutput
from models.doorways import WarpSite, attach_sites, kind_of, reads_image
from models.early import EarlyFeatures
from models.sites import Size, StageInfo, probe, sites_of

__all__ = [
    "DEC",
    "AdaptedModel",
    "DECModel",
    "DECOutput",
    "Site",
    "StageInfo",
    "WarpSite",
    "attach_sites",
    "sites_of",
    "with_dec",
]


class DECModel(AdaptedModel, ModelHubMixin):
    """A timm backbone whose stages compute on canonicalized features.

    ``save_pretrained(folder)`` and ``push_to_hub(name)`` keep it, ``DECModel.from_pretrained`` brings it back.

    Args:
        backbone: with the hooks of ``sites`` attached.
        sites: doorways, one per site.
        canonicalizer: finds the sites' warps.
        preprocess: as for ``AdaptedModel``.
        spec: what it was made by, which a file of it has to name.
        image_channels: of the images that it takes, likewise.

    Attributes:
        backbone_options: of ``timm.create_model``, where the backbone was made by more than its classes, channels and
            size: ``{"act_layer": "relu"}``. A file has to name them too.
    """

    backbone_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[WarpSite],
        canonicalizer: Canonicalizer,
        preprocess: nn.Module | None = None,
        spec: DEC | None = None,
        image_channels: int = 3,
    ):
        super().__init__(backbone, sites, preprocess)
        self.canonicalizer = canonicalizer
        self.spec, self.image_channels = spec, image_channels

    def find_warps(self, image: Tensor, evaluations: int = 0) -> CanonicalForm | None:
        if self.canonicalizer.condition == "feature":
            return None
        if self.canonicalizer.condition == "early" and self.sites[0].opens == "image":
            image = self.preprocess(image)  # early features are those of the image as it is warped
        return self.canonicalizer(image, evaluations)

    def solve_at(self, site: int, feature: Tensor, evaluations: int = 0) -> FixedPoint:
        return self.canonicalizer.solve(site, feature, evaluations)

    def refresh_early_features(self) -> None:
        """Give the resting copy that early features come from, where there is one, the backbone's present weights."""
        for part in self.canonicalizer.modules():
            if isinstance(part, EarlyFeatures):
                part.copy_from(self.backbone)

    def generate_model_card(self, run: str | Path | None = None) -> ModelCard:
        """How to load the model, and the numbers of the run in this folder: ``model_card_kwargs={"run": FOLDER}``."""
        return hub.card(self._made(), run)

    def _made(self) -> hub.Made:
        if self.spec is None:
            raise ValueError("the model does not know its DEC; expected one that with_dec made")
        made = hub.made_of(self.backbone, self.spec, self.preprocess, self.image_channels)
        return made._replace(backbone_options={**made.backbone_options, **self.backbone_options})

    def _save_pretrained(self, save_directory: Path) -> None:
        made = self._made()
        size = (self.image_channels, *self.sites[0].image_size)
        hub.check_same(self, lambda: with_dec(made.new_backbone(), made.dec, preprocess=made.new_preprocess()), size)
        hub.write(save_directory, made, self)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, backbone_options: dict[str, Any] | None = None, **options: Any
    ) -> DECModel:
        made = hub.read(hub.fetch(model_id, hub.CONFIG, options))
        backbone = made.new_backbone(**(backbone_options or {}))
        model = with_dec(backbone, made.dec, preprocess=made.new_preprocess())
        model.backbone_options = {**made.backbone_options, **(backbone_options or {})}
        hub.load_weights(model, hub.fetch(model_id, hub.WEIGHTS, options))
        return model.eval()


def with_dec(
    backbone: nn.Module,
    spec: DEC | Sequence[Site],
    *,
    image_size: Size | int | None = None,
    preprocess: nn.Module | None = None,
    **options: Any,
) -> DECModel:
    """Put DEC into a timm backbone, in place; load the backbone's weights before or after, its keys stay timm's.

    With ``condition="early"`` load them before, for the maps read a copy of the backbone as it is now; or call the
    model's ``refresh_early_features()`` afterwards.

    Args:
        backbone: any timm model with ``feature_info``.
        spec: where to canonicalize, and how: a ``DEC``, such as ``DEC(sites=(Site("image", 8),), strength=0.5)``; or
            its sites alone. ``sites_of(backbone)`` lists the stages.
        image_size: (H, W) that the backbone takes, where it does not tell.
        preprocess: what images go through after the canonicalizer and an "input" site, before all other sites.
        **options: fields of a ``DEC``, in the place of what ``spec`` has.
    """
    dec = replace(spec, **options) if isinstance(spec, DEC) else DEC(sites=tuple(spec), **options)
    found = probe(backbone, image_size)
    for site in dec.sites:
        kind_of(site).check(site, found)
    is_residual = dec.equilibrium == "residual"
    first = found.image_channels if is_residual else dec.channels[0]
    needs_image = dec.condition == "image" or any(map(reads_image, dec.sites))
    if needs_image and first != found.image_channels:
        raise ValueError(f"channels start with {first}, but the backbone's images have {found.image_channels}")
    arriving = [kind_of(site).arriving(site, found, first) for site in dec.sites]
    of_maps = {name: value for name, value in vars(dec).items() if name != "sites"}
    if dec.condition == "feature":
        of_maps["feature_channels"] = [count for count, _ in arriving]
    elif is_residual:
        of_maps["feature_channels"] = [first] * len(dec.sites)
    if dec.condition == "early":
        (site,) = dec.sites
        before = preprocess if kind_of(site).opens == "input" else None
        of_maps["early_features"] = EarlyFeatures(backbone, dec.early.indices, found, before)
    canonicalizer = Canonicalizer([site.grid_size for site in dec.sites], **of_maps)
    if dec.condition == "feature":
        for update, (_, size) in zip(canonicalizer.module_list, arriving, strict=True):
            update.check_size(size)
    weight = next(backbone.parameters())
    canonicalizer.to(weight.device, torch.promote_types(weight.dtype, torch.float32)).train(backbone.training)
    doorways = attach_sites(backbone, dec.sites, found)
    for doorway in doorways:
        doorway.keeps_still = is_residual  # as published, an identity rounds
    return DECModel(backbone, doorways, canonicalizer, preprocess, dec, found.image_channels)
