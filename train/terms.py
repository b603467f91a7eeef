"""The terms of the loss: each is a small object that says what it needs of a batch, and computes its mean.

``config/losses.py`` has what a recipe can set of each. A term that is added is a class there and one here, which
``TERMS`` lists under the term's name; it is then weighed, summed and logged like the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from config.losses import FormTerm, LossConfig
from config.schema import Config, ConfigError
from layers.frame import Frame
from layers.grid import WarpParams, unchecked_warp_grid
from layers.sampling import sample_bilinear
from train.losses import (
    EQUIVARIANCE_LOSSES,
    agreement_loss,
    align_loss,
    consistency_loss,
    phi_difference_loss,
    phi_prior_loss,
    pixel_loss,
    rest_loss,
    undo_loss,
    uniqueness_loss,
)
from train.orbit import Members
from train.tasks import Task
from train.views import Views

NEAR = 5  # pixels, of which a pixel's detail is told


class Moment(NamedTuple):
    """What a term may know besides the views.

    Args:
        task: that the labels are of.
        labels: of the first and of the second view.
        is_warped: whether the draw of this batch fell on its warped version.
        epoch: counted from 0.
    """

    task: Task
    labels: tuple[Tensor, Tensor]
    is_warped: bool
    epoch: int


@dataclass(frozen=True)
class Term(ABC):
    """What all terms have.

    Args:
        loss: the loss section of a recipe.
        draws: whether batches are warped by chance, ``warp.probability`` above 0.
    """

    needs = frozenset[str]()
    """What must be computed for it:

    - logits: the backbone's answer;
    - warps: the canonicalizer's;
    - pair: both views, through the model;
    - second: a second view, at least for the canonicalizer;
    - names of ``train/orbit.py``: the warps of drawn members, of the image itself, or of images that need no warp.
    """

    loss: LossConfig
    draws: bool

    @abstractmethod
    def __call__(self, views: Views, moment: Moment) -> Tensor:
        """The mean over the images, with its graph."""


class TaskLoss(Term):
    """The task, on both views where there are two, or on the one that the draw fell on."""

    needs = frozenset({"logits"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        (first, second), (label, warped_label), task = views.logits, moment.labels, moment.task
        if not self.loss.two_views:  # a second view, if any, serves the equivariance loss alone
            return task.loss(first, label)
        if self.draws:
            return task.loss(second, warped_label) if moment.is_warped else task.loss(first, label)
        return (task.loss(first, label) + task.loss(second, warped_label)) / 2


class Equivariance(Term):
    """The distance of the two views' predictions."""

    needs = frozenset({"logits", "pair"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        assert views.warp is not None
        return EQUIVARIANCE_LOSSES[self.loss.equivariance.distance](*moment.task.aligned(*views.logits, views.warp))


class Teach(Term):
    """What the teacher says of the sibling is the label."""

    needs = frozenset({"logits"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        first, second = (F.cross_entropy(logits, views.taught) for logits in views.logits)
        return (first + second) / 2


class Phi(Term):
    """The warps of two views, apart from each other and near the identity; the first part grows with the epochs."""

    needs = frozenset({"warps", "pair"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        phi, total = self.loss.phi, views.image.new_zeros(())
        weight = min(phi.difference + moment.epoch * phi.difference_increment, phi.difference_max)
        if weight > 0:
            total = total + weight * phi_difference_loss(*views.phis)
        if phi.prior > 0:
            total = total + phi.prior * phi_prior_loss([*views.output.phis])
        return total


class Consistency(Term):
    """One canonical form for an image and its warped version."""

    needs = frozenset({"warps", "second"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        assert views.warp is not None
        return consistency_loss(*views.phis, views.warp, views.frames)


class Uniqueness(Term):
    """Energies of two views, far apart before the inner loop and equal after it."""

    needs = frozenset({"warps", "pair"})

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        found = tuple(views.output.phis)
        identity = tuple(
            WarpParams.identity(len(phi.x), phi.grid_size, device=phi.x.device, dtype=phi.x.dtype) for phi in found
        )
        before, after = (views.adapted.energies(views.shown, phis).chunk(2) for phis in (identity, found))
        return uniqueness_loss(before[0], after[0], before[1], after[1])


class OrbitTerm(Term):
    """A term on members of the image's orbit: the mean over all evaluations."""

    def __call__(self, views: Views, moment: Moment) -> Tensor:
        assert views.members is not None
        count = self.loss.orbit.evaluations
        values = [self.after(views.members, evaluation) for evaluation in range(count)]
        return sum(values[1:], values[0]) / count

    @abstractmethod
    def after(self, members: Members, evaluation: int) -> Tensor:
        """The mean over the images after an evaluation, counted from 0."""


class Undo(OrbitTerm):
    """What is left of the random warp of a member."""

    needs = frozenset({"drawn"})

    def after(self, members: Members, evaluation: int) -> Tensor:
        found = members.states["drawn"][evaluation]
        return undo_loss(found, members.drawn.warp, members.frames, members.size)


class Form(OrbitTerm):
    """The canonical form of a member beside a form that is known."""

    needs = frozenset({"drawn"})
    name: str  # of the term
    wanted: str  # the known form's name among the members

    def after(self, members: Members, evaluation: int) -> Tensor:
        options: FormTerm = getattr(self.loss, self.name)
        wanted, given = (_resized(members.pixels(name), options.side) for name in (self.wanted, "drawn"))
        values = []
        for phi, frame in zip(members.states["drawn"][evaluation], members.frames, strict=True):
            still = WarpParams(*map(torch.ones_like, phi))
            values.append(pixel_loss(_read(given, phi, frame), _read(wanted, still, frame), options.sizes))
        return sum(values[1:], values[0])


class Restore(Form):
    """The known form is the image itself."""

    name, wanted = "restore", "image"


class Sibling(Form):
    """The known form is the same object at scale 1."""

    name, wanted = "sibling", "sibling"


class Align(OrbitTerm):
    """Where a member is read, beside where it shows what its sibling shows there."""

    needs = frozenset({"drawn"})

    def after(self, members: Members, evaluation: int) -> Tensor:
        assert members.sibling is not None and members.place is not None
        found, detail = members.states["drawn"][evaluation], _detail(members.sibling)
        return align_loss(found, members.drawn.warp, members.place, detail, members.frames, members.size)


class Agree(OrbitTerm):
    """One canonical form for the image and a member."""

    needs = frozenset({"drawn", "image"})

    def after(self, members: Members, evaluation: int) -> Tensor:
        options = self.loss.agree
        images = [_resized(members.pixels(name), options.side) for name in ("image", "drawn")]
        found = (members.states[name][evaluation] for name in ("image", "drawn"))
        values = []
        for first, second, frame in zip(*found, members.frames, strict=True):
            forms = [_read(image, phi, frame) for image, phi in zip(images, (first, second), strict=True)]
            values.append(agreement_loss(forms, images, options.floor))
        return sum(values[1:], values[0])


class Rest(OrbitTerm):
    """No warp for siblings, or for members that are untouched."""

    needs = frozenset({"quiet"})

    def after(self, members: Members, evaluation: int) -> Tensor:
        found = members.states[members.quiet][evaluation]
        return rest_loss(found, members.frames, members.size, members.is_quiet)


def _resized(image: Tensor, side: int) -> Tensor:
    if image.shape[-2:] == (side, side):
        return image
    return F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def _detail(image: Tensor) -> Tensor:
    """(B, 1, H, W), how much each pixel differs from those around it."""
    around = F.avg_pool2d(image, NEAR, 1, NEAR // 2, count_include_pad=False)
    return (image - around).abs().mean(1, keepdim=True)


def _read(image: Tensor, phi: WarpParams, frame: Frame) -> Tensor:
    """A square image under a warp of a site, whose positions lie in the image as the frame says."""
    grid = unchecked_warp_grid(phi, (image.shape[-2], image.shape[-1]))
    grid = frame.to_whole(grid.movedim(1, -1)).movedim(-1, 1)
    return sample_bilinear(image.to(grid.dtype), grid)


class Weighted(NamedTuple):
    """A term as a phase has it."""

    name: str
    weight: float
    term: Term


TERMS: dict[str, Callable[..., Term]] = {
    "task": TaskLoss,
    "equivariance": Equivariance,
    "phi": Phi,
    "consistency": Consistency,
    "uniqueness": Uniqueness,
    "undo": Undo,
    "restore": Restore,
    "sibling": Sibling,
    "align": Align,
    "teach": Teach,
    "agree": Agree,
    "rest": Rest,
}
ORBIT = frozenset({"drawn", "image", "quiet"})  # needs of warps of members


def build_terms(config: Config) -> list[list[Weighted]]:
    """Of every phase, the terms that act in it, in the order of the loss section."""
    found: list[list[Weighted]] = [[] for _ in config.train.phases]
    for name, options in config.loss.terms.items():
        term = TERMS[name](config.loss, config.warp.probability > 0)
        for number, weight in enumerate(config.weights(name)):
            if weight > 0 and options.acts(config):
                found[number].append(Weighted(name, weight, term))
    for number, (phase, terms) in enumerate(zip(config.train.phases, found, strict=True)):
        if phase.epochs != 0 and not terms:
            raise ConfigError(f"train.phases[{number}] has no term with a weight; expected one, such as loss.task")
    return found
