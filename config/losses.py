"""The terms of the loss that a recipe can set: what each weighs, and what it needs. ``train/terms.py`` computes them.

A term is a dataclass here, a field of ``LossConfig`` under its name, and a class under the same name over there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from config.errors import require
from layers.spec import SampleMode

if TYPE_CHECKING:
    from config.schema import Config


@dataclass(frozen=True, kw_only=True)
class Term:
    """What all terms have."""

    weight: float = 0.0
    """Of the term in the loss; a phase of ``train.phases`` can give another one."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float):
                require(value >= 0, f"{name} is {value}; expected at least 0")

    def check(self, config: Config) -> None:
        """Refuse a recipe that gives the term a weight, and not what it needs."""

    def acts(self, config: Config) -> bool:
        """Whether the term adds anything, where it has a weight."""
        return True

    def needs_siblings(self) -> bool:
        """Whether each training item has to come with its sibling, the same object at scale 1."""
        return False


@dataclass(frozen=True, kw_only=True)
class TaskTerm(Term):
    """The loss of the task itself, cross-entropy for classes of images or of pixels."""

    weight: float = 1.0
    class_weights: tuple[float, ...] = ()
    """Of dense prediction, one per class, the background first; empty: all count alike."""

    def __post_init__(self) -> None:
        super().__post_init__()
        are_weights = all(weight >= 0 for weight in self.class_weights)
        is_some = not self.class_weights or max(self.class_weights) > 0
        require(
            are_weights and is_some,
            f"class_weights is {list(self.class_weights)}; expected numbers of at least 0, not all of them 0",
        )


@dataclass(frozen=True, kw_only=True)
class EquivarianceTerm(Term):
    """The distance of the predictions for an image and for its warped version."""

    distance: Literal["kl", "mse", "js"] = "kl"


@dataclass(frozen=True, kw_only=True)
class PhiTerm(Term):
    """What the warps of an image and of its warped version are pushed to: apart from each other, and to the identity.

    It acts where ``two_views`` shows both to the model.
    """

    weight: float = 0.1
    difference: float = 0.0
    """Weight, in the first epoch, of pushing the two warps apart."""
    difference_increment: float = 0.0
    """Added to it per epoch."""
    difference_max: float = 3.0
    prior: float = 0.0
    """Weight of keeping warps near the identity."""

    @property
    def has_parts(self) -> bool:
        """Whether there is anything in it to be weighed."""
        return max(self.difference, self.difference_increment, self.prior) > 0

    def check(self, config: Config) -> None:
        require(not self.has_parts or config.loss.two_views, "loss.phi compares two views; set loss.two_views: true")
        gives = "equilibrium" in config.method.gives
        require(not self.has_parts or gives, "loss.phi has parts above 0; they need method.name: dec")

    def acts(self, config: Config) -> bool:
        return self.has_parts


@dataclass(frozen=True, kw_only=True)
class ConsistencyTerm(Term):
    """An image and its warped version have one canonical form, which needs no label.

    Where nothing else needs a second view, the canonicalizer alone sees it.
    """

    def check(self, config: Config) -> None:
        given = "loss.consistency.weight is above 0"
        strongest = config.warp.strengths[1] if config.warp.strengths else config.warp.strength
        require(strongest > 0, f"{given} with warp.strength 0; it compares warped images")
        _require_undoing_sites(config, given)
        require(
            config.loss.two_views or getattr(config.method, "condition", "image") != "feature",
            f"{given} with method.condition feature; it then needs loss.two_views: true",
        )


@dataclass(frozen=True, kw_only=True)
class UniquenessTerm(Term):
    """The energies of an image and of its warped version: far apart before the inner loop, and equal after it.

    It acts where ``two_views`` shows both to a model that minimises an energy.
    """

    weight: float = 0.1

    def acts(self, config: Config) -> bool:
        return config.loss.two_views and "energies" in config.method.gives


@dataclass(frozen=True, kw_only=True)
class OrbitConfig:
    """An image's orbit: the versions of it that undo, restore, sibling, align, agree and rest train the canonicalizer
    on.

    A member of it is the image behind a random warp. Those that are not warped are resampled in the same way, at
    positions that are shifted by less than a pixel, so that the blur of interpolation does not tell who was warped.
    Nearest reading is not among the default interpolations: it leaves an untouched image as it is, and doubles pixels
    of a warped one, which tells who was warped.
    """

    strengths: tuple[float, float] = (0.0, 0.5)
    """Interval of the warps' strength, which is drawn for every item."""
    grid_sizes: tuple[int, ...] = (8,)
    """R of the warps; one of these is drawn for every step."""
    untouched: float = 0.25
    """Share of the items that are not warped."""
    interpolations: tuple[SampleMode, ...] = ("bilinear", "antialiased")
    """One of these is drawn for every step. Leave one out to judge by it."""
    shift: float = 0.5
    """Largest shift of the reading positions, in pixels of the image."""
    evaluations: int = 3
    """Of the canonicalizer's map; the terms are asked after each of them, which has a gradient of its own."""
    lead: int = 0
    """At most so many evaluations come before those, drawn for every step, and no term is asked after them. A map that
    has learned on its first evaluations alone need not stay where they have led."""

    def __post_init__(self) -> None:
        low, high = self.strengths
        require(0 <= low <= high, f"strengths is [{low}, {high}]; expected 0 <= low <= high")
        sizes = self.grid_sizes
        require(bool(sizes) and min(sizes) >= 2, f"grid_sizes is {list(sizes)}; expected at least one, each at least 2")
        require(0 <= self.untouched <= 1, f"untouched is {self.untouched}; expected 0 to 1")
        require(bool(self.interpolations), "interpolations is empty; expected at least one, such as bilinear")
        require(0 <= self.shift <= 1, f"shift is {self.shift}; expected 0 to 1")
        require(self.evaluations >= 1, f"evaluations is {self.evaluations}; expected at least 1")
        require(self.lead >= 0, f"lead is {self.lead}; expected at least 0")


@dataclass(frozen=True, kw_only=True)
class OrbitTerm(Term):
    """A term on the warps that are found for members of an orbit, after each evaluation; it needs no label."""

    def check(self, config: Config) -> None:
        (name,) = (name for name, term in config.loss.terms.items() if term is self)
        given = f"loss.{name} has a weight"
        _require_undoing_sites(config, given)
        reads_images = getattr(config.method, "condition", "image") != "feature"
        require(reads_images, f"{given} with method.condition feature; it needs warps that are found from images")


@dataclass(frozen=True, kw_only=True)
class UndoTerm(OrbitTerm):
    """What is left of the random warp of a member after it has been canonicalized: its distance in pixels."""

    def check(self, config: Config) -> None:
        super().check(config)
        _require_warped_members(config, "loss.undo has a weight")


@dataclass(frozen=True, kw_only=True)
class FormTerm(OrbitTerm):
    """The distance, in pixels' values, of a member's canonical form from a form that is known.

    Both are compared at several sizes, so that what lies apart attracts each other too.
    """

    side: int = 56
    """Of the square that both are compared on."""
    sizes: int = 3
    """Each is half as large as the one before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sizes >= 1, f"sizes is {self.sizes}; expected at least 1")
        least = 2 ** (self.sizes - 1)
        require(self.side >= least, f"side is {self.side}; expected at least {least}, which is halved for every size")


@dataclass(frozen=True, kw_only=True)
class RestoreTerm(FormTerm):
    """The known form is the untouched image: what ``undo`` asks of positions, asked of what can be seen."""

    def check(self, config: Config) -> None:
        super().check(config)
        _require_warped_members(config, "loss.restore has a weight")


@dataclass(frozen=True, kw_only=True)
class SiblingTerm(FormTerm):
    """The known form is the member's sibling, the same object at scale 1."""

    def check(self, config: Config) -> None:
        super().check(config)
        _require_unmixed(config, "sibling")

    def needs_siblings(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class AlignTerm(OrbitTerm):
    """The member is read, wherever its sibling shows something, where it shows the same: its distance in pixels.

    What ``sibling`` asks of what can be seen, asked of positions, for data that know where a sibling's object lies in
    the item. Positions lead from afar, where pixels that lie apart say nothing of each other.
    """

    def check(self, config: Config) -> None:
        super().check(config)
        _require_unmixed(config, "align")
        knows = config.data.kind == "stir"
        require(knows, f"loss.align has a weight with data.name {config.data.name}; it needs objects of stir/")

    def needs_siblings(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class TeachTerm(Term):
    """What the model said of the sibling before it trained is what it shall say of the item: no label is needed.

    Labels travel in this way from scale 1, where the model it starts from knows them, to other scales. The teacher
    rests: a model that is its own teacher has a short way out, which is to say the same of everything, and takes it.
    """

    def check(self, config: Config) -> None:
        _require_unmixed(config, "teach")
        is_of_classes = config.data.kind != "dense"
        require(is_of_classes, "loss.teach has a weight; pixels of a sibling lie elsewhere, so it teaches no map")

    def needs_siblings(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class AgreeTerm(OrbitTerm):
    """One canonical form for an image and a member of its orbit, whichever: no target is given.

    What keeps forms from agreeing on nothing is a floor: none may vary less than its image does. ``rest`` beside it
    says which form, where some images need no warp.
    """

    side: int = 56
    """Of the square that forms are compared on."""
    floor: float = 1.0
    """Weight of the variance that a form lacks; it counts, as the forms' distance does, relative to the image's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.side >= 2, f"side is {self.side}; expected at least 2")

    def check(self, config: Config) -> None:
        super().check(config)
        _require_warped_members(config, "loss.agree has a weight")


@dataclass(frozen=True, kw_only=True)
class RestTerm(OrbitTerm):
    """What needs no warp gets none: how far positions of untouched members move, in pixels; or those of siblings, where
    another term has them loaded."""

    def check(self, config: Config) -> None:
        super().check(config)
        some = config.loss.orbit.untouched > 0 or config.needs_siblings
        require(some, "loss.rest has a weight with loss.orbit.untouched of 0; it is about members that are not warped")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised: the sum of its terms, each under its name and times its weight."""

    two_views: bool = False
    """Images and their warped versions go through the model together, and the task counts on both."""
    task: TaskTerm = TaskTerm()
    equivariance: EquivarianceTerm = EquivarianceTerm()
    phi: PhiTerm = PhiTerm()
    consistency: ConsistencyTerm = ConsistencyTerm()
    uniqueness: UniquenessTerm = UniquenessTerm()
    undo: UndoTerm = UndoTerm()
    restore: RestoreTerm = RestoreTerm()
    sibling: SiblingTerm = SiblingTerm()
    align: AlignTerm = AlignTerm()
    teach: TeachTerm = TeachTerm()
    agree: AgreeTerm = AgreeTerm()
    rest: RestTerm = RestTerm()
    orbit: OrbitConfig = OrbitConfig()

    @property
    def terms(self) -> dict[str, Term]:
        """By name, in the order in which they are added."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Term)}


def _require_unmixed(config: Config, name: str) -> None:
    mixes = max(config.augmentation.mixup, config.augmentation.cutmix) > 0
    require(not mixes, f"loss.{name} has a weight with augmentation.mixup or cutmix; a mixed image has no sibling")


def _require_warped_members(config: Config, given: str) -> None:
    orbit = config.loss.orbit
    require(orbit.strengths[1] > 0, f"{given} with loss.orbit.strengths of 0; it is about members that are warped")
    require(orbit.untouched < 1, f"{given} with loss.orbit.untouched of 1; it is about members that are warped")


def _require_undoing_sites(config: Config, given: str) -> None:
    """Refuse a method that finds no warps, or whose sites' warps add up: each would be asked to undo all."""
    require("equilibrium" in config.method.gives, f"{given}; it needs method.name: dec")
    sites = config.method.sites
    require(
        len(sites) == 1 or all(site.acts_alone for site in sites),
        f"{given} with {len(sites)} sites; expected one, or restore: true at all of them",
    )
