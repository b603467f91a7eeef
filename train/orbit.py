"""An image's orbit: members of it are drawn for the canonicalizer to learn on, and it finds their warps.

No label is needed for that, and no backbone: see ``OrbitConfig`` for what is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config.losses import OrbitConfig
from layers.frame import Frame
from layers.grid import WarpParams, unchecked_warp_grid
from layers.sampling import sample
from layers.seeds import item_warps, seed_of
from layers.spec import SampleMode

States = list[list[WarpParams]]  # after each evaluation, the warp of every site


class Drawn(NamedTuple):
    """A member of each image's orbit: (B, C, H, W) pixels, the warp that made them, and (B,) whether there was one."""

    image: Tensor
    warp: WarpParams
    is_warped: Tensor


@dataclass(frozen=True, kw_only=True)
class Orbit:
    """How members are drawn; the options are those of ``OrbitConfig``.

    A warp belongs to the seed, the epoch and the item, and what a whole batch shares, R and the interpolation, to the
    step.
    """

    seed: int
    strengths: tuple[float, float]
    grid_sizes: Sequence[int]
    untouched: float
    interpolations: Sequence[SampleMode]
    shift: float
    evaluations: int
    lead: int

    def count(self, epoch: int, step: int) -> int:
        """Of the evaluations in a step, the leading ones included."""
        return self.evaluations + random.Random(seed_of(self.seed, "lead", epoch, step)).randint(0, self.lead)

    def draw(self, image: Tensor, items: Sequence[int], epoch: int, step: int) -> Drawn:
        """A member of the orbit of each of (B, C, H, W) images."""
        of_step = random.Random(seed_of(self.seed, "orbit", epoch, step))
        grid_size, mode = of_step.choice(self.grid_sizes), of_step.choice(self.interpolations)
        of_items = [random.Random(seed_of(self.seed, "member", epoch, item)) for item in items]
        is_warped = torch.tensor([draw.random() >= self.untouched for draw in of_items])
        strength = torch.tensor([draw.uniform(*self.strengths) for draw in of_items]) * is_warped
        shift = torch.tensor([[draw.uniform(-self.shift, self.shift) for _ in range(2)] for draw in of_items])
        entries = item_warps(items, grid_size, 1.0, self.seed, "member", epoch)
        warp = WarpParams(*((strength[:, None, None] * part).to(image.device, image.dtype) for part in entries))
        H, W = image.shape[-2:]
        pixel = torch.tensor([1 / max(W - 1, 1), 1 / max(H - 1, 1)])
        grid = unchecked_warp_grid(warp, (H, W))
        grid = grid + (shift * pixel).to(grid)[:, :, None, None]
        return Drawn(sample(image.to(grid.dtype), grid, mode).to(image.dtype), warp, is_warped.to(image.device))


@dataclass(kw_only=True)
class Members:
    """The drawn members of a batch, beside the images themselves and perhaps their siblings.

    Args:
        find: tells the warps of images after each evaluation, as ``AdaptedModel`` does with ``evaluations``.
        evaluations: the last so many of them count.
        image: (B, C, H, W), untouched.
        drawn: a member of the orbit of each.
        sibling: (B, C, H, W), the same objects at scale 1, where the data give them.
        place: (B, 2, 2), where the images show what their siblings show, see ``Batch``.
        needs: which of them warps are wanted of: "image", "drawn", and "quiet", what needs no warp; they go through the
            canonicalizer together.
        frames: of the sites, where their positions lie in the images.
    """

    find: Callable[[Tensor], Any]
    evaluations: int
    image: Tensor
    drawn: Drawn
    sibling: Tensor | None
    place: Tensor | None
    needs: Collection[str]
    frames: Sequence[Frame]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def quiet(self) -> str:
        """What needs no warp: siblings, or those of the drawn members that are untouched."""
        return "drawn" if self.sibling is None else "sibling"

    @property
    def is_quiet(self) -> Tensor:
        """(B,): which of the images that ``quiet`` names need no warp."""
        return ~self.drawn.is_warped if self.sibling is None else torch.ones_like(self.drawn.is_warped)

    def pixels(self, name: str) -> Tensor:
        """(B, C, H, W) of what has this name."""
        shown = {"image": self.image, "drawn": self.drawn.image, "sibling": self.sibling}[name]
        assert shown is not None
        return shown

    @cached_property
    def states(self) -> dict[str, States]:
        """Of each that is shown, the warps after every evaluation."""
        shown = sorted({self.quiet if need == "quiet" else need for need in self.needs})
        found = self.find(torch.cat([self.pixels(name) for name in shown])).states[-self.evaluations :]
        return {
            name: [[_part(phi, number, len(shown)) for phi in phis] for phis in found]
            for number, name in enumerate(shown)
        }


def _part(phi: WarpParams, number: int, count: int) -> WarpParams:
    return WarpParams(phi.x.chunk(count)[number], phi.y.chunk(count)[number])


def build_orbit(config: OrbitConfig, seed: int) -> Orbit:
    """How a recipe's members are drawn."""
    return Orbit(seed=seed, **vars(config))
