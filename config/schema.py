"""What a recipe can set. Defaults stand here, beside it in config/ and in layers/spec.py, and nowhere else.

``config/load.py`` makes these of YAML.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, Literal, get_args

from config.data import AugmentationConfig, DigitsData, PictureData, ScaledData, StirData
from config.dense import DecoderConfig, DenseDigitsData, DensePictureData
from config.errors import ConfigError, require
from config.losses import LossConfig
from config.training import Phase, ScheduleConfig, TrainConfig
from layers.spec import DEC, Average, Method, Plain, SampleMode, Site

__all__ = [
    "AugmentationConfig",
    "Config",
    "ConfigError",
    "DecoderConfig",
    "DenseDigitsData",
    "DensePictureData",
    "DigitsData",
    "EvaluationConfig",
    "LossConfig",
    "ModelConfig",
    "Phase",
    "PictureData",
    "ScaledData",
    "ScheduleConfig",
    "StirData",
    "TrainConfig",
    "WandbConfig",
    "WarpConfig",
]
StudyName = Literal["equivariance", "crops", "index", "orbits", "members", "explanations", "restoration"]
"""The files of evaluation/studies/."""
Data = DigitsData | PictureData | StirData | ScaledData | DenseDigitsData | DensePictureData
ONLY: dict[str, tuple[str, ...]] = {  # what is about some kinds of data, and refused with any other
    **dict.fromkeys(("evaluation.local_scale_items", "evaluation.scales"), ("digits", "dense", "scaled")),
    "evaluation.local_scale_draws": ("digits",),
    "evaluation.studies": ("digits", "pictures", "stir", "scaled"),
    **dict.fromkeys(
        ("augmentation", "legacy_double_normalization", "legacy_shifted_sites", "legacy_flat_groups"), ("pictures",)
    ),
    **dict.fromkeys(("model.decoder", "loss.task.class_weights"), ("dense",)),
}
TECHNICAL = (  # what changes no number, whole sections with a dot at their end: a run may go on with other values of it
    *("data.root", "data.multi_scale_root", "data.download", "data.workers", "data.broken_limit"),
    *("train.device", "wandb.", "output_dir", "evaluation.batch_size"),
)


def is_technical(key: str) -> bool:
    """Whether a setting, such as ``data.root``, changes no number."""
    return key in TECHNICAL or key.startswith(tuple(section for section in TECHNICAL if section.endswith(".")))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The backbone, from timm."""

    backbone: str
    pretrained: bool = True
    """Start from timm's published weights, which need a network once."""
    weights: str | None = None
    """A safetensors or pth file with weights under timm's names, instead; a head of another size is left out."""
    image_size: int | None = 224
    """Side that images reach the backbone with; null leaves them as they are."""
    resize: int | None = None
    """Side that images are resized to before image_size is cut from their centre; null: no cutting."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of timm.create_model, except those that name weights."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """Of dense prediction, in the place of the classifier."""

    def __post_init__(self) -> None:
        of_weights = [name for name in self.options if name == "checkpoint_path" or name.startswith("pretrained")]
        require(
            not of_weights,
            f"options has {', '.join(of_weights)}; weights of a file are named by model.weights, and published ones "
            "taken by model.pretrained",
        )
        require(self.image_size is None or self.image_size >= 1, f"image_size is {self.image_size}; expected >= 1")
        require(
            self.resize is None or (self.image_size is not None and self.resize >= self.image_size),
            f"resize is {self.resize}; expected null or at least image_size, {self.image_size}",
        )
        require(
            not (self.pretrained and self.weights), f"weights is {self.weights!r} and pretrained true; expected one"
        )


@dataclass(frozen=True, kw_only=True)
class WarpConfig:
    """Random monotone warps, of the augmentation, the losses and the warp invariance error."""

    grid_size: int = 8
    strength: float = 0.25
    strengths: tuple[float, float] | None = None
    """In training, the interval that each item's strength is drawn from; null: strength, which measures always take."""
    probability: float = 0.0
    """Share of the batches that train on their warped version; drawn once per batch, as published."""

    def __post_init__(self) -> None:
        require(self.grid_size >= 2, f"grid_size is {self.grid_size}; expected at least 2")
        require(self.strength >= 0, f"strength is {self.strength}; expected at least 0")
        if self.strengths is not None:
            low, high = self.strengths
            require(0 <= low <= high, f"strengths is [{low}, {high}]; expected 0 <= low <= high")
        require(0 <= self.probability <= 1, f"probability is {self.probability}; expected 0 to 1")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and when."""

    split: Literal["test", "validation", "val", "held_out"] = "test"
    """Of digits, test, or validation: items of the training split that are not trained on, for trying settings out. Of
    pictures, val, or held_out in the same sense. Of stir/, test, or validation at the sizes of training. Of
    scaled/, test, or validation."""
    items: int | None = None
    """So many items of the split: of digits the first, of pictures whole groups drawn by a fixed seed. null takes all;
    of validation as many as train_items, of held_out 1000. Of stir/, drawn by a fixed seed."""
    every: int = 20
    """Epochs between two quick evaluations; the last epoch is always evaluated."""
    full_every: int = 40
    """Epochs between two full ones, which measure the errors under warps and local scale too; the end of training is
    always measured in full."""
    before_training: bool = False
    calibration_items: int = 1000
    """Held-out items of the training split that the temperature is fitted on; of pictures at most a fifth."""
    warp_items: int | None = None
    """The first so many items that are measured under random warps, of pictures the scale-1 ones; null takes all."""
    floor_items: int | None = 256
    """The first so many of them that are unwarped too, for the floor of the error, and that tell what a canonicalizer's
    warps undo and disturb; null takes all."""
    strengths: tuple[float, ...] = ()
    """Other strengths at which the warped items are measured too."""
    interpolations: tuple[SampleMode, ...] = ()
    """Ways in which the warped items are read: accuracy under each of them."""
    evaluations: tuple[int, ...] = ()
    """Evaluations of a DEC's maps after which the warped items are measured too, without the solver."""
    local_scale_items: int = 64
    """Items that are composed at random scales, and at those of ``scales``."""
    local_scale_draws: int = 8
    """Random scales of each of them."""
    scales: tuple[float, ...] = ()
    """Scales that all digits of these items have too, one scale after the other: accuracy at each; of dense data, how
    far answers at them lie from those at scale 1. Of scaled/, factors that they have in the place of their own."""
    batch_size: int = 64
    studies: tuple[StudyName, ...] = ()
    """Closer looks at the finished model, each of which leaves <study>.npz in the run's folder."""
    study_items: int = 64
    """So many images are studied, or so many objects at all of their sizes."""

    def __post_init__(self) -> None:
        counts = ("every", "full_every", "calibration_items", "local_scale_items", "local_scale_draws")
        for name in (*counts, "batch_size", "study_items"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("items", "warp_items", "floor_items"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} is {value}; expected null or at least 1")
        self._check_lists()

    def check(self, config: Config) -> None:
        """Refuse what the recipe's data or its method cannot be measured at."""
        gives = "equilibrium" in config.method.gives
        require(
            gives or not self.evaluations,
            f"evaluation.evaluations is {list(self.evaluations)}; it needs method.name: dec",
        )
        if isinstance(config.data, DigitsData):
            for scale in self.scales:
                require(
                    1 <= int(28 * scale) <= config.data.cell_size,
                    f"evaluation.scales has {scale:g}, a digit of {28 * scale:g} pixels; expected at least 1 and at "
                    f"most data.cell_size, {config.data.cell_size}",
                )

    def _check_lists(self) -> None:
        for value in self.strengths:
            require(0 <= value < float("inf"), f"strengths has {value}; expected finite numbers of at least 0")
        for value in self.scales:
            require(0 < value < float("inf"), f"scales has {value}; expected finite numbers above 0")
        for value in self.evaluations:
            require(value >= 1, f"evaluations has {value}; expected at least 1")
        modes = get_args(SampleMode)
        for mode in self.interpolations:
            require(mode in modes, f"interpolations has {mode!r}; expected some of {', '.join(modes)}")
        for name in ("strengths", "interpolations", "evaluations", "scales", "studies"):
            values = getattr(self, name)
            names = [f"{value:g}" if isinstance(value, float) else value for value in values]  # as metrics are called
            require(len(set(names)) == len(names), f"{name} is {list(values)}; expected each once")


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """The tracker of a run, in the words of Weights & Biases; the default needs no account and no network."""

    tracker: Literal["wandb", "trackio"] = "wandb"
    """trackio takes the same calls, needs no account, and keeps runs on this machine; ``trackio show`` shows them."""
    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: str = "scale_mnist"
    entity: str | None = None
    """Of W&B, which trackio has not."""

    def __post_init__(self) -> None:
        is_local = self.tracker == "wandb" or (self.mode != "online" and self.entity is None)
        require(is_local, "tracker is trackio, which keeps runs on this machine; expected mode offline, and no entity")


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment."""

    data: Data = field(default_factory=DigitsData)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig
    method: Method = field(default_factory=Plain)
    warp: WarpConfig = WarpConfig()
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = EvaluationConfig()
    wandb: WandbConfig = WandbConfig()
    warm_start: str | None = None
    """A recipe whose finished run of the same seed gives the weights, or a safetensors file."""
    output_dir: str = "weights"
    """Where runs are kept: <output_dir>/<recipe>/<seed>."""
    legacy_double_normalization: bool = False
    """The maps apply the ImageNet statistics once more to pictures that the loader has normalized, as published."""
    legacy_shifted_sites: bool = False
    """Every site lies one stage later than written, image at stage 0: the published BEiT had no warp of the pixels,
    and gave their grid size to block 0."""
    legacy_flat_groups: bool = False
    """With a canonicalizer that has a rate of its own, neither layer decay acts, nor the exemption of biases and norms
    from weight decay, as published."""

    def __post_init__(self) -> None:
        self._check_kind()
        self.evaluation.check(self)
        self._check_phases()
        for name, term in self.loss.terms.items():
            if max(self.weights(name)) > 0:
                term.check(self)
        require(
            self.train.finetune != "partial" or bool(self.method.sites),
            "train.finetune is partial, the stages that have a site; it needs method.name: dec or energy",
        )
        cropped = [site for site in self.method.sites if site.stage == "input" and site.restore]
        require(
            not cropped or self.model.resize is None,
            "method.sites restores a warp of the input, but model.resize cuts a part of it away; warp the image "
            "instead, or do not restore",
        )
        self._check_maps()
        require(
            self.train.patience is None or self.data.is_watched,
            f"train.patience is {self.train.patience}; it needs data that are watched while a model trains, such as "
            "stir/ or scaled/",
        )
        if self.legacy_double_normalization or self.legacy_shifted_sites:
            is_dec = isinstance(self.method, DEC)
            require(is_dec, "a legacy setting of the canonicalizer is on; it needs method.name: dec")

    def weights(self, term: str) -> list[float]:
        """Of a term of the loss, in every phase."""
        return [phase.terms.get(term, self.loss.terms[term].weight) for phase in self.train.phases]

    @property
    def needs_siblings(self) -> bool:
        """Whether a term that has a weight in some phase needs each training item's sibling."""
        return any(term.needs_siblings() and max(self.weights(name)) > 0 for name, term in self.loss.terms.items())

    def untrained(self) -> Config:
        """The same with random first weights, for a model whose weights are loaded afterwards, or not needed."""
        return replace(self, model=replace(self.model, pretrained=False, weights=None))

    def resolved(self) -> Config:
        """The same with what the legacy settings say written into the sections that they are about.

        A second call changes nothing more.
        """
        if not self.data.is_normalized:
            return self
        method, train = self.method, self.train
        if isinstance(method, DEC):
            if method.equilibrium == "published":  # the loader normalizes; a map that does so too does it twice
                method = replace(method, normalize=method.normalize and self.legacy_double_normalization)
            if self.legacy_shifted_sites:
                method = replace(method, sites=tuple(_shifted(site) for site in method.sites))
        if self.legacy_flat_groups and train.canonicalizer_lr is not None:
            train = replace(train, layer_decay=None)
        return replace(self, method=method, train=train, legacy_shifted_sites=False)

    def _check_kind(self) -> None:
        kind, split = self.data.kind, self.evaluation.split
        known = self.data.splits
        require(split in known, f"evaluation.split is {split}; expected one of {', '.join(known)} with {kind}")
        for key, ours in ONLY.items():
            section, _, name = key.rpartition(".")
            at = attrgetter(section)(self) if section else self
            is_right = kind in ours or getattr(at, name) == default_of(type(at), name)
            about = " or ".join(ours)
            require(is_right, f"{key} is set, which is about {about}; data.name is {self.data.name}, of {kind}")

    def _check_maps(self) -> None:
        """Refuse what needs a map as the model's answer, or cannot be done with one."""
        is_dense, method = self.data.kind == "dense", self.method
        at_output = [site for site in method.sites if site.restore_at == "output"]
        require(is_dense or not at_output, "method.sites restores a warp at the output; it needs data of kind dense")
        if is_dense:
            cut = f"model.resize is {self.model.resize}, which cuts pixels away that have labels; expected null"
            require(self.model.resize is None, cut)
            averages = "method.name is average, which is about one class per image; expected another method"
            require(not isinstance(method, Average), averages)

    def _check_phases(self) -> None:
        for number, phase in enumerate(self.train.phases):
            at = f"train.phases[{number}]"
            unknown = phase.terms.keys() - self.loss.terms.keys()
            known = ", ".join(self.loss.terms)
            require(not unknown, f"{at}.terms has {', '.join(sorted(unknown))}; expected some of {known}")
            own = self.train.canonicalizer_lr is not None
            has_rate = "canonicalizer" not in phase.rates or own
            require(
                has_rate, f"{at}.rates has canonicalizer, but train.canonicalizer_lr is null; it needs a first rate"
            )
            if phase.epochs == 0 or "backbone" in phase.trains:
                continue
            require(
                "warps" in self.method.gives,
                f"{at} trains the canonicalizer alone; it needs method.name: dec or energy",
            )
            require(own, "train.canonicalizer_lr is null; a phase of its own needs a rate of its own")


def default_of(section: type, name: str) -> Any:
    """What a section has where nothing is given."""
    entry = next(entry for entry in fields(section) if entry.name == name)
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _shifted(site: Site) -> Site:
    if site.stage == "input":
        raise ConfigError("legacy_shifted_sites is true with a site on the input; expected image or stages")
    return replace(site, stage=0 if isinstance(site.stage, str) else site.stage + 1)
