"""Runs a training script several times in the processes that torchrun started.

``torchrun --nproc_per_node 2 -m tests.train.distribute JOBS.json``, which holds a list of
{"words": [...], "stop": steps or null}, and perhaps "script" and "notes" (see ``note_items``). All jobs share one
process group.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from tests.train.runs import Stopped, note_items, stop_after
from train import distributed


def main(jobs: list[dict]) -> None:
    torch.set_num_threads(1)
    stop, distributed.stop = distributed.stop, lambda: None
    for job in jobs:
        script = importlib.import_module(job.get("script", "train_mnist"))
        with pytest.MonkeyPatch.context() as patch:
            if "notes" in job:
                note_items(patch, Path(job["notes"]))
            if job["stop"] is None:
                script.main(job["words"])
                continue
            stop_after(patch, job["stop"])
            try:
                script.main(job["words"])
            except Stopped:
                continue
            sys.exit("the run went on to its end")
    stop()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
