"""A backbone with doorways, whatever finds the warps that act there."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.canonicalizer import CanonicalForm
from layers.fixed_point import FixedPoint
from layers.frame import Frame
from layers.grid import WarpParams, check_params
from models.doorways import Visit, WarpSite
from models.sites import Size
from models.wrapped import WrappedBackbone, at_size_of


class DECOutput(NamedTuple):
    """Logits with what the canonicalizer found; phis holds one pair per site, residual is (B, K).

    Where so many evaluations were asked for, states holds the phis after each of them. steps, (B, K), tells after how
    many evaluations each image stopped.
    """

    logits: Tensor | None
    phis: tuple[WarpParams, ...]
    residual: Tensor
    states: tuple[tuple[WarpParams, ...], ...] = ()
    steps: Tensor | None = None


class AdaptedModel(WrappedBackbone, ABC):
    """A timm backbone whose stages compute on warped features; a drop-in for the plain model.

    Args:
        backbone: with the hooks of ``sites`` attached.
        sites: doorways, one per site.
        preprocess: what images go through after the canonicalizer and an "input" site, before all other sites.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[WarpSite], preprocess: nn.Module | None = None):
        super().__init__(backbone, preprocess)
        self.sites: Any = nn.ModuleList(sites).train(backbone.training)
        self.training = backbone.training  # an adapted network goes on in its mode

    @abstractmethod
    def find_warps(self, image: Tensor, evaluations: int = 0) -> CanonicalForm | None:
        """The warps of all sites, or None where each is found from the feature that arrives there, by ``solve_at``."""

    def solve_at(self, site: int, feature: Tensor, evaluations: int = 0) -> FixedPoint:
        """The warp of a site for the (B, C, H, W) feature that arrives there."""
        raise TypeError(f"{type(self).__name__} finds its warps from images, and none from a feature")

    def forward(
        self, image: Tensor, return_output: bool = False, warps_only: bool = False, evaluations: int = 0
    ) -> Tensor | DECOutput:
        """Logits of (B, C, H, W) images, or with ``return_output`` the warps and residuals too.

        With ``warps_only`` the backbone rests where the warps do not depend on it, and the logits are None. With
        ``evaluations`` a DEC's solver rests: its maps are evaluated so many times from the identity on.
        """
        if warps_only:
            _checked_size(image)
            form = self.find_warps(image, evaluations)
            if form is None:
                _, form = self._run(image, self.backbone, evaluations=evaluations)
            return DECOutput(None, form.phis, form.residual, form.states, form.steps)
        logits, form = self._run(image, self.backbone, evaluations=evaluations)
        return DECOutput(logits, form.phis, form.residual, form.states, form.steps) if return_output else logits

    def ask_backbone(self, image: Tensor, call: Callable[[Tensor], Any]) -> Any:
        """What a method of the backbone gives for images, with all sites warped."""
        return self._run(image, call)[0]

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

    def _run(
        self, image: Tensor, call: Callable, must_reach: bool = True, evaluations: int = 0
    ) -> tuple[Any, CanonicalForm]:
        _checked_size(image)
        form = self.find_warps(image, evaluations)
        if form is not None:
            return self._visit_all(image, call, [Visit(phi=phi) for phi in form.phis], must_reach), form
        visits = [Visit(solve=partial(self.solve_at, site, evaluations=evaluations)) for site in range(len(self.sites))]
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
            seen = self.preprocess(self._warped_before("input", image))
            for visit in visits:
                visit.image_size = _checked_size(seen)
            result = call(self._warped_before("image", seen))
            if call is self.backbone:
                result = self._restored(result, image)
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

    def _restored(self, logits: Any, image: Tensor) -> Any:
        """Undo on the answer the warps that are to be undone there, the last one first; at the size of the images."""
        sites = sorted((site for site in self.sites if site.restores_output), key=lambda site: -site.turn)
        if sites and logits.ndim != 4:
            raise ValueError(
                f"the site '{sites[0].name}' is restored at the output, which is {tuple(logits.shape)}; expected a "
                "map of logits (B, classes, H, W), as of models.dense.with_decoder"
            )
        for site in sites:
            logits = site.unwarped_output(at_size_of(image, logits) if site.opens == "input" else logits)
        return at_size_of(image, logits)

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


def _checked_size(image: Tensor) -> Size:
    """The (H, W) of a batch of images, which is refused if it is none."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image is {type(image).__name__}; expected a tensor")
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (B, C, H, W), none of them zero")
    if not image.is_floating_point():
        raise TypeError(f"image is {image.dtype}; expected a floating dtype")
    return image.shape[-2], image.shape[-1]
