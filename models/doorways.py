"""The kinds of places where a DEC acts, each a doorway: it attaches itself, warps what goes in, and restores it.

``Site.stage`` says which kind: a number is a stage's, and ``KINDS`` has those with names. A new kind is a class here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from layers.fixed_point import FixedPoint
from layers.frame import Frame
from layers.grid import WarpParams
from layers.layout import Layout
from layers.monotone import unchecked_inverse_warp, unchecked_warp
from layers.residual import exactly_still
from layers.spec import Site
from models.sites import Doorway, Probe, Size, StageInfo


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
        site: what was asked for.
        found: what the backbone is.
    """

    rank = 2
    """Sites of a lower rank attach first. What a site on the image restores, the first stage's own site warps
    afterwards; and of two warps, the one that came last is undone first."""
    first_turn = 2
    opens: str | None = None
    """What of the model's own way this doorway stands before: "input", or "image" after the preprocessing; a stage's
    is reached through hooks instead."""

    def __init__(self, site: Site, found: Probe):
        super().__init__()
        self.check(site, found)
        self.image_size = found.image_size  # that the backbone was probed with
        self.inverse = site.inverse
        self.restores = site.acts_alone
        """Whether the warp is undone behind the stage."""
        self.restores_output = site.restore and not site.acts_alone
        """Whether it is undone on what the model answers."""
        self.turn = self.first_turn + (site.stage if isinstance(site.stage, int) else 0)
        """Sites come one after the other in this order."""
        stage, output = self._info(site, found), self._output(site, found)
        self.name, self.layout, self.size = stage.module, stage.layout, stage.size
        self.output = output if isinstance(output, Layout) else None
        self.hooked: str | None = stage.module
        """Name of the module that the hooks sit on, if there are any."""
        self.keeps_still = False
        """Whether an identity changes no bit, which sampling would."""
        self.visit: Visit | None = None  # lives only inside one forward of the DECModel

    @classmethod
    def check(cls, site: Site, found: Probe) -> None:
        """Refuse what a backbone does not have, or cannot undo, with what it has."""
        if type(site.stage) is not int or site.stage not in range(len(found.stages)):
            valid = [*map(repr, KINDS), *(f"{stage.stage} ({stage.module})" for stage in found.stages)]
            reason = "; what arrives at the others has scales, and no warp moves that" if found.has_scales else ""
            raise ValueError(f"there is no stage {site.stage!r}; valid stages are {', '.join(valid)}{reason}")
        cls._check_output(site, found)

    @classmethod
    def arriving(cls, site: Site, found: Probe, image_channels: int) -> tuple[int, Size]:
        """Channels and (H, W) of what a canonicalizer conditioned on features reads there."""
        stage = cls._info(site, found)
        return stage.channels, stage.size

    def attach(self, backbone: nn.Module) -> None:
        """Hook this doorway into a backbone; hooks are bound methods of modules, so copies follow their model."""
        stage = backbone.get_submodule(self.name)
        stage.register_forward_pre_hook(self.canonicalize)
        if self.restores:
            stage.register_forward_hook(self.restore)

    @classmethod
    def _info(cls, site: Site, found: Probe) -> StageInfo:
        """What the backbone has there."""
        return found.stages[cls._stage(site, found)]

    @classmethod
    def _stage(cls, site: Site, found: Probe) -> int:
        """The number of the stage that this site is about."""
        assert isinstance(site.stage, int)
        return site.stage

    @classmethod
    def _output(cls, site: Site, found: Probe) -> Layout | str:
        """The layout of what is restored, or why it cannot be."""
        return found.outputs[cls._stage(site, found)]

    @classmethod
    def _check_output(cls, site: Site, found: Probe) -> None:
        output = cls._output(site, found)
        if site.acts_alone and isinstance(output, str):
            raise ValueError(f"stage {site.stage} cannot be restored: {output}")

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
        return self.layout.on_grid(partial(self._warp, unchecked_warp, phi=visit.phi), feature, at)

    def restore(self, stage: nn.Module, args: tuple, feature: Tensor) -> Tensor:
        """Forward hook of the stage."""
        return self.unwarped(feature)

    def unwarped(self, feature: Tensor) -> Tensor:
        """Undo the warp of this visit on a feature after the stage, whatever its size."""
        visit = self._visit()
        assert visit.phi is not None and self.output is not None
        at = self._size_of(self.output, feature, visit)
        return self.output.on_grid(partial(self._warp, self._unwarp, phi=visit.phi), feature, at)

    def unwarped_output(self, logits: Tensor) -> Tensor:
        """Undo the warp of this visit on the (B, classes, H, W) answer of the model."""
        phi = self._visit().phi
        assert phi is not None
        return self._warp(self._unwarp, logits, phi=phi)

    def move_below(self, prefix: str) -> None:
        """Follow the backbone, whose modules have got this in front of their names."""
        if self.hooked is not None:
            self.hooked = prefix + self.hooked
            self.name = self.name if self.opens else self.hooked

    def frame(self, seen: Size, of_seen: Frame) -> Frame:
        """Where this site's positions lie in images.

        Args:
            seen: (H, W) of what the backbone gets of them.
            of_seen: where positions of that lie in them.
        """
        return Frame.resized(self._expected(seen), seen).within(of_seen)

    def _warp(self, function: Callable[..., Tensor], image: Tensor, phi: WarpParams) -> Tensor:
        warped = function(image, phi)
        return exactly_still(image, phi, warped) if self.keeps_still else warped

    def _unwarp(self, image: Tensor, phi: WarpParams) -> Tensor:
        return unchecked_inverse_warp(image, phi, self.inverse)

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


class ImageSite(WarpSite):
    """The image as the backbone sees it; what is restored there is what the first stage gets."""

    rank, first_turn = 0, 1
    opens: str | None = "image"

    def __init__(self, site: Site, found: Probe):
        super().__init__(site, found)
        first = self.name
        self.name, self.layout, self.hooked = str(site.stage), Layout("NCHW"), first if self.restores else None
        self.first = first

    @classmethod
    def check(cls, site: Site, found: Probe) -> None:
        cls._check_output(site, found)

    @classmethod
    def arriving(cls, site: Site, found: Probe, image_channels: int) -> tuple[int, Size]:
        return image_channels, found.image_size

    def attach(self, backbone: nn.Module) -> None:
        if self.restores:
            backbone.get_submodule(self.first).register_forward_pre_hook(self.restore_input)

    def restore_input(self, stage: nn.Module, args: tuple) -> tuple:
        """Forward pre-hook of the first stage."""
        return (self.unwarped(args[0]), *args[1:])

    def frame(self, seen: Size, of_seen: Frame) -> Frame:
        return of_seen

    @classmethod
    def _info(cls, site: Site, found: Probe) -> StageInfo:
        """The first stage; or nothing but the image, where all stages have scales."""
        whole = StageInfo(0, "", Layout("NCHW"), found.image_size, found.image_channels)
        return found.stages[0] if found.stages else whole

    @classmethod
    def _stage(cls, site: Site, found: Probe) -> int:
        return 0

    @classmethod
    def _output(cls, site: Site, found: Probe) -> Layout | str:
        return found.stages[0].layout if found.stages else "what its first stage gets has scales"


class InputSite(ImageSite):
    """The image as the model is given it, before it is preprocessed."""

    rank, first_turn = 1, 0
    opens = "input"

    def frame(self, seen: Size, of_seen: Frame) -> Frame:
        return Frame()


KINDS: dict[str, type[WarpSite]] = {"image": ImageSite, "input": InputSite}


def kind_of(site: Site) -> type[WarpSite]:
    """The class of a site's doorway."""
    return KINDS.get(str(site.stage), WarpSite)


def reads_image(site: Site) -> bool:
    """Whether what arrives there is the image itself."""
    return kind_of(site).opens is not None


def attach_sites(backbone: nn.Module, sites: Sequence[Site], found: Probe) -> list[WarpSite]:
    """Hook doorways into a backbone's stages, and return them in the order of the sites."""
    doorways = [kind_of(site)(site, found) for site in sites]
    for doorway in sorted(doorways, key=lambda doorway: doorway.rank):
        doorway.attach(backbone)
    return doorways
