"""Runs the MNIST script several times in the processes that torchrun started.

``torchrun --nproc_per_node 2 -m tests.train.distribute JOBS.json``, which holds a list of
{"words": [...], "stop": steps or null}. All jobs share one process group.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import train_mnist
from tests.train.runs import Stopped, stop_after
from train import distributed


def main(jobs: list[dict]) -> None:
    torch.set_num_threads(1)
    stop, distributed.stop = distributed.stop, lambda: None
    for job in jobs:
        with pytest.MonkeyPatch.context() as patch:
            if job["stop"] is None:
                train_mnist.main(job["words"])
                continue
            stop_after(patch, job["stop"])
            try:
                train_mnist.main(job["words"])
            except Stopped:
                continue
            sys.exit("the run went on to its end")
    stop()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
