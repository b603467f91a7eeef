"""Runs the stages on this machine, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from multiscale.build import STAGES, AnyStage, build_stage
from multiscale.errors import LostWorker
from multiscale.manifest import Record
from multiscale.picture import Picture
from multiscale.settings import Job

AHEAD = 2  # batches that wait for each worker, so that none waits for a batch


def run_local(batches: Iterable[list[Picture]], job: Job, workers: int) -> Iterator[list[Record]]:
    """The lines of each batch, in order.

    Args:
        batches: of pictures of which only the source is known.
        job: of the run.
        workers: processes; one means this one.
    """
    if workers == 1:
        line = ProductionLine(job)
        yield from map(line, batches)
        return
    context = multiprocessing.get_context("spawn")  # a forked CUDA context does not work
    with ProcessPoolExecutor(workers, context, _start, (job, workers)) as pool:
        waiting: deque[Future[list[Record]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_work, batch))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise LostWorker("a worker was killed, perhaps for want of memory") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class ProductionLine:
    """All stages, one behind the other; they are built when the first batch comes."""

    def __init__(self, job: Job):
        self.job = job
        self.stages: list[AnyStage] = []

    def __call__(self, batch: list[Picture]) -> list[Record]:
        self.stages = self.stages or [build_stage(name, self.job) for name in STAGES]
        *others, last = self.stages
        for stage in others:
            batch = stage(batch)
        return last(batch)


_line: ProductionLine  # of this worker


def _start(job: Job, workers: int) -> None:
    """What a worker does first."""
    global _line
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends them
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))  # before torch comes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _line = ProductionLine(job)


def _work(batch: list[Picture]) -> list[Record]:
    return _line(batch)


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for its next batch for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
