"""What a part of a batch shows to the model, and what the model says of it, each computed once and when it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layers.frame import Frame
from layers.grid import WarpParams
from layers.monotone import unchecked_warp
from train.losses import halves
from train.orbit import Members


class Batch(NamedTuple):
    """A part of a batch on the model's device.

    Args:
        image: (B, C, H, W).
        label: (B,) class numbers, or (B, classes) shares where images were mixed.
        items: their numbers in the data set.
        sibling: (B, C, H, W), the same objects at scale 1, where the recipe needs them.
        place: (B, 2, 2), where the data know it: what the sibling shows at p, the image shows at
            ``place[:, 0] * p + place[:, 1]``.
    """

    image: Tensor
    label: Tensor
    items: list[int]
    sibling: Tensor | None = None
    place: Tensor | None = None

    @classmethod
    def loaded(cls, parts: Sequence[Tensor], device: torch.device) -> Batch:
        """What a loader yields, (image, label, index) and perhaps the sibling and its place, on a device."""
        image, label, index, *beside = parts
        image, label, *beside = (part.to(device, non_blocking=True) for part in (image, label, *beside))
        return cls(image, label, index.tolist(), *beside)

    def parts(self, count: int) -> Iterator[Batch]:
        """In so many parts of nearly equal size, each of which needs at least one item."""
        ends = [len(self.items) * part // count for part in range(count + 1)]
        for start, stop in pairwise(ends):
            beside = (None if part is None else part[start:stop] for part in (self.sibling, self.place))
            yield Batch(self.image[start:stop], self.label[start:stop], self.items[start:stop], *beside)


@dataclass(kw_only=True)
class Views:
    """The images, perhaps a second view of them, and the model's answers.

    Args:
        model: perhaps inside DistributedDataParallel.
        image: (B, C, H, W), the first view.
        warp: makes the second view of the first; None where nothing needs it.
        is_pair: whether both views go through the model together.
        finds_warps: whether the model tells the warps that it found.
        runs: whether the backbone runs, or only the canonicalizer.
        sibling: (B, C, H, W), the same objects at scale 1, where the data give them.
        members: versions of the images that the canonicalizer learns on; None where no term needs them.
        teacher: what the siblings are shown to, where a term needs it.
    """

    model: nn.Module
    image: Tensor
    warp: WarpParams | None
    is_pair: bool
    finds_warps: bool
    runs: bool
    sibling: Tensor | None = None
    members: Members | None = None
    teacher: nn.Module | None = None

    @cached_property
    def adapted(self) -> Any:
        """The model below DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    @cached_property
    def warped(self) -> Tensor:
        """The second view."""
        assert self.warp is not None
        return unchecked_warp(self.image, self.warp)

    @cached_property
    def shown(self) -> Tensor:
        """What the model is given: one view or both, one after the other."""
        return torch.cat([self.image, self.warped]) if self.is_pair else self.image

    @cached_property
    def output(self) -> Any:
        """What the model answers: logits alone, or with the warps that it found."""
        if not self.finds_warps:
            return self.model(self.shown)
        return self.model(self.shown, return_output=True) if self.runs else self.model(self.shown, warps_only=True)

    @cached_property
    def logits(self) -> tuple[Tensor, Tensor]:
        """(B, classes) of each view; where there is one, the same twice."""
        logits = (self.output.logits if self.finds_warps else self.output).float()
        first, second = logits.chunk(2) if self.is_pair else (logits, logits)
        return first, second

    @cached_property
    def taught(self) -> Tensor:
        """(B, classes) probabilities that the teacher gives the siblings; without a graph."""
        assert self.sibling is not None and self.teacher is not None
        with torch.no_grad():
            return self.teacher(self.sibling).float().softmax(dim=1)

    @cached_property
    def phis(self) -> tuple[list[WarpParams], list[WarpParams]]:
        """The warps that were found for each view, one per site."""
        if self.is_pair:
            return halves(self.output.phis)
        # The second view of a canonicalizer that reads images does not have to go through the backbone.
        return list(self.output.phis), list(self.adapted.find_warps(self.warped).phis)

    @cached_property
    def frames(self) -> list[Frame]:
        """Where the positions of each site lie in the images."""
        return self.adapted.frames((self.image.shape[-2], self.image.shape[-1]))
