"""DEC as a plug: sites at the stages of any timm backbone, and the model that finds their warps and uses them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.canonicalizer import CanonicalForm, Canonicalizer
from layers.frame import Frame
from layers.grid import WarpParams, check_params
from layers.spec import DEC, Site
from models.doorways import Visit, WarpSite, attach_sites, kind_of, reads_image
from models.sites import Size, StageInfo, probe, sites_of
from models.wrapped import WrappedBackbone

__all__ = ["DEC", "DECModel", "DECOutput", "Site", "StageInfo", "WarpSite", "attach_sites", "sites_of", "with_dec"]


class DECOutput(NamedTuple):
    """Logits with what the canonicalizer found; phis holds one pair per site, residual is (B, K)."""

    logits: Tensor | None
    phis: tuple[WarpParams, ...]
    residual: Tensor


class DECModel(WrappedBackbone):
    """A timm backbone whose stages compute on canonicalized features; a drop-in for the plain model.

    Args:
        backbone: with the hooks of ``sites`` attached.
        sites: doorways, one per site.
        canonicalizer: finds the sites' warps; see ``find_warps`` for models that find them otherwise.
        preprocess: what images go through behind the canonicalizer and an "input" site, before all other sites.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[WarpSite],
        canonicalizer: nn.Module,
        preprocess: nn.Module | None = None,
    ):
        super().__init__(backbone, preprocess)
        self.sites: Any = nn.ModuleList(sites).train(backbone.training)
        self.canonicalizer: Any = canonicalizer
        self.training = backbone.training  # an adapted network goes on in its mode

    def forward(self, image: Tensor, return_output: bool = False, warps_only: bool = False) -> Tensor | DECOutput:
        """Logits of (B, C, H, W) images, or with ``return_output`` the warps and residuals too.

        With ``warps_only`` the backbone rests where the warps do not depend on it, and the logits are None.
        """
        if warps_only:
            _batch_size(image)
            form = self.find_warps(image)
            if form is None:
                _, form = self._run(image, self.backbone)
            return DECOutput(None, form.phis, form.residual)
        logits, form = self._run(image, self.backbone)
        return DECOutput(logits, form.phis, form.residual) if return_output else logits

    def forward_features(self, image: Tensor) -> Tensor:
        """timm's features before the head, canonicalized."""
        return self._run(image, self.backbone.forward_features)[0]

    def forward_head(self, features: Tensor, *args: Any, **options: Any) -> Tensor:
        """timm's head on such features."""
        return self.backbone.forward_head(features, *args, **options)

    def forward_intermediates(self, image: Tensor, *args: Any, **options: Any) -> Any:
        """timm's intermediate features, canonicalized; what ``stop_early`` leaves out is not looked for."""

        def call(warped: Tensor) -> Any:
            return self.backbone.forward_intermediates(warped, *args, **options)

        given = inspect.signature(self.backbone.forward_intermediates).bind(image, *args, **options).arguments
        return self._run(image, call, must_reach=not given.get("stop_early", False))[0]

    def predict(self, image: Tensor, phis: Sequence[WarpParams]) -> Tensor:
        """Logits under these warps, one pair per site, instead of those that the canonicalizer finds."""
        if len(phis) != len(self.sites):
            raise ValueError(f"{len(phis)} pairs of parameters for {len(self.sites)} sites; expected one each")
        for phi in phis:
            check_params(phi)
        return self.predict_under(image, phis)

    def predict_under(self, image: Tensor, phis: Sequence[WarpParams]) -> Tensor:
        """``predict`` under warps that were just computed here, without a look at their values."""
        return self._visit_all(image, self.backbone, [Visit(phi=phi) for phi in phis], must_reach=True)

    def find_warps(self, image: Tensor) -> CanonicalForm | None:
        """The warps of all sites, or None where each is found from the feature that arrives there."""
        return self.canonicalizer(image) if self.canonicalizer.condition == "image" else None

    def frames(self, image_size: Size) -> list[Frame]:
        """Where the positions of each site lie in images of this (H, W), as the model is given them.

        A warp of the images and a site's phi read in different [0, 1] wherever ``preprocess`` cuts, and at stages,
        whose pixels are larger: ``frame.to_whole`` makes positions of a site comparable with those of the image. The
        pixels of a stage are taken to lie evenly over the image, as patches do; see ``Frame.resized``.
        """
        seen = self.preprocessed_frame(image_size)
        return [site.frame(*seen) for site in self.sites]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch timm's activation checkpointing, where it does not recompute a stage without its warp."""
        self.backbone.set_grad_checkpointing(enable)
        try:
            self._check_checkpointing()
        except ValueError:
            self.backbone.set_grad_checkpointing(False)
            raise

    def _run(self, image: Tensor, call: Callable, must_reach: bool = True) -> tuple[Any, CanonicalForm]:
        _batch_size(image)
        form = self.find_warps(image)
        if form is not None:
            return self._visit_all(image, call, [Visit(phi=phi) for phi in form.phis], must_reach), form
        visits = [Visit(solve=partial(self.canonicalizer.solve, site)) for site in range(len(self.sites))]
        result = self._visit_all(image, call, visits, must_reach)
        points = [visit.point for visit in visits if visit.point is not None]
        if not points:  # the backbone stopped early, before the first site
            nothing = torch.empty(len(image), 0, device=image.device)
            return result, CanonicalForm((), nothing, nothing)
        return result, CanonicalForm.of(points)

    def _visit_all(self, image: Tensor, call: Callable, visits: list[Visit], must_reach: bool) -> Any:
        self._check_checkpointing()
        try:
            for site, visit in zip(self.sites, visits, strict=True):
                site.visit = visit
            image = self.preprocess(self._warped_before("input", image))
            for visit in visits:
                visit.image_size = _batch_size(image)
            result = call(self._warped_before("image", image))
        finally:
            for site in self.sites:
                site.visit = None
        missed = [site.name for site, visit in zip(self.sites, visits, strict=True) if not visit.is_reached]
        if missed and must_reach:
            raise RuntimeError(f"warp sites never reached: {', '.join(missed)}; the backbone skipped their hooks")
        return result

    def _warped_before(self, way: str, image: Tensor) -> Tensor:
        for site in self.sites:
            if site.opens == way:
                image = site.warped(image)
        return image

    def _check_checkpointing(self) -> None:
        """Checkpointing inside a stage is fine; around one, the backward pass would recompute it without its warp."""
        for site in self.sites:
            outer = self.backbone
            for part in site.hooked.split(".") if site.hooked else ():
                if getattr(outer, "grad_checkpointing", False):
                    raise ValueError(
                        f"activation checkpointing of {type(outer).__name__} would recompute '{site.hooked}' without "
                        "its warp; switch it off with set_grad_checkpointing(False)"
                    )
                outer = getattr(outer, part, None)


def with_dec(
    backbone: nn.Module,
    spec: DEC | Sequence[Site],
    *,
    image_size: Size | int | None = None,
    preprocess: nn.Module | None = None,
    **options: Any,
) -> DECModel:
    """Put DEC into a timm backbone, in place; load the backbone's weights before or after, its keys stay timm's.

    Args:
        backbone: any timm model with ``feature_info``.
        spec: where to canonicalize, and how: a ``DEC``, such as ``DEC(sites=(Site("image", 8),), strength=0.5)``; or
            its sites alone. ``sites_of(backbone)`` lists the stages.
        image_size: (H, W) that the backbone takes, where it does not tell.
        preprocess: what images go through behind the canonicalizer and an "input" site, before all other sites.
        **options: fields of a ``DEC``, in the place of what ``spec`` has.
    """
    dec = replace(spec, **options) if isinstance(spec, DEC) else DEC(sites=tuple(spec), **options)
    found = probe(backbone, image_size)
    for site in dec.sites:
        kind_of(site).check(site, found)
    first = dec.channels[0]
    needs_image = dec.condition == "image" or any(map(reads_image, dec.sites))
    if needs_image and first != found.image_channels:
        raise ValueError(f"channels start with {first}, but the backbone's images have {found.image_channels}")
    arriving = [kind_of(site).arriving(site, found, first) for site in dec.sites]
    of_maps = {name: value for name, value in vars(dec).items() if name != "sites"}
    if dec.condition == "feature":
        of_maps["feature_channels"] = [count for count, _ in arriving]
    canonicalizer = Canonicalizer([site.grid_size for site in dec.sites], **of_maps)
    if dec.condition == "feature":
        for update, (_, size) in zip(canonicalizer.module_list, arriving, strict=True):
            update.check_size(size)
    weight = next(backbone.parameters())
    canonicalizer.to(weight.device, torch.promote_types(weight.dtype, torch.float32)).train(backbone.training)
    return DECModel(backbone, attach_sites(backbone, dec.sites, found), canonicalizer, preprocess)


def _batch_size(image: Tensor) -> Size:
    """The (H, W) of a batch of images, which is refused if it is none."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image is {type(image).__name__}; expected a tensor")
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (B, C, H, W), none of them zero")
    if not image.is_floating_point():
        raise TypeError(f"image is {image.dtype}; expected a floating dtype")
    return image.shape[-2], image.shape[-1]
