"""What a recipe can set. Defaults stand here and nowhere else; ``config/load.py`` makes these of YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from layers.spec import DEC, Candidates, Energy


class ConfigError(ValueError):
    """A setting that cannot be meant; the message says what was given and what would be right."""


def require(is_right: bool, message: str) -> None:
    if not is_right:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Locally scaled multi-digit images."""

    kind: ClassVar[str] = "digits"
    name: Literal["mnist", "digits"] = "mnist"
    """mnist, or digits: scikit-learn's handwritten digits, which need no download."""
    root: str = "data"
    """Folder of the MNIST files, or where they are downloaded to."""
    download: bool = True
    n_digits: int = 3
    scales: tuple[tuple[float, float], ...] = ((0.4, 2.0), (0.4, 2.0), (0.4, 2.0))
    """Interval of each digit's scale in training."""
    test_scales: tuple[tuple[float, float], ...] = ((0.4, 2.0), (0.4, 2.0), (0.4, 2.0))
    cell_size: int = 70
    """Side in pixels of the cell that a digit is centred in."""
    layout: Literal["horizontal", "vertical", "diagonal", "all"] = "all"
    channels: int = 3
    standardize: bool = False
    """Subtract MNIST's mean and divide by its deviation, instead of leaving images in [0, 1]."""
    train_items: int = 6000
    """Drawn from the training split by the seed alone; the others serve calibration and validation."""
    fresh_scales: bool = False
    """Draw new scales for the training items in every epoch."""
    workers: int = 2
    """Processes that prepare batches, per training process."""

    def __post_init__(self) -> None:
        require(self.n_digits >= 2, f"n_digits is {self.n_digits}; expected at least 2")
        for name, intervals in (("scales", self.scales), ("test_scales", self.test_scales)):
            require(
                len(intervals) == self.n_digits,
                f"{name} has {len(intervals)} intervals; expected one per digit, {self.n_digits}",
            )
            for low, high in intervals:
                require(0 < low <= high, f"{name} has [{low}, {high}]; expected 0 < low <= high")
                require(
                    int(28 * low) >= 1 and int(28 * high) <= self.cell_size,
                    f"{name} has [{low}, {high}], digits of {28 * low:g} to {28 * high:g} pixels; expected at least 1 "
                    f"and at most the cell_size, {self.cell_size}",
                )
        require(self.channels in (1, 3), f"channels is {self.channels}; expected 1 or 3")
        require(self.train_items >= 1, f"train_items is {self.train_items}; expected at least 1")
        require(self.workers >= 0, f"workers is {self.workers}; expected at least 0")


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
    """Further arguments of timm.create_model, but for those that name weights."""

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
    probability: float = 0.0
    """Share of the batches that train on their warped version; drawn once per batch, as published."""

    def __post_init__(self) -> None:
        require(self.grid_size >= 2, f"grid_size is {self.grid_size}; expected at least 2")
        require(self.strength >= 0, f"strength is {self.strength}; expected at least 0")
        require(0 <= self.probability <= 1, f"probability is {self.probability}; expected 0 to 1")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is minimised besides the cross-entropy. In the canonicalizer's own phase, its weights apply."""

    two_views: bool = False
    """Images and their warped versions go through the model together; the uniqueness losses need it."""
    equivariance: Literal["kl", "mse", "js"] = "kl"
    equivariance_weight: float = 0.0
    canonicalizer_equivariance_weight: float = 0.0
    canonicalizer_task_weight: float = 1.0
    phi_weight: float = 0.1
    """Factor of both phi losses."""
    phi_difference: float = 0.0
    """Weight, in the first epoch, of pushing the warps of an image and of its warped version apart."""
    phi_difference_increment: float = 0.0
    """Added to it per epoch."""
    phi_difference_max: float = 3.0
    phi_prior: float = 0.0
    """Weight of keeping warps near the identity."""
    consistency_weight: float = 0.0
    """Weight of an image and its warped version having one canonical form, in both phases. Where nothing else needs a
    second view, the canonicalizer alone sees it."""
    uniqueness_weight: float = 0.1
    """Of the energies before and after the inner loop; used with two_views and an energy canonicalizer."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float):
                require(value >= 0, f"{name} is {value}; expected at least 0")
        needs_two = self.phi_difference > 0 or self.phi_difference_increment > 0 or self.phi_prior > 0
        require(self.two_views or not needs_two, "the phi losses compare two views; set two_views: true")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How learning rates change, epoch by epoch."""

    name: Literal["constant", "plateau", "step", "cyclic", "cosine"] = "plateau"
    patience: int = 2
    """plateau: epochs without a lower training loss before the rate falls."""
    factor: float = 0.5
    """plateau, step: what the rate is multiplied by."""
    step_size: int = 2
    """step: epochs between two falls; cyclic: epochs of a rise."""
    floor: float = 0.1
    """cyclic: the lowest rate, as a share of the highest."""
    warmup_epochs: int = 0
    """cosine: epochs of a linear rise, which lie inside the cosine."""
    warmup_lr: float = 0.0
    """cosine: the rate that the rise starts from."""

    def __post_init__(self) -> None:
        require(self.patience >= 0, f"patience is {self.patience}; expected at least 0")
        require(0 < self.factor < 1, f"factor is {self.factor}; expected between 0 and 1")
        require(self.step_size >= 1, f"step_size is {self.step_size}; expected at least 1")
        require(0 <= self.floor <= 1, f"floor is {self.floor}; expected 0 to 1")
        require(self.warmup_epochs >= 0, f"warmup_epochs is {self.warmup_epochs}; expected at least 0")
        require(self.warmup_lr >= 0, f"warmup_lr is {self.warmup_lr}; expected at least 0")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation."""

    epochs: int = 60
    canonicalizer_epochs: int = 0
    """The first epochs, in which the canonicalizer trains alone and the backbone stays in evaluation mode."""
    batch_size: int = 64
    """Images of one optimizer step, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts that a batch goes through the model in."""
    backbone_lr: float = 0.001
    canonicalizer_lr: float | None = None
    """null: the canonicalizer's parameters belong to the backbone's optimizer, as in the canonicalisation baseline."""
    weight_decay: float = 0.01
    """AdamW's default acted in all published runs, whose files say 0."""
    canonicalizer_weight_decay: float = 0.01
    backbone_clip: float | None = 5.0
    """Largest norm of the gradient."""
    canonicalizer_clip: float | None = 0.5
    clip: float | None = None
    """Largest norm of all gradients together, besides those two."""
    layer_decay: float | None = None
    """Factor from one layer of the backbone's to the one before it, and no weight decay of biases and norms: timm's
    groups; null trains all parameters alike."""
    finetune: Literal["complete", "partial", "semi-partial", "head"] = "complete"
    """What of the backbone trains: all of it, the stages that have a site, all stages but nothing before or behind
    them, or the head. A canonicalizer trains always."""
    schedule: ScheduleConfig = ScheduleConfig()
    amp: Literal["off", "bf16", "fp16"] = "off"
    compile: bool = False
    """Compile the backbone and the canonicalizer's maps."""
    ema: float | None = None
    """Decay of an averaged copy of the weights, which is then evaluated and saved."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_steps: int | None = None
    """Save the state every so many steps too, not only behind every epoch."""
    statistics_steps: int = 0
    """Batches that batch norm's statistics are estimated from anew behind the last step. 0, published, keeps the
    running ones, which lag behind weights that still moved."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs is {self.epochs}; expected at least 1")
        require(
            0 <= self.canonicalizer_epochs <= self.epochs,
            f"canonicalizer_epochs is {self.canonicalizer_epochs}; expected 0 to epochs, {self.epochs}",
        )
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; expected at least 1")
        require(
            1 <= self.accumulate <= self.batch_size,
            f"accumulate is {self.accumulate}; expected 1 to batch_size, {self.batch_size}",
        )
        for name in ("backbone_lr", "canonicalizer_lr", "backbone_clip", "canonicalizer_clip", "clip"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} is {value}; expected above 0")
        for name in ("weight_decay", "canonicalizer_weight_decay", "statistics_steps"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; expected at least 0")
        require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            f"layer_decay is {self.layer_decay}; expected null, or above 0 and at most 1",
        )
        require(self.ema is None or 0 < self.ema < 1, f"ema is {self.ema}; expected between 0 and 1")
        require(
            self.checkpoint_steps is None or self.checkpoint_steps >= 1,
            f"checkpoint_steps is {self.checkpoint_steps}; expected at least 1",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and when."""

    split: Literal["test", "validation"] = "test"
    """validation: items of the training split that are not trained on, for trying settings out."""
    items: int | None = None
    """The first so many of the split; null takes all (of validation: as many as train_items)."""
    every: int = 20
    """Epochs between two evaluations of accuracy; the last epoch is always evaluated."""
    local_scale_every: int = 40
    """Epochs between two measurements of the local-scale error; the end of training always measures it."""
    before_training: bool = False
    calibration_items: int = 1000
    """Held-out items of the training split that the temperature is fitted on."""
    local_scale_items: int = 64
    local_scale_draws: int = 8
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("every", "local_scale_every", "calibration_items", "local_scale_items", "local_scale_draws"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; expected at least 1")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; expected at least 1")
        require(self.items is None or self.items >= 1, f"items is {self.items}; expected null or at least 1")


@dataclass(frozen=True, kw_only=True)
class WandbConfig:
    """Weights & Biases; the default needs no account and no network."""

    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: str = "scale_mnist"
    entity: str | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment."""

    data: DataConfig = DataConfig()
    model: ModelConfig
    dec: DEC | None = None
    candidates: Candidates | None = None
    energy: Energy | None = None
    warp: WarpConfig = WarpConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    wandb: WandbConfig = WandbConfig()
    warm_start: str | None = None
    """A recipe whose finished run of the same seed gives the weights, or a safetensors file."""
    output_dir: str = "weights"
    """Where runs are kept: <output_dir>/<recipe>/<seed>."""

    def __post_init__(self) -> None:
        given = [name for name in ("dec", "candidates", "energy") if getattr(self, name) is not None]
        require(len(given) <= 1, f"{' and '.join(given)} are given; expected at most one of dec, candidates, energy")
        has_optimizer = self.dec is not None or self.energy is not None
        require(
            has_optimizer or self.train.canonicalizer_epochs == 0,
            "train.canonicalizer_epochs is above 0; it needs a dec or energy section",
        )
        require(
            self.train.canonicalizer_epochs == 0 or self.train.canonicalizer_lr is not None,
            "train.canonicalizer_lr is null; a phase of its own needs a rate of its own",
        )
        has_phi_loss = max(self.loss.phi_difference, self.loss.phi_difference_increment, self.loss.phi_prior) > 0
        require(self.dec is not None or not has_phi_loss, "loss has phi losses above 0; they need a dec section")
        if self.loss.consistency_weight > 0:
            self._check_consistency()
        require(
            self.train.finetune != "partial" or (self.dec or self.energy) is not None,
            "train.finetune is partial, the stages that have a site; it needs a dec or energy section",
        )
        cropped = [site for site in (self.dec.sites if self.dec else ()) if site.stage == "input" and site.restore]
        require(
            not cropped or self.model.resize is None,
            "dec.sites restores a warp of the input, but model.resize cuts a part of it away; warp the image instead, "
            "or do not restore",
        )

    def _check_consistency(self) -> None:
        given = "loss.consistency_weight is above 0"
        require(self.warp.strength > 0, f"{given} with warp.strength 0; it compares warped images")
        if self.dec is None:
            raise ConfigError(f"{given}; it needs a dec section")
        sites = self.dec.sites
        # Warps of sites that are not undone add up, and each would be asked to undo all.
        require(
            len(sites) == 1 or all(site.restore for site in sites),
            f"{given} with {len(sites)} sites; expected one, or restore: true at all of them",
        )
        require(
            self.loss.two_views or self.dec.condition == "image",
            f"{given} with dec.condition feature; it then needs loss.two_views: true",
        )
