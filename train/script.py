"""What both training scripts do with their recipes: build, train, evaluate and write, one run after the other."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader

from config.schema import Config, ConfigError
from layers.spec import Plain
from evaluation.evaluator import Evaluation
from train import distributed
from train.build import build_trainer
from train.checkpoint import WEIGHTS, load_state, save_items, start_from
from train.distributed import Process
from train.errors import RunError
from train.folder import claim, locked, refuse_foreign
from train.log import Log, build_wandb, read_summary, write_summary
from train.loop import Mix
from train.run import Rhythm, carry_out

DRY_ITEMS = 4  # of a batch and process
ReadWeights = Callable[[Path], dict[str, Tensor]]


class Recipe(NamedTuple):
    """A recipe as a script has loaded it.

    Args:
        name: of the recipe.
        config: its settings.
        text: the same as the content of a recipe file.
    """

    name: str
    config: Config
    text: str


class Experiment(NamedTuple):
    """What a script makes of a recipe.

    Args:
        model: with its first weights.
        loader: of (image, label, number) batches to train on; evaluation alone needs none.
        measure: evaluates a model, in full or not; every process calls it.
        rhythm: when.
        check_head: raises where the classifier that the model was built with knows other classes.
        mix: what is done to whole batches.
        close: is given the folder and the metrics of a finished run, for files of the script's own.
    """

    model: nn.Module
    loader: DataLoader | None
    measure: Callable[[nn.Module, bool], Evaluation]
    rhythm: Rhythm
    check_head: Callable[[], None]
    mix: Mix | None = None
    close: Callable[[Path, Mapping[str, float]], None] = lambda folder, metrics: None


class Runner(NamedTuple):
    """A script's words, and how it builds.

    Args:
        arguments: of the command line.
        process: this one.
        build: an experiment of a recipe; what a user can have got wrong is a ValueError or a FileNotFoundError.
        read_weights: a file of weights.
    """

    arguments: Namespace
    process: Process
    build: Callable[[Config], Experiment]
    read_weights: ReadWeights

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.process.is_first and not self.arguments.dry_run

    def run_all(self, recipes: list[Recipe], close_suite: Callable[[Path, Path], list[Path]]) -> None:
        """Carry recipes out one after the other.

        Args:
            recipes: one, or all members of a suite.
            close_suite: is given the folder above the runs and the suite's own, behind the last run, and says what it
                wrote.
        """
        arguments = self.arguments
        is_suite = arguments.config is not None and arguments.config not in {recipe.name for recipe in recipes}
        for recipe in recipes:
            root = Path(arguments.run_dir if arguments.run_dir and is_suite else recipe.config.output_dir)
            folder, trained = self._folders(recipe.name, root, is_suite)
            if self.writes:
                refuse_foreign(folder)
            with locked(folder) if self.writes else nullcontext():
                self._run(recipe, folder, root, trained)
        if is_suite and self.writes and not arguments.eval_only:
            folder = folder_of(root, arguments.config, arguments)
            try:
                written = close_suite(root, folder)
            except OSError as error:
                raise RunError(
                    f"the table and the figure could not be written to {folder} ({error.strerror})"
                ) from error
            for path in written:
                print(path)

    def _folders(self, name: str, root: Path, is_suite: bool) -> tuple[Path, Path]:
        """What is written to, and where the weights lie that evaluation alone looks for."""
        arguments = self.arguments
        own = folder_of(root, name, arguments)
        given = Path(arguments.run_dir) if arguments.run_dir and not is_suite else None
        if not arguments.eval_only:
            return given or own, own
        if given is None:
            return folder_of(root, f"{name}_eval", arguments), own
        return (given.with_name(f"{given.name}_eval"), given) if (given / WEIGHTS).exists() else (given, own)

    def _run(self, recipe: Recipe, folder: Path, root: Path, trained: Path) -> None:
        """One recipe: build, train, evaluate, write."""
        (name, config, text), process, is_dry = recipe, self.process, self.arguments.dry_run
        seed, resumes = self.arguments.random_seed, self.arguments.resume and not is_dry
        if self.writes:
            claim(folder, text, resume=resumes)
        process.wait()
        state = load_state(folder) if resumes else None
        is_finished = resumes and read_summary(folder) is not None
        place = None if state is None else (state["trainer"]["place"]["epoch"], state["trainer"]["place"]["step"])
        if not process.all_have((is_finished, place)):
            raise RunError(f"{folder} does not hold the same for all processes; expected one that all machines see")
        if is_finished:
            return process.say(f"{name}: finished already, see {folder}")
        process.say(f"{name}: {'dry run' if is_dry else folder}")
        if is_dry:  # shows that everything fits together, on any machine
            few = min(config.train.batch_size, DRY_ITEMS * process.world)
            config = replace(config, train=replace(config.train, batch_size=few, accumulate=1))
        source = self._weights(recipe, trained / WEIGHTS) if self.arguments.eval_only else None
        if state is not None or source is not None:  # all weights come from there: no network is needed, and no file
            config = replace(config, model=replace(config.model, pretrained=False, weights=None))
        try:
            experiment = self.build(config)
        except (ValueError, FileNotFoundError) as error:  # what a user can have got wrong shows here, before training
            raise RunError(f"{name}: {error}") from error
        if self.arguments.eval_only:
            if source is None:
                self._check_built(recipe, experiment, trained / WEIGHTS)
            return self._evaluate(name, experiment, folder, source)
        assert experiment.loader is not None
        if config.warm_start is not None and state is None:
            self._warm_start(experiment.model, parent_of(config, root, seed))
        trainer = build_trainer(config, experiment.model, experiment.loader, seed, process, experiment.mix)
        if is_dry:
            trainer.fit(max_steps=2)
            return process.say(f"{name}: two steps of {config.train.batch_size} items ran, nothing was written")

        if state is not None:
            trainer.load_state_dict(state["trainer"])
        tracker = build_wandb(config.wandb, folder, f"{name}-{seed}", yaml.safe_load(text)) if self.writes else None
        with Log(folder if self.writes else None, state["log_size"] if state else 0, tracker) as log:

            def measure(full: bool) -> Evaluation:
                return experiment.measure(trainer.evaluated, full)

            summary = carry_out(trainer, measure, experiment.rhythm, log, folder, is_new=state is None)
            log.summary = summary["metrics"]
        self._close(name, folder, experiment, summary)

    def _weights(self, recipe: Recipe, own: Path) -> Path | None:
        """The weights that evaluation alone measures: of a file that the command names, or of the finished run."""
        given = file_of(recipe.config)
        is_meant = any(word.startswith("warm_start=") for word in self.arguments.settings)  # and not what it began with
        if given is None or (own.exists() and not is_meant):
            return own if own.exists() else None
        if not given.exists():
            raise RunError(f"{recipe.name}: there are no weights at {given}")
        return given

    def _evaluate(self, name: str, experiment: Experiment, folder: Path, source: Path | None) -> None:
        """Measure these weights, or those that the model was built with."""
        if source is not None:
            start_from(experiment.model, self.read_weights(source), str(source), is_whole=True)
        self.process.say(f"{name}: evaluating {source or 'the weights that the model was built with'}")
        found = experiment.measure(self.process.place(experiment.model), True)
        if self.writes:
            save_items(folder, found.items)
        self._close(name, folder, experiment, {"metrics": found.metrics, "weights": str(source)})

    def _check_built(self, recipe: Recipe, experiment: Experiment, own: Path) -> None:
        """Refuse to measure a model of which a part would be random."""
        way_out = f"{own} is not there; name a file with warm_start=FILE, or output_dir=DIR for runs that lie elsewhere"
        config = recipe.config
        if not (config.model.pretrained or config.model.weights):
            raise RunError(f"{recipe.name}: there are no weights to measure but random ones, as {way_out}")
        if not isinstance(config.method, Plain):
            raise RunError(f"{recipe.name}: there are no weights of the canonicalizer, as {way_out}")
        try:
            experiment.check_head()
        except ConfigError as error:
            raise RunError(f"{recipe.name}: {error}; {way_out}") from error

    def _close(self, name: str, folder: Path, experiment: Experiment, summary: dict[str, Any]) -> None:
        if self.writes:
            experiment.close(folder, summary["metrics"])
            write_summary(folder, {"recipe": name, "seed": self.arguments.random_seed, **summary})
        shown = ", ".join(f"{key} {value:.4g}" for key, value in summary["metrics"].items())
        self.process.say(f"{name}: {shown}")
        self.process.wait()

    def _warm_start(self, model: nn.Module, source: Path) -> None:
        """Take over the weights of another run, which a dry run can do without."""
        if source.exists():
            if not start_from(model, self.read_weights(source), str(source)):
                self.process.say(
                    f"{source} has a canonicalizer that this recipe has not: only its backbone is taken over"
                )
        elif self.arguments.dry_run:
            self.process.say(f"would start from {source}, which is not there yet")
        else:
            raise RunError(
                f"this recipe starts from {source}, which is not there. Train its parent with this seed first, or name "
                "a file with warm_start=FILE.safetensors (warm_start=null: the backbone's own first weights)"
            )


def folder_of(root: Path, name: str, arguments: Namespace) -> Path:
    """Of a recipe's run."""
    return root / name / str(arguments.random_seed)


def parent_of(config: Config, root: Path, seed: int) -> Path:
    """The weights that a recipe starts from."""
    return file_of(config) or root / str(config.warm_start) / str(seed) / WEIGHTS


def file_of(config: Config) -> Path | None:
    """The file of weights that a recipe names, if it does."""
    given = Path(config.warm_start or "")
    return given if given.suffix in (".safetensors", ".pth") else None


def main(load: Callable[[], list[Recipe]], carry: Callable[[list[Recipe], Process], None]) -> None:
    """Load recipes, join the other processes, carry the recipes out; all that can be foreseen ends in one line."""
    try:
        recipes = load()
        process = distributed.start(recipes[0].config.train.device)
        carry(recipes, process)
    except (ConfigError, RunError) as error:
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        if distributed.is_lost(error):
            sys.exit(
                "error: another process of this run has ended, so this one cannot go on; what was saved is still "
                "there, and --resume goes on from it, with any number of processes"
            )
        raise
    finally:
        distributed.stop()
