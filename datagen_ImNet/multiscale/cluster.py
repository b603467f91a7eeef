"""Runs the stages on a Ray cluster: the same stages on the same batches, so the same files.

A worker is one of each stage; those with weights are actors, which keep them. A batch whose process died is run again.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray

from multiscale.build import STAGES, WITH_WEIGHTS, AnyStage, build_stage
from multiscale.errors import SettingsError, Stopped
from multiscale.manifest import Record
from multiscale.picture import Picture
from multiscale.settings import Job

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
    rows = [{"batch": pickle.dumps(batch)} for batch in batches]
    if not rows:
        return
    connect(workers, address, job.device.startswith("cuda"))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    data = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    for name in STAGES:
        data = with_stage(data, name, job, workers)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Ray sets it anew with each data set
    for row in data.iter_rows():
        batch = pickle.loads(row["batch"])
        if isinstance(batch, Stopped):
            raise batch
        yield batch


def connect(workers: int, address: str | None, on_gpus: bool) -> None:
    """Join a cluster, or start one here.

    Raises:
        SettingsError: where it is too small; the stages would wait for each other for ever.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False}
    package = {"py_modules": [str(Path(__file__).parent)]}  # for machines that do not have it
    # "local": without it, a cluster that runs here already would be joined
    ray.init(address or "local", runtime_env=package, logging_level=logging.ERROR, **({} if address else own))
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
    return on_rows(lambda: build_stage(name, job), rows)


class Actor:
    """A stage that keeps its weights; they are loaded for the first batch, which can say why they are not there."""

    def __init__(self, name: str, job: Job):
        self.name, self.job = name, job

    @cached_property
    def stage(self) -> AnyStage:
        """Built once."""
        return build_stage(self.name, self.job)

    def __call__(self, rows: Rows) -> Rows:
        return on_rows(lambda: self.stage, rows)


def on_rows(stage: Callable[[], AnyStage], rows: Rows) -> Rows:
    """Each row is a batch, so that what the models see together does not depend on Ray."""
    return {"batch": np.array([on_row(stage, row) for row in rows["batch"]], dtype=object)}


def on_row(stage: Callable[[], AnyStage], row: bytes) -> bytes:
    """A batch behind a stage, or why the run stops, which goes on in its place: Ray would keep only its text."""
    batch = pickle.loads(row)
    if isinstance(batch, Stopped):
        return row
    try:
        return pickle.dumps(stage()(batch))
    except Stopped as stop:
        return pickle.dumps(stop)
