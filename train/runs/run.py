"""A run from its folder's first file to its summary: what goes on, what it starts from, what is written and when."""

from __future__ import annotations

import re
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from config.errors import SettingWarning
from config.load import to_dict
from config.schema import Config, ConfigError
from report.suite import write_curves
from train import distributed
from train.distributed import Process
from train.loop import Trainer
from train.measuring import Measure, Watch
from train.runs.checkpoint import load_state, save_arrays, save_items, save_state, save_weights, start_from
from train.runs.errors import RunError
from train.runs.folder import claim, locked, refuse_foreign
from train.runs.log import Log, read_summary, write_summary
from train.runs.places import Places, source_of
from train.runs.tracker import build_tracker
from train.studying import StudyAll

DRY_ITEMS = 4  # of a batch and process


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recipe and seed, as a script carries it out.

    Args:
        name: of the recipe.
        config: its settings, as they are built: legacy ones are resolved, a dry run has small batches, and what goes on
            needs no network.
        seed: of the run.
        process: this one.
        folder: that is written to.
        source: the file of weights that it starts from or measures; None: those that the model is built with.
        state: that it goes on from, if it does.
        trains: whether it trains, or measures alone.
        is_dry: whether it shows that everything fits together, and writes nothing.
    """

    name: str
    config: Config
    seed: int
    process: Process
    folder: Path
    source: Path | None
    state: dict[str, Any] | None
    trains: bool
    is_dry: bool

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.process.is_first and not self.is_dry

    @property
    def starts_published(self) -> bool:
        """Whether what is measured are the weights that the model is built with."""
        return self.source is None and (not self.trains or self.config.train.epochs == 0)

    @contextmanager
    def building(self) -> Iterator[None]:
        """What a user can have got wrong shows inside, before training, and ends in one line."""
        try:
            yield
        except (ValueError, FileNotFoundError) as error:
            raise RunError(f"{self.name}: {error}") from error

    def take_over(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        """Give a model the weights of another run."""
        if not start_from(model, weights, str(self.source), is_whole=not self.trains):
            self.process.say(
                f"{self.source} has a canonicalizer that this recipe has not: only its backbone is taken over"
            )

    def rehearse(self, trainer: Trainer) -> None:
        """Train two steps."""
        trainer.fit(max_steps=2)
        size = self.config.train.batch_size
        self.process.say(f"{self.name}: two steps of {size} items ran, nothing was written")

    def fit(
        self, trainer: Trainer, measure: Measure, watch: Watch | None = None, study: StudyAll | None = None
    ) -> dict[str, Any]:
        """Train to the end, from the start or from the saved state, and return what the summary holds.

        Args:
            trainer: of the model.
            measure: of its metrics.
            study: takes the closer looks at the trained model, if any are wanted.
            watch: of the one value that tells, after every epoch, whether training may end.
        """
        if self.state is not None:
            trainer.load_state_dict(self.state["trainer"])
        folder = self.folder if self.writes else None
        settings, title = {self.name: to_dict(self.config)}, f"{self.name}-{self.seed}"
        tracker = None if folder is None else build_tracker(self.config.wandb, folder, title, settings)
        with Log(folder, self.state["log_size"] if self.state else 0, tracker) as log:
            summary = self._fit(trainer, measure, watch, study, log)
            log.summary = summary["metrics"]
        return summary

    def _fit(
        self, trainer: Trainer, measure: Measure, watch: Watch | None, study: StudyAll | None, log: Log
    ) -> dict[str, Any]:
        rhythm = self.config.evaluation

        def save() -> None:
            saved = trainer.state_dict()
            if self.writes:
                save_state(self.folder, {"trainer": saved, "log_size": log.size})

        def end_epoch(metrics: dict[str, float]) -> None:
            epoch = trainer.place.epoch
            if watch is not None:
                metrics = metrics | {"watched_accuracy": watch(trainer.evaluated)}
                trainer.best.see(metrics["watched_accuracy"], epoch, trainer.evaluated)
            if epoch % rhythm.every == 0 and epoch < trainer.epochs:
                metrics = metrics | measure(trainer.evaluated, epoch % rhythm.full_every == 0).metrics
                if self.writes:
                    save_weights(self.folder, trainer.evaluated)
            log(epoch, metrics)

        if self.state is None and rhythm.before_training:
            log(0, measure(trainer.evaluated, True).metrics)
        trainer.fit(save, end_epoch)
        best = trainer.best.epoch
        if best:
            self.process.say(f"{self.name}: of {trainer.place.epoch} epochs, number {best} gives the weights")
        began = time.perf_counter()
        if self.writes:
            save_weights(self.folder, trainer.evaluated)
        metrics = self._judge(trainer.evaluated, measure, study)
        log(trainer.place.epoch, metrics)
        seconds = trainer.place.seconds
        return {
            "metrics": metrics,
            "seconds": seconds,
            "evaluation_seconds": time.perf_counter() - began,
            "images_per_second": len(trainer.order.items) * trainer.place.epoch / seconds if seconds else 0.0,
            "epochs": trainer.place.epoch,
            **({"best_epoch": best} if best else {}),
            "parameters": sum(value.numel() for value in trainer.model.parameters()),
            "processes": self.process.world,
        }

    def evaluate(self, model: nn.Module, measure: Measure, study: StudyAll | None = None) -> dict[str, Any]:
        """Measure a model as it is, and return what the summary holds."""
        self.process.say(f"{self.name}: evaluating {self.source or 'the weights that the model was built with'}")
        metrics = self._judge(self.process.place(model), measure, study)
        return {"metrics": metrics, "weights": str(self.source)}

    def _judge(self, model: nn.Module, measure: Measure, study: StudyAll | None) -> dict[str, float]:
        """Measure and study a finished model, write what was found, and return its numbers."""
        found = measure(model, True)
        if self.writes:
            save_items(self.folder, found.items)
        metrics = dict(found.metrics)
        for name, findings in study(model) if study is not None else ():
            metrics |= findings.metrics
            if self.writes:
                save_arrays(self.folder, name, findings.arrays)
        if self.writes:
            write_curves(self.folder, {self.name: metrics})
        return metrics

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which makes the run a finished one, and print its metrics."""
        if self.writes:
            write_summary(self.folder, {"recipe": self.name, "seed": self.seed, **summary})
        shown = ", ".join(f"{key} {value:.4g}" for key, value in summary["metrics"].items())
        self.process.say(f"{self.name}: {shown}")
        self.process.wait()


@contextmanager
def open_run(
    name: str, config: Config, arguments: Namespace, process: Process, suite: str | None = None
) -> Iterator[Run | None]:
    """A recipe's run in its folder, which no other run may write to meanwhile; None where it is finished already.

    Args:
        name: of the recipe.
        config: its settings.
        arguments: of the command line.
        process: this one.
        suite: that the recipe is a member of, if it is.
    """
    writes = process.is_first and not arguments.dry_run
    places = Places.of(name, config, arguments, suite)
    if writes:
        refuse_foreign(places.folder)
    with locked(places.folder) if writes else nullcontext():
        yield _opened(name, config, arguments, process, places)


def _opened(name: str, config: Config, arguments: Namespace, process: Process, places: Places) -> Run | None:
    folder, is_dry, trains = places.folder, arguments.dry_run, not arguments.eval_only
    resumes = arguments.resume and not is_dry
    if process.is_first and not is_dry:
        claim(folder, name, config, resume=resumes)
    config = config.resolved()
    process.wait()
    state = load_state(folder) if resumes else None
    is_finished = resumes and read_summary(folder) is not None
    place = None if state is None else (state["trainer"]["place"]["epoch"], state["trainer"]["place"]["step"])
    if not process.all_have((is_finished, place)):
        raise RunError(f"{folder} does not hold the same for all processes; expected one that all machines see")
    if is_finished:
        process.say(f"{name}: finished already, see {folder}")
        return None
    process.say(f"{name}: {'dry run' if is_dry else folder}")
    if is_dry:  # shows that everything fits together, on any machine
        few = min(config.train.batch_size, DRY_ITEMS * process.world)
        config = replace(config, train=replace(config.train, batch_size=few, accumulate=1))
    source = None if state is not None else source_of(name, config, arguments, places)
    if is_dry and trains and source is not None and not source.exists():
        process.say(f"would start from {source}, which is not there yet")
        source = None
    if state is not None or (source is not None and not trains):  # all weights come from there
        config = config.untrained()
    return Run(
        name=name,
        config=config,
        seed=arguments.random_seed,
        process=process,
        folder=folder,
        source=source,
        state=state,
        trains=trains,
        is_dry=is_dry,
    )


def _of_worker(error: Exception) -> str:
    """What an error says; one of a loader's worker has the worker's traceback before that."""
    text = str(error)
    if not re.match(r"Caught \w+ in DataLoader worker", text):
        return text
    return text.splitlines()[-1].partition(": ")[2]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """All that can be foreseen ends in one line, and other processes are left in the end."""
    plainly = warnings.formatwarning

    def told(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> str:
        return f"{message}\n" if category is SettingWarning else plainly(message, category, *place, **options)

    warnings.formatwarning = told
    try:
        yield
    except (ConfigError, RunError) as error:
        sys.exit(f"error: {_of_worker(error)}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was saved is still there, and --resume goes on from it")
    except RuntimeError as error:
        if distributed.is_lost(error):
            sys.exit(
                "error: another process of this run has ended, so this one cannot go on; what was saved is still "
                "there, and --resume goes on from it, with any number of processes"
            )
        raise
    finally:
        warnings.formatwarning = plainly
        distributed.stop()
