"""Every option of every method, once: meaning and default beside it, check below. No torch, so recipes nest these.

It is long, for it is the one place where they stand.

An option that is added here can be set in a recipe (``method.NAME``), in ``with_dec(backbone, DEC(NAME=...))`` and in
``Canonicalizer(..., NAME=...)``; what remains to be written is the code that uses it.

A method also says what its models give besides logits, so that a loss or a measure that needs more is refused before
anything is built: ``warps`` that each image was found, the ``equilibrium`` that they are, or the ``energies`` that they
minimise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, ClassVar, Literal, get_args

SolverName = Literal["anderson", "broyden", "fixed_point"]
Gradient = Literal["one_step", "implicit", "unrolled"]
Condition = Literal["image", "feature", "early"]
Equilibrium = Literal["published", "residual"]
Objective = Literal["surrogate", "shannon", "renyi"]
SampleMode = Literal["bilinear", "nearest", "bicubic", "antialiased"]
InnerName = Literal["adam", "descent"]
InverseMethod = Literal["rowwise", "exact"]
PROFILE_ROWS = 8  # R of the published candidates, whose profiles have one value per row


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _require(is_right: bool, message: str) -> None:
    """A message begins with the name of the option, to which a recipe's reader adds file, recipe and section."""
    if not is_right:
        raise ValueError(message)


def _check_input_size(size: int | tuple[int, int] | None) -> None:
    sides = size if isinstance(size, tuple) else (size,)
    is_size = size is None or all(_is_whole(side, 1) for side in sides)
    _require(is_size, f"input_size is {size}; expected None, or at least 1 pixel")


@dataclass(frozen=True)
class Site:
    """A place where features are canonicalized."""

    stage: int | str
    """Number of the stage whose input is warped, as ``sites_of`` counts; "image" for the image as the backbone sees it,
    or "input" for the image as the model is given it, before it is resized: what the warp enlarges then still has its
    detail. ``models/doorways.py`` has these kinds of sites."""
    grid_size: int = 4
    """R, the number of knots per axis."""
    restore: bool = False
    """Undo the warp after the stage (for the image: where the first stage begins)."""
    restore_at: Literal["stage", "output"] = "stage"
    """output: undo it on what the model answers, once, instead; that has to be a map, as of a segmenter."""
    inverse: InverseMethod = "rowwise"
    """How it is undone: row by row and column by column (published), which is exact of separable warps alone, or by the
    exact inverse, which takes many times as long."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("restore_at", self.restore_at, ("stage", "output")),
            ("inverse", self.inverse, get_args(InverseMethod)),
        ):
            _require(value in known, f"{name} is {value!r}; expected one of {', '.join(known)}")
        is_meant = self.restore or (self.restore_at, self.inverse) == ("stage", "rowwise")
        _require(is_meant, "restore is False with restore_at or inverse set; they say how a warp is undone")
        is_negative = isinstance(self.stage, int) and self.stage < 0
        _require(not is_negative, f"stage is {self.stage}; expected 0, 1, ..., image or input")
        _require(
            _is_whole(self.grid_size, 2), f"grid_size is {self.grid_size!r}; expected a whole number of at least 2"
        )

    @property
    def acts_alone(self) -> bool:
        """Whether its warp is undone before any other acts, so that it could undo all of an image's warp by itself."""
        return self.restore and self.restore_at == "stage"


@dataclass(frozen=True)
class Solver:
    """How a fixed point is searched for, and how gradients pass it."""

    name: SolverName = "anderson"
    """anderson, broyden (eager mode only), or fixed_point: plain iteration, damped if ``damping`` < 1."""
    max_steps: int = 5
    """Evaluations of the map before the last one, which carries the gradient."""
    tol: float = 1e-6
    """An image stops when its relative residual is at most this."""
    gradient: Gradient = "one_step"
    """one_step differentiates the last evaluation alone (published); implicit solves the adjoint equation at the
    solution, which is right where the map contracts; unrolled differentiates every step."""
    damping: float = 1.0
    """Share of the new value in each step; the fixed points stay the same."""
    backward_steps: int = 40
    """At most so many evaluations of the adjoint map, for the implicit gradient."""
    early_stop: bool = True
    """Ask after every evaluation whether all images are done, and then evaluate no more. The answer is the same either
    way, but asking makes the caller wait for a GPU each time: false always takes ``max_steps``."""

    def __post_init__(self) -> None:
        for kind, value, known in (("name", self.name, SolverName), ("gradient", self.gradient, Gradient)):
            _require(value in get_args(known), f"{kind} is {value!r}; expected one of {', '.join(get_args(known))}")
        least = {"anderson": 3, "broyden": 2, "fixed_point": 1}[self.name]
        for kind, steps, smallest in (("max_steps", self.max_steps, least), ("backward_steps", self.backward_steps, 3)):
            needed = f"{self.name} needs a whole number of at least {smallest}"
            _require(_is_whole(steps, smallest), f"{kind} is {steps!r}; {needed}")
        _require(0 <= self.tol < float("inf"), f"tol is {self.tol}; expected a finite number of at least 0")
        _require(0 < self.damping <= 1, f"damping is {self.damping}; expected a number above 0 and at most 1")
        if self.name == "broyden":
            _require(self.gradient != "unrolled", "gradient is unrolled, but broyden writes in place; take anderson")
            _require(
                self.damping == 1, f"damping is {self.damping}; broyden chooses its own steps and takes no damping"
            )
            _require(self.early_stop, "early_stop is False; broyden stops by itself, so take anderson or fixed_point")


@dataclass(frozen=True, kw_only=True)
class CorrectionBlocks:
    """What all maps g of the residual equilibrium have: blocks, and a bounded head."""

    channels: tuple[int, ...] = (16, 32, 64, 64)
    """Of every block."""
    pools: tuple[int, ...] = (2, 2, 2, 1)
    """Max-pool rate per block."""
    dilations: tuple[int, ...] = (1, 1, 1, 2)
    """Of the blocks' convolutions."""
    bound: float = 0.5
    """No entry of phi is corrected by more at once, before its row's mean is taken off."""
    separable: bool = False
    """One profile per axis, for all rows or columns, instead of one for each."""

    def __post_init__(self) -> None:
        count = len(self.channels)
        _require(count >= 1, "channels is empty; expected one per block")
        for name in ("channels", "pools", "dilations"):
            values = getattr(self, name)
            _require(len(values) == count, f"{name} has {len(values)} numbers; expected {count}, one per block")
            are_whole = all(_is_whole(number, 1) for number in values)
            _require(are_whole, f"{name} is {list(values)}; expected whole numbers of at least 1")
        _require(0 < self.bound < float("inf"), f"bound is {self.bound}; expected a finite number above 0")


@dataclass(frozen=True, kw_only=True)
class Correction(CorrectionBlocks):
    """The map g of the residual equilibrium, which reads off a warped source what is left to correct."""

    input_size: int | tuple[int, int] | None = 56
    """Size that the map sees images in, averaged over the pixels that it leaves out; None leaves them as they are.
    Features are never resized."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_input_size(self.input_size)


@dataclass(frozen=True, kw_only=True)
class EarlyCorrection(CorrectionBlocks):
    """The map g that reads early features of the warped image: those of a copy of the backbone that never trains."""

    indices: tuple[int, ...] = (1, 3)
    """Of timm's intermediate features, from 0: blocks of a plain transformer, stages of a hierarchical network."""
    width: int = 96
    """Channels that a 1x1 convolution makes of all the features together, before the blocks."""
    channels: tuple[int, ...] = (96, 96)
    pools: tuple[int, ...] = (1, 1)
    dilations: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        are_whole = len(self.indices) >= 1 and all(_is_whole(index, 0) for index in self.indices)
        is_right = are_whole and list(self.indices) == sorted(set(self.indices))
        _require(is_right, f"indices is {list(self.indices)}; expected at least one whole number from 0 on, increasing")
        _require(_is_whole(self.width, 1), f"width is {self.width}; expected a whole number of at least 1")


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """The maps whose fixed points are the warps, and what they see."""

    equilibrium: Equilibrium = "published"
    """published: phi = f(W(x, phi)) of a map f that gives warps, with all the options below; residual:
    phi = phi + g(W(x, phi)) of a map g that gives corrections, with those of ``correction`` or ``early``, the solver,
    the condition and images_at_once."""
    correction: Correction = Correction()
    early: EarlyCorrection = EarlyCorrection()
    """In the place of ``correction`` with ``condition="early"``."""
    channels: tuple[int, ...] = (3, 32, 64)
    """Of the image, then of every block. With ``condition="feature"`` the first entry gives way to the channels of each
    site."""
    kernel_sizes: tuple[int, ...] = (3, 3)
    """One odd size per block."""
    pools: tuple[int, ...] = (2, 2)
    """Max-pool rate per block."""
    strides: tuple[int, ...] | None = None
    """Of the blocks' convolutions; None (published) for 1 everywhere."""
    solver: Solver = Solver()
    input_size: int | tuple[int, int] | None = 224
    """Size that the maps see images in; None leaves them as they are. Features are never resized."""
    normalize: bool = True
    """Apply the ImageNet statistics to the images that the maps see, a second time if the loader already did
    (published). Features are never normalized."""
    condition: Condition = "image"
    """image (published code), feature: what arrives at the site (the paper's formula), or early, which the residual
    equilibrium knows: what the first blocks of a resting copy of the backbone see in the warped image."""
    antialias: bool = False
    """Average over the pixels that resizing to ``input_size`` leaves out. False (published) skips them, and the maps of
    a sharp image contract less."""
    separable: bool = False
    """One profile per axis, for all rows or columns, instead of one for each."""
    strength: float = 1.0
    """Phi stays in an interval of this width, as ``strength * U(0, 1)`` does in random warps: a DEC needs no stronger
    warps than it is to undo. The maps' Jacobians shrink with it, so that most become contractions
    (``benchmarks/contraction.py`` measures which), without a guarantee; 1 is published."""
    gain: float = 1.0
    """Of the maps' last norm before training. At 1 (published), untrained maps already warp, at random, which a trained
    backbone has to bear first; at 0 they start from the identity and learn what helps."""
    images_at_once: int = 1
    """That a CPU evaluates a map for in eager mode. One is fastest for large inputs, and an image's warp is then the
    same in every batch; more are several times faster for inputs of 64 pixels and less."""

    def __post_init__(self) -> None:
        check_blocks(self.channels, self.kernel_sizes, self.pools, self.strides)
        if self.solver is None:  # as calls from before there was a Solver may say
            object.__setattr__(self, "solver", Solver())
        _require(
            isinstance(self.solver, Solver),
            f"solver is {self.solver!r}; expected a FixedPointSolver or its options, a Solver",
        )
        _check_input_size(self.input_size)
        known = get_args(Condition)
        _require(self.condition in known, f"condition is {self.condition!r}; expected one of {', '.join(known)}")
        self._check_equilibrium()
        self._check_correction()
        of_three = not self.normalize or self.condition == "feature" or self.channels[0] == 3
        _require(of_three, f"normalize is True and needs 3 image channels, got {self.channels[0]}; set it to False")
        _require(0 < self.strength <= 1, f"strength is {self.strength}; expected a number above 0 and at most 1")
        is_gain = self.gain >= 0 and isfinite(self.gain)
        _require(is_gain, f"gain is {self.gain}; expected a finite number of at least 0")
        _require(_is_whole(self.images_at_once, 1), f"images_at_once is {self.images_at_once}; expected at least 1")

    def _check_equilibrium(self) -> None:
        """Refuse options of the other equilibrium's map."""
        known = get_args(Equilibrium)
        _require(self.equilibrium in known, f"equilibrium is {self.equilibrium!r}; expected one of {', '.join(known)}")
        of_published = ("channels", "kernel_sizes", "pools", "strides", "input_size", "normalize", "antialias")
        others = {"published": ("correction", "early"), "residual": (*of_published, "separable", "strength", "gain")}
        for name in others[self.equilibrium]:
            own = "early" if self.condition == "early" else "correction"
            way_out = f"set {own}'s" if self.equilibrium == "residual" else "set equilibrium to residual"
            self._refuse(name, f"the {self.equilibrium} equilibrium", way_out)

    def _check_correction(self) -> None:
        """Refuse options of the other condition's correction."""
        is_early = self.condition == "early"
        can_be = not is_early or self.equilibrium == "residual"
        _require(can_be, "condition is early with equilibrium published; expected equilibrium residual")
        way_out = "set early's" if is_early else "set condition to early"
        self._refuse("correction" if is_early else "early", f"condition {self.condition}", way_out)

    def _refuse(self, name: str, who: str, way_out: str) -> None:
        default = next(entry.default for entry in fields(MapSpec) if entry.name == name)
        _require(getattr(self, name) == default, f"{name} is set, which {who} does not know; {way_out}")


@dataclass(frozen=True, kw_only=True)
class DEC(MapSpec):
    """The Deep Equilibrium Canonicalizer of a backbone: where it acts, and how it finds its warps."""

    tags: ClassVar = ("dec",)
    gives: ClassVar = frozenset({"warps", "equilibrium"})

    sites: tuple[Site, ...]

    def __post_init__(self) -> None:
        check_sites(self.sites)
        super().__post_init__()
        stages = [site.stage for site in self.sites]
        can_be = self.condition != "early" or stages in (["image"], ["input"])
        _require(can_be, f"sites has the stages {stages} with condition early; expected one, image or input")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy canonicalizer: warps by unrolled gradient steps. Nothing of it is published except some defaults."""

    tags: ClassVar = ("energy",)
    gives: ClassVar = frozenset({"warps", "energies"})

    sites: tuple[Site, ...]
    objective: Objective = "surrogate"
    """surrogate: a network's score of the warped image; or the entropy of the backbone's own prediction."""
    optimizer: InnerName = "adam"
    """descent has no use for betas."""
    learning_rate: float | tuple[float, ...] = 0.05
    """Of the inner steps, one for all sites or one per site."""
    decay: float = 0.0
    """L2 decay of phi; it pulls towards equal entries, the identity."""
    betas: tuple[float, float] = (0.2, 0.6)
    """Of Adam: the published settings', where the published code's own default was (0.9, 0.999)."""
    steps: int = 5
    """T in training."""
    test_steps: int | None = None
    """T outside training; None: the same."""
    unroll: int | None = None
    """How many of the last steps are differentiated; None: all."""
    normalize_gradient: bool = False
    """Scale the gradients by phi.x and by phi.y to unit length, per image and site."""
    channels: tuple[int, ...] = (3, 32, 64)
    """Of the image, then of every block of the score."""
    kernel_sizes: tuple[int, ...] = (3, 3)
    pools: tuple[int, ...] | None = None
    """Max-pool rate per block; None (published): none pools."""
    input_size: int | tuple[int, int] = 128
    """Size that the score sees images in, as they come, without statistics."""

    def __post_init__(self) -> None:
        check_sites(self.sites)
        check_blocks(self.channels, self.kernel_sizes, self.pools)
        for name, known in (("objective", Objective), ("optimizer", InnerName)):
            value = getattr(self, name)
            _require(value in get_args(known), f"{name} is {value!r}; expected one of {', '.join(get_args(known))}")
        rate, count = self.learning_rate, len(self.sites)
        rates = rate if isinstance(rate, Sequence) else (rate,) * count
        are_rates = len(rates) == count and all(0 < value < float("inf") for value in rates)
        _require(are_rates, f"learning_rate is {rate}; expected a finite number above 0, or one per site ({count})")
        is_decay = 0 <= self.decay < float("inf")
        _require(is_decay, f"decay is {self.decay}; expected a finite number of at least 0")
        are_betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _require(are_betas, f"betas is {list(self.betas)}; expected two numbers, each 0 to below 1")
        for name, value in (("steps", self.steps), ("test_steps", self.test_steps)):
            _require(value is None or _is_whole(value, 1), f"{name} is {value}; expected at least 1")
        is_unroll = self.unroll is None or 1 <= self.unroll <= self.steps
        _require(is_unroll, f"unroll is {self.unroll}; expected 1 to steps, {self.steps}")
        sides = self.input_size if isinstance(self.input_size, tuple) else (self.input_size,)
        _require(all(_is_whole(side, 1) for side in sides), f"input_size is {self.input_size}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The canonicalisation baseline: the best of a list of warps in front of the backbone."""

    tags: ClassVar = ("candidates",)
    gives: ClassVar = frozenset[str]()
    sites: ClassVar[tuple[Site, ...]] = ()

    values: tuple[float, ...] = (1.0, 0.5)
    """Alphabet of the one-dimensional profiles."""
    limit: int = 8
    """Profiles per axis; every pair of them is a candidate."""
    channels: tuple[int, ...] = (3, 4, 1)
    """Of the image, then of every layer of the scorer, the score last."""
    kernel_sizes: tuple[int, ...] = (3, 3)
    restore: bool = False
    """Undo the chosen warp on the outputs, where these are maps."""

    def __post_init__(self) -> None:
        is_alphabet = 2 <= len(self.values) == len(set(self.values))
        _require(is_alphabet, f"values is {list(self.values)}; expected at least two numbers, all different")
        _require(all(map(isfinite, self.values)), f"values is {list(self.values)}; expected finite numbers")
        most = len(self.values) ** PROFILE_ROWS
        _require(1 <= self.limit <= most, f"limit is {self.limit}; expected 1 to {most}, the number of profiles")
        check_blocks(self.channels, self.kernel_sizes)
        _require(self.channels[-1] == 1, f"channels is {list(self.channels)}; expected 1 at the end, the score")


@dataclass(frozen=True, kw_only=True)
class Average:
    """Test-time averaging: the plain model in training, and then the mean prediction over fixed warps of an image."""

    tags: ClassVar = ("average",)
    gives: ClassVar = frozenset[str]()
    sites: ClassVar[tuple[Site, ...]] = ()

    count: int = 4
    """Views of every image: the image itself, and random warps of it. Time grows with it, memory does not."""
    grid_size: int = 8
    """R of the random warps."""
    strength: float = 0.25
    """Of the random warps."""

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("grid_size", 2)):
            value = getattr(self, name)
            _require(_is_whole(value, least), f"{name} is {value!r}; expected a whole number of at least {least}")
        is_strength = 0 <= self.strength < float("inf")
        _require(is_strength, f"strength is {self.strength}; expected a finite number of at least 0")


@dataclass(frozen=True, kw_only=True)
class Plain:
    """No canonicalizer: the backbone as it is."""

    tags: ClassVar = ("none",)
    gives: ClassVar = frozenset[str]()
    sites: ClassVar[tuple[Site, ...]] = ()


Method = DEC | Energy | Candidates | Average | Plain


def check_sites(sites: Sequence[Site]) -> None:
    """Refuse what is no list of different places; whether a backbone has them is not known here."""
    _require(len(sites) >= 1, "sites is empty; expected at least one, such as Site(0) or, in a recipe, [{stage: 0}]")
    for site in sites:
        if not isinstance(site, Site):
            raise TypeError(f"a site is {site!r}; expected a Site")
    stages = [site.stage for site in sites]
    _require(len(set(stages)) == len(stages), f"sites has the stages {stages}; expected each once")


def check_blocks(
    channels: Sequence[int],
    kernel_sizes: Sequence[int],
    pools: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> None:
    """Refuse sizes that do not make a chain of blocks; pools and strides may be left out."""
    count = len(kernel_sizes)
    _require(count >= 1, "kernel_sizes is empty; expected one per block")
    _require(
        len(channels) == count + 1,
        f"channels has {len(channels)} numbers; expected {count + 1}, the image's and one per kernel size",
    )
    per_block = {"kernel_sizes": kernel_sizes, "pools": pools, "strides": strides}
    given = {name: values for name, values in per_block.items() if values is not None}
    for name, values in given.items():
        _require(len(values) == count, f"{name} has {len(values)} numbers; expected {count}, one per kernel size")
    for name, values in {"channels": channels, **given}.items():
        are_whole = all(_is_whole(number, 1) for number in values)
        _require(are_whole, f"{name} is {list(values)}; expected whole numbers of at least 1")
    are_odd = all(size % 2 == 1 for size in kernel_sizes)
    _require(are_odd, f"kernel_sizes is {list(kernel_sizes)}; expected odd numbers, which keep the size")
