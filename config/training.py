"""How a recipe trains: its phases, rates and schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from config.errors import ConfigError, require

Trained = Literal["backbone", "canonicalizer"]


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
    milestones: tuple[int, ...] = ()
    """step: epochs after which the rate falls, in the place of every step_size."""
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
        rises = list(self.milestones) == sorted({*self.milestones}) and all(one >= 1 for one in self.milestones)
        require(rises, f"milestones is {list(self.milestones)}; expected numbers from 1 on, each above the one before")
        is_read = self.name == "step" or not self.milestones
        require(is_read, f"milestones is given, which the schedule {self.name} does not read; expected name: step")
        require(0 <= self.floor <= 1, f"floor is {self.floor}; expected 0 to 1")
        require(self.warmup_epochs >= 0, f"warmup_epochs is {self.warmup_epochs}; expected at least 0")
        require(self.warmup_lr >= 0, f"warmup_lr is {self.warmup_lr}; expected at least 0")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs in which the same parts train on the same terms. Parts that rest stay in evaluation mode."""

    trains: tuple[Trained, ...] = ("backbone", "canonicalizer")
    epochs: int | None = None
    """null, which only the last phase may say: those that are left of train.epochs."""
    terms: dict[str, float] = field(default_factory=dict)
    """Weights of terms in this phase, in the place of those that the loss section gives: {task: 0.1} for instance."""
    rates: dict[str, float] = field(default_factory=dict)
    """Learning rates from the beginning of this phase, by part: {canonicalizer: 0.001} for instance. They are what the
    schedule goes on to scale; what is left out goes on as it was."""

    def __post_init__(self) -> None:
        is_list = 1 <= len(self.trains) == len(set(self.trains))
        require(is_list, f"trains is {list(self.trains)}; expected backbone, canonicalizer, or both")
        require(self.epochs is None or self.epochs >= 0, f"epochs is {self.epochs}; expected null or at least 0")
        for name, values, least in (("terms", self.terms, "at least 0"), ("rates", self.rates, "above 0")):
            for key, value in values.items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
                is_right = is_number and (value >= 0 if name == "terms" else value > 0)
                require(is_right, f"{name} has {key}: {value}; expected a finite number, {least}")
        strange = self.rates.keys() - set(self.trains)
        require(
            not strange, f"rates has {', '.join(sorted(strange))}, which does not train here; expected some of trains"
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation."""

    epochs: int = 60
    """0 measures what the recipe starts from, as it is."""
    phases: tuple[Phase, ...] = (Phase(),)
    """One after the other. As published, [{trains: [canonicalizer], epochs: 4}, {}] trains the canonicalizer alone for
    four epochs, and then everything."""
    batch_size: int = 64
    """Images of one optimizer step, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts that a batch goes through the model in."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd has Nesterov's momentum of 0.9, and a weight decay that is part of the gradient."""
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
    """What of the backbone trains: all of it, the stages that have a site, all stages but nothing before or after
    them, or the head. A canonicalizer trains always."""
    schedule: ScheduleConfig = ScheduleConfig()
    amp: Literal["off", "bf16", "fp16"] = "off"
    compile: bool = False
    """Compile the backbone and the canonicalizer's maps."""
    ema: float | None = None
    """Decay of an averaged copy of the weights, which is then evaluated and saved."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_steps: int | None = None
    """Save the state every so many steps too, not only after every epoch."""
    patience: int | None = None
    """Epochs without a better accuracy on the items that are watched, after which training ends; the weights of the
    best epoch are the run's. It needs a single phase. null: train all epochs and keep the last weights."""
    statistics_steps: int = 0
    """Batches that batch norm's statistics are estimated from once more after the last step. 0, published, keeps the
    running ones, which lag behind weights that still moved."""

    def __post_init__(self) -> None:
        require(self.epochs >= 0, f"epochs is {self.epochs}; expected at least 0")
        self._check_phases()
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
        require(
            self.patience is None or self.patience >= 1, f"patience is {self.patience}; expected null or at least 1"
        )
        is_plain = self.patience is None or self.statistics_steps == 0
        is_single = self.patience is None or sum(epochs > 0 for epochs in self.epochs_of_phases) <= 1
        require(is_single, f"patience is {self.patience}; it needs a single phase, for a first one could end the run")
        require(is_plain, "statistics_steps is set with patience; they belong to the last weights, not to the best")
        require(self.ema is None or 0 < self.ema < 1, f"ema is {self.ema}; expected between 0 and 1")
        require(
            self.checkpoint_steps is None or self.checkpoint_steps >= 1,
            f"checkpoint_steps is {self.checkpoint_steps}; expected at least 1",
        )

    @property
    def epochs_of_phases(self) -> list[int]:
        """Of each phase, together ``epochs``."""
        given = [phase.epochs for phase in self.phases]
        rest = self.epochs - sum(epochs or 0 for epochs in given)
        return [rest if epochs is None else epochs for epochs in given]

    def _check_phases(self) -> None:
        require(len(self.phases) >= 1, "phases is empty; expected at least one, such as [{}]")
        *before, last = self.phases
        for number, phase in enumerate(before):
            if phase.epochs is None:
                raise ConfigError(f"phases[{number}] has epochs: null; expected a number, for it is not the last one")
        total = sum(phase.epochs or 0 for phase in self.phases)
        if last.epochs is None:
            fits, expected = total <= self.epochs, f"at most train.epochs, {self.epochs}"
        else:
            fits, expected = total == self.epochs, f"train.epochs, {self.epochs}"
        require(fits, f"phases has {total} epochs; expected {expected}")
