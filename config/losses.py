"""The terms of the loss that a recipe can set: what each weighs, and what it needs. ``train/terms.py`` computes them.

A term is a dataclass here, a field of ``LossConfig`` under its name, and a class under the same name over there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from config.errors import require

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


@dataclass(frozen=True, kw_only=True)
class TaskTerm(Term):
    """The loss of the task itself, cross-entropy for classes."""

    weight: float = 1.0


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
        require(config.warp.strength > 0, f"{given} with warp.strength 0; it compares warped images")
        require("equilibrium" in config.method.gives, f"{given}; it needs method.name: dec")
        sites = config.method.sites
        # Warps of sites that are not undone add up, and each would be asked to undo all.
        require(
            len(sites) == 1 or all(site.restore for site in sites),
            f"{given} with {len(sites)} sites; expected one, or restore: true at all of them",
        )
        require(
            config.loss.two_views or getattr(config.method, "condition", "image") == "image",
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
class LossConfig:
    """What is minimised: the sum of its terms, each under its name and times its weight."""

    two_views: bool = False
    """Images and their warped versions go through the model together, and the task counts on both."""
    task: TaskTerm = TaskTerm()
    equivariance: EquivarianceTerm = EquivarianceTerm()
    phi: PhiTerm = PhiTerm()
    consistency: ConsistencyTerm = ConsistencyTerm()
    uniqueness: UniquenessTerm = UniquenessTerm()

    @property
    def terms(self) -> dict[str, Term]:
        """By name, in the order in which they are added."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Term)}
