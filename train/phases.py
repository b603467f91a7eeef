"""The phases of a run: epochs in which the same parts train, at the same rates and on the same terms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from config.schema import Config
from train.runs.errors import RunError

PARTS = ("backbone", "canonicalizer")


@dataclass
class Place:
    """How far a run has come; what it needs to go on from there."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs of a run.

    Args:
        number: of the phase in the recipe, by which the objective knows its terms.
        start: its first epoch.
        epochs: how many it has.
        trains: backbone, canonicalizer, or both; what does not train rests in evaluation mode.
        rates: that a part has from here on.
        task_weight: of the task in the loss; 0 where it is not in it.
    """

    number: int = -1
    start: int = 0
    epochs: int
    trains: Collection[str] = PARTS
    rates: Mapping[str, float] = field(default_factory=dict)
    task_weight: float = 1.0

    @property
    def title(self) -> str:
        """What is added to an epoch's name, where not all of the model trains."""
        return "" if set(self.trains) == set(PARTS) else f" ({', '.join(self.trains)})"

    def check_loss(self, loss: Tensor) -> None:
        """Refuse a loss that does not depend on what trains."""
        if not loss.requires_grad:
            raise RunError(
                f"train.phases[{self.number}] trains the {' and the '.join(self.trains)}, which no term of its loss "
                "depends on; expected one that does, such as task"
            )

    def release(self, model: nn.Module, trainable: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Let these parameters of a model train, by part, and all others rest."""
        for part, parameters in trainable.items():
            for parameter in parameters:
                parameter.requires_grad_(part in self.trains)


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase:
    """The phase of an epoch; after the last one, the last phase."""
    return next((phase for phase in phases if phase.start <= epoch < phase.start + phase.epochs), phases[-1])


def is_break(phases: Sequence[Phase], phase: Phase) -> bool:
    """Whether a phase's losses cannot be compared with those before it, for the task is missing from one of the two."""
    before = [other for other in phases if other.start < phase.start][-1:]
    return bool(before) and 0 in (before[0].task_weight, phase.task_weight)


def build_phases(config: Config) -> list[Phase]:
    """The phases of a recipe that have epochs, in their order; where nothing trains, its last one."""
    found, start, last = [], 0, len(config.train.phases) - 1
    for number, (phase, epochs) in enumerate(zip(config.train.phases, config.train.epochs_of_phases, strict=True)):
        if epochs or (config.train.epochs == 0 and number == last):
            weight = config.weights("task")[number]
            found.append(
                Phase(
                    number=number,
                    start=start,
                    epochs=epochs,
                    trains=phase.trains,
                    rates=phase.rates,
                    task_weight=weight,
                )
            )
        start += epochs
    return found
