"""Runs the stages on a Ray cluster: the same stages on the same batches, so the same files.

A worker is one of each stage; those with weights are actors, which keep them. A batch whose process died is run again.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray

from multiscale.build import STAGES, WITH_WEIGHTS, AnyStage, build_stage
from multiscale.manifest import Record
from multiscale.picture import Picture
from multiscale.settings import Job, SettingsError
from multiscale.weights import MissingWeights
from multiscale.write import CannotWrite

BLOCKS = 2000  # at most so many pieces that Ray hands out and repeats, so that it keeps few books
Rows = dict[str, Any]  # "batch": (n,) pickled lists of pictures or records, as Arrow knows bytes and not these


def run_ray(batches: Iterable[list[Picture]], job: Job, workers: int, address: str | None) -> Iterator[list[Record]]:
    """The lines of each batch, in order.

    Args:
        batches: of pictures of which only the source is known.
        job: of the run; its folders must be the same on all machines of the cluster.
        workers: of each stage; each takes a processor and, with CUDA, a GPU.
        address: of a running cluster; None starts one on this machine.
    """
    connect(workers, address, job.device.startswith("cuda"))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = [{"batch": pickle.dumps(batch)} for batch in batches]
    data = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    for name in STAGES:
        data = with_stage(data, name, job, workers)
    try:
        for row in data.iter_rows():
            yield pickle.loads(row["batch"])
    except ray.exceptions.RayError as error:
        raise ours(error) or error from None


def connect(workers: int, address: str | None, on_gpus: bool) -> None:
    """Join a cluster, or start one here.

    Raises:
        SettingsError: where it is too small; the stages would wait for each other for ever.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if address is not None:  # its machines need this package, not more of this folder
        modules = {"py_modules": [str(Path(__file__).parent)]}
        ray.init(address, runtime_env=modules, logging_level=logging.WARNING)
    elif not ray.is_initialized():
        cpus = max(workers, os.cpu_count() or 1)
        ray.init(num_cpus=cpus, include_dashboard=False, logging_level=logging.WARNING)
    there = ray.cluster_resources()
    for kind in ["CPU"] + ["GPU"] * on_gpus:
        if there.get(kind, 0) < workers:
            raise SettingsError(f"{workers} workers need {workers} {kind}s; the cluster has {there.get(kind, 0):g}")


def with_stage(data: Any, name: str, job: Job, workers: int) -> Any:
    """A data set behind one more stage."""
    stage: dict[str, Any] = {"name": name, "job": job}
    share: dict[str, Any] = {"num_cpus": 1 / len(STAGES), "batch_size": 1}
    if name not in WITH_WEIGHTS:
        return data.map_batches(task, fn_kwargs=stage, compute=ray.data.TaskPoolStrategy(size=workers), **share)
    if job.device.startswith("cuda"):
        share["num_gpus"] = 1 / len(WITH_WEIGHTS)
    pool = ray.data.ActorPoolStrategy(size=workers)
    return data.map_batches(Actor, fn_constructor_kwargs=stage, compute=pool, **share)


def task(rows: Rows, name: str, job: Job) -> Rows:
    """A stage that has nothing to keep."""
    return on_rows(build_stage(name, job), rows)


class Actor:
    """A stage that keeps its weights; they are loaded for the first batch, as Ray hides what goes wrong earlier."""

    def __init__(self, name: str, job: Job):
        self.name, self.job = name, job

    @cached_property
    def stage(self) -> AnyStage:
        """Built once."""
        return build_stage(self.name, self.job)

    def __call__(self, rows: Rows) -> Rows:
        return on_rows(self.stage, rows)


def on_rows(stage: AnyStage, rows: Rows) -> Rows:
    """Each row is a batch, so that what the models see together does not depend on Ray."""
    return {"batch": np.array([pickle.dumps(stage(pickle.loads(row))) for row in rows["batch"]], dtype=object)}


def ours(error: BaseException | None) -> CannotWrite | MissingWeights | None:
    """What a stage raised, which Ray wraps."""
    while error is not None and not isinstance(error, CannotWrite | MissingWeights):
        error = getattr(error, "cause", None) or error.__cause__
    return error
