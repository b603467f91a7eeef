"""What studies are tried out on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

import models.scale_zoo  # noqa: F401  (makes its networks known to timm)
from dataloader.build import build_splits
from dataloader.stir import build
from evaluation.study import Subject
from layers.frame import Frame
from layers.grid import WarpParams
from models.adapted import DECOutput
from models.wrapped import WrappedBackbone
from tests.dataloader.stir.bars import bars, recipe_on


@functools.cache
def parts() -> Any:
    """Bars of two objects of three classes at 48 sizes."""
    made, build._made = build._made, lambda *_: bars()
    try:
        return build_splits(recipe_on("none"), 0, trains=False).evaluated
    finally:
        build._made = made


def subject(count: int = 2, fresh: Callable[[], nn.Module] | None = None, seed: int = 5) -> Subject:
    return Subject(parts(), count, seed, fresh or (lambda: network("standard", seed=1)))


def network(system: str, seed: int = 0, **options: Any) -> WrappedBackbone:
    """A two-layer network of the zoo, as build_model gives it."""
    return wrapped(f"stir2_{system}", seed, num_classes=3, in_chans=1, **options)


def wrapped(name: str, seed: int = 0, **options: Any) -> WrappedBackbone:
    """A timm model, as build_model gives it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WrappedBackbone(timm.create_model(name, **options)).eval()


class Named(NamedTuple):
    name: str


class Warps(nn.Module):
    """An adapted model with one site, which finds what it is told to."""

    def __init__(self, find: Callable[[Tensor], WarpParams]):
        super().__init__()
        self.find, self.sites, self.backbone = find, [Named("image")], nn.Identity()

    def forward(self, image: Tensor, warps_only: bool = False) -> DECOutput:
        assert warps_only
        return DECOutput(None, (self.find(image),), torch.zeros(len(image), 1))

    def frames(self, size: tuple[int, int]) -> list[Frame]:
        return [Frame()]
