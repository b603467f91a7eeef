"""The trackers that a run can tell its values to: W&B, and trackio, which takes the same calls and needs no account."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.schema import WandbConfig
from train.runs.checkpoint import write_whole
from train.runs.errors import RunError

TRACKER_ID = "wandb_id"  # in the run's folder; a run that goes on after a kill keeps its identity
KEPT = ("config.yaml", "metrics.jsonl", "*.npz", "*.png")  # what of the folder an artifact holds


class Tracker:
    """A run in a tracker.

    Args:
        module: wandb or trackio.
        run: that was begun there.
        folder: of our run.
    """

    def __init__(self, module: Any, run: Any, folder: Path):
        self.module, self.run, self.folder = module, run, folder
        self.epoch: Any = 0

    def log(self, line: Mapping[str, Any]) -> None:
        """The values of an epoch."""
        self.epoch = line.get("epoch", self.epoch)
        self.run.log(dict(line))

    def close(self, summary: Mapping[str, Any], *, is_whole: bool) -> None:
        """End the run; one that came to its end also gives its table of metrics, its figures, and its files."""
        if is_whole and summary:
            self.run.log({"epoch": self.epoch, **self._shown(summary)})
            artifact = self.module.Artifact(f"run-{_id(self.folder)}", type="run")
            for path in sorted(found for pattern in KEPT for found in self.folder.glob(pattern)):
                artifact.add_file(str(path))
            self.run.log_artifact(artifact)
        if hasattr(self.run, "summary"):  # trackio has none, and the table in its place
            self.run.summary.update(dict(summary))
        has_code = "exit_code" in inspect.signature(self.run.finish).parameters
        self.run.finish(**({"exit_code": 0 if is_whole else 1} if has_code else {}))

    def _shown(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        rows = [[name, float(value)] for name, value in summary.items()]
        figures = {path.stem: self.module.Image(str(path)) for path in sorted(self.folder.glob("*.png"))}
        return {"final_metrics": self.module.Table(columns=["metric", "value"], data=rows), **figures}


def build_tracker(config: WandbConfig, folder: Path, name: str, settings: Mapping[str, Any]) -> Tracker | None:
    """The run in the recipe's tracker, or None."""
    if config.mode == "disabled":
        return None
    begin = {"wandb": _begin_wandb, "trackio": _begin_trackio}[config.tracker]
    return Tracker(*begin(config, folder, name, dict(settings)), folder)


def _begin_trackio(config: WandbConfig, folder: Path, name: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    try:
        import trackio
    except ImportError as error:
        raise RunError("wandb.tracker is trackio, which is not installed; run: pip install '.[trackio]'") from error
    unique = f"{name}-{_id(folder)}"  # trackio finds the run that goes on by its name
    run = trackio.init(
        project=config.project,
        name=unique,
        config=settings,
        resume="allow",
        embed=False,
        auto_log_cpu=False,  # a run's own log does not tell of the machine either
        auto_log_gpu=False,
    )
    return trackio, run


def _begin_wandb(config: WandbConfig, folder: Path, name: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    import wandb  # takes a second, which runs without it need not pay

    if config.mode == "online" and not _has_key(wandb):
        raise RunError(
            "wandb.mode is online, but W&B has no key: run `wandb login`, or set WANDB_API_KEY; wandb.mode=offline and "
            "wandb.mode=disabled need none"
        )
    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            mode=config.mode,
            name=name,
            dir=folder,
            config=settings,
            resume="allow",
            id=_id(folder),
        )
    except wandb.Error as error:  # a wrong key, or no connection
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"W&B does not start ({reason}); wandb.mode=offline needs neither key nor network") from error
    run.define_metric("*", step_metric="epoch")
    return wandb, run


def _has_key(wandb: Any) -> bool:
    """Whether W&B has a key, without asking anybody for one."""
    if "prompt" in inspect.signature(wandb.login).parameters:  # in newer versions, which give up wandb.api
        return wandb.login(prompt=False, verify=False)
    return wandb.api.api_key is not None


def _id(folder: Path) -> str:
    path = folder / TRACKER_ID
    if not path.exists():
        write_whole(path, lambda file: file.write(os.urandom(4).hex().encode()))
    return path.read_text()
