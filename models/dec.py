"""DEC as a plug: sites at the stages of any timm backbone, and the model that finds their warps and uses them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.canonicalizer import CanonicalForm, Canonicalizer
from layers.fixed_point import FixedPoint
from layers.frame import Frame
from layers.grid import WarpParams, check_params
from layers.layout import Layout
from layers.monotone import unchecked_inverse_warp, unchecked_warp
from layers.spec import DEC, Site
from models.sites import Doorway, Probe, Size, StageInfo, probe, sites_of
from models.wrapped import WrappedBackbone

__all__ = ["DEC", "DECModel", "DECOutput", "Site", "StageInfo", "WarpSite", "attach_sites", "sites_of", "with_dec"]


class DECOutput(NamedTuple):
    """Logits with what the canonicalizer found; phis holds one pair per site, residual is (B, K)."""

    logits: Tensor
    phis: tuple[WarpParams, ...]
    residual: Tensor


@dataclass
class Visit:
    """What a site needs to know during one forward pass, and what it found.

    Args:
        image_size: (H, W) of the images that the backbone gets.
        phi: the warp, where it is known before the backbone runs.
        solve: finds the warp from the arriving feature, where it depends on that.
        point: what ``solve`` found.
    """

    image_size: Size = (0, 0)
    phi: WarpParams | None = None
    solve: Callable[[Tensor], FixedPoint] | None = None
    point: FixedPoint | None = None
    is_reached: bool = False


class WarpSite(Doorway):
    """One stage's doorway: canonicalize what goes in, restore what comes out.

    Args:
        name: of the stage's module, or "image" or "input".
        layout: of what is canonicalized.
        output: layout of what is restored, where it is known.
        size: (H, W) of the stage's feature for images of ``image_size``.
        image_size: (H, W) that the backbone was probed with.
        hooked: name of the module that the hooks sit on, if there are any.
    """

    def __init__(
        self, name: str, layout: Layout, output: Layout | None, size: Size, image_size: Size, hooked: str | None
    ):
        super().__init__()
        self.name, self.layout, self.output, self.hooked = name, layout, output, hooked
        self.size, self.image_size = size, image_size
        self.visit: Visit | None = None  # lives only inside one forward of the DECModel

    def canonicalize(self, stage: nn.Module, args: tuple) -> tuple:
        """Forward pre-hook of the stage."""
        return (self.warped(args[0]), *args[1:])

    def warped(self, feature: Tensor) -> Tensor:
        """Warp a feature by the phi of this visit, solving for it first if it depends on the feature."""
        visit = self._visit()
        if visit.is_reached:
            raise RuntimeError(
                f"warp site '{self.name}' was reached twice in one forward pass; its stage must run once"
            )
        visit.is_reached = True
        at = self._size_of(self.layout, feature, visit)
        if visit.solve is not None:
            visit.point = visit.solve(self.layout.to_grid(feature, at))
            visit.phi = visit.point.value
        assert visit.phi is not None
        return self.layout.on_grid(partial(unchecked_warp, phi=visit.phi), feature, at)

    def restore(self, stage: nn.Module, args: tuple, feature: Tensor) -> Tensor:
        """Forward hook of the stage."""
        return self.unwarped(feature)

    def restore_input(self, stage: nn.Module, args: tuple) -> tuple:
        """Forward pre-hook of the stage that follows a site on the image."""
        return (self.unwarped(args[0]), *args[1:])

    def unwarped(self, feature: Tensor) -> Tensor:
        """Undo the warp of this visit on a feature behind the stage, whatever its size."""
        visit = self._visit()
        assert visit.phi is not None and self.output is not None
        at = self._size_of(self.output, feature, visit)
        return self.output.on_grid(partial(unchecked_inverse_warp, phi=visit.phi), feature, at)

    def frame(self, given: Size, seen: Size, of_seen: Frame) -> Frame:
        """Where this site's positions lie in images of size ``given``.

        Args:
            given: (H, W) of the images as the model is given them.
            seen: (H, W) of what the backbone gets of them.
            of_seen: where positions of that lie in the images.
        """
        if self.name == "input":
            return Frame()
        return of_seen if self.name == "image" else Frame.resized(self._expected(seen), seen).within(of_seen)

    def _visit(self) -> Visit:
        if self.visit is None:
            raise RuntimeError(
                f"warp site '{self.name}' has no warp: call the DECModel instead of its backbone, and without "
                "activation checkpointing around the stage"
            )
        return self.visit

    def _size_of(self, layout: Layout, feature: Tensor, visit: Visit) -> Size:
        return layout.size_of(feature, self._expected(visit.image_size))

    def _expected(self, image_size: Size) -> Size:
        """(H, W) of the stage's feature for images of this size."""
        (h, w), (H0, W0), (H, W) = self.size, self.image_size, image_size
        return -(-h * H // H0), -(-w * W // W0)


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

    def forward(self, image: Tensor, return_output: bool = False) -> Tensor | DECOutput:
        """Logits of (B, C, H, W) images, or with ``return_output`` the warps and residuals too."""
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
        return [site.frame(image_size, *seen) for site in self.sites]

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
            image = self.preprocess(self._warped_at("input", image))
            for visit in visits:
                visit.image_size = _batch_size(image)
            result = call(self._warped_at("image", image))
        finally:
            for site in self.sites:
                site.visit = None
        missed = [site.name for site, visit in zip(self.sites, visits, strict=True) if not visit.is_reached]
        if missed and must_reach:
            raise RuntimeError(f"warp sites never reached: {', '.join(missed)}; the backbone skipped their hooks")
        return result

    def _warped_at(self, name: str, image: Tensor) -> Tensor:
        for site in self.sites:
            if site.name == name:
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
    check_stages(dec.sites, found)
    first = dec.channels[0]
    reads_image = dec.condition == "image" or any(isinstance(site.stage, str) for site in dec.sites)
    if reads_image and first != found.image_channels:
        raise ValueError(f"channels start with {first}, but the backbone's images have {found.image_channels}")
    arriving = [_arriving(site, found, first) for site in dec.sites]
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


def attach_sites(backbone: nn.Module, sites: Sequence[Site], found: Probe) -> list[WarpSite]:
    """Hook doorways into a backbone's stages; hooks are bound methods of modules, so copies follow their model."""
    doorways = [_doorway(site, found) for site in sites]
    # Sites on the image come first: what they restore, the first stage's own site warps afterwards. Of two, the warp
    # that came last is undone first.
    order = {"image": 0, "input": 1}
    for site, doorway in sorted(zip(sites, doorways, strict=True), key=lambda pair: order.get(str(pair[0].stage), 2)):
        if isinstance(site.stage, str):
            if site.restore:
                first = backbone.get_submodule(found.stages[0].module)
                first.register_forward_pre_hook(doorway.restore_input)
            continue
        stage = backbone.get_submodule(doorway.name)
        stage.register_forward_pre_hook(doorway.canonicalize)
        if site.restore:
            stage.register_forward_hook(doorway.restore)
    return doorways


def _doorway(site: Site, found: Probe) -> WarpSite:
    if isinstance(site.stage, str):
        first = found.stages[0]
        hooked = first.module if site.restore else None
        return WarpSite(site.stage, Layout("NCHW"), first.layout, first.size, found.image_size, hooked)
    stage, output = found.stages[site.stage], found.outputs[site.stage]
    returned = output if isinstance(output, Layout) else None
    return WarpSite(stage.module, stage.layout, returned, stage.size, found.image_size, stage.module)


def _arriving(site: Site, found: Probe, image_channels: int) -> tuple[int, Size]:
    """Channels and (H, W) of what a canonicalizer conditioned on features reads there."""
    if isinstance(site.stage, str):
        return image_channels, found.image_size
    stage = found.stages[site.stage]
    return stage.channels, stage.size


def check_stages(sites: Sequence[Site], found: Probe) -> None:
    """Refuse sites that a backbone does not have, with the valid ones."""
    valid = "valid stages are 'image', 'input', " + ", ".join(
        f"{stage.stage} ({stage.module})" for stage in found.stages
    )
    for site in sites:
        is_image = site.stage in ("image", "input")
        if not is_image and (type(site.stage) is not int or site.stage not in range(len(found.stages))):
            raise ValueError(f"there is no stage {site.stage!r}; {valid}")
        output = found.stages[0].layout if isinstance(site.stage, str) else found.outputs[site.stage]
        if site.restore and isinstance(output, str):
            raise ValueError(f"stage {site.stage} cannot be restored: {output}")


def _batch_size(image: Tensor) -> Size:
    """The (H, W) of a batch of images, which is refused if it is none."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image is {type(image).__name__}; expected a tensor")
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"image has shape {tuple(image.shape)}; expected (B, C, H, W), none of them zero")
    if not image.is_floating_point():
        raise TypeError(f"image is {image.dtype}; expected a floating dtype")
    return image.shape[-2], image.shape[-1]
