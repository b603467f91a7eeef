"""Measures what each stage costs, what a run costs, and whether its memory stays flat.

    python measure_speed.py ANNOTATIONS PICTURES --ray
    python measure_speed.py ANNOTATIONS PICTURES --workers 1 --segmenter_model FOLDER --inpainter_model FILE

Boxes are those of the annotations, and masks unless a segmenter is named; further options are those of
inpaint_imagenet.py. Prints JSON: seconds per picture, pictures per second, and memory in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil

from inpaint_imagenet import batches, build_job, build_parser, libraries
from multiscale.build import STAGES, build_stage
from multiscale.local import run_local
from multiscale.picture import Source
from multiscale.settings import Job
from multiscale.sources import sampled

SCRIPT = Path(__file__).parent / "inpaint_imagenet.py"
MIB = 2**20
STEP = 100  # pictures between two looks at the memory


def of_stages(job: Job, sources: Sequence[Source], batch_size: int) -> dict[str, dict[str, float]]:
    """Seconds per picture, the median over batches, and the most memory that the process has while a stage works."""
    stages = {name: build_stage(name, job) for name in STAGES}
    seconds: dict[str, list[float]] = {name: [] for name in STAGES}
    highest: dict[str, float] = {name: 0.0 for name in STAGES}
    for batch in batches(sources, 0, batch_size):
        count = len(batch)
        for name, stage in stages.items():
            forget_highest_memory()
            start = time.perf_counter()
            batch = stage(batch)
            seconds[name].append((time.perf_counter() - start) / count)
            highest[name] = max(highest[name], highest_memory() / MIB)
    return {
        name: {
            "seconds per picture": round(statistics.median(seconds[name][1:]), 4),  # the first batch warms up
            "highest memory, MiB": round(highest[name], 1),
        }
        for name in STAGES
    }


def of_memory(job: Job, sources: Sequence[Source], batch_size: int, count: int) -> list[float]:
    """Memory after every so many pictures of one run in this process, in MiB."""
    found, own = [], psutil.Process()
    many = [replace(source, name=f"{source.name}_{k}") for k, source in enumerate(islice(cycle(sources), count))]
    done, next_look = 0, STEP
    for records in run_local(batches(many, 0, batch_size), job, workers=1):
        done += len(records)
        if done >= next_look:
            found.append(round(own.memory_info().rss / MIB, 1))
            next_look += STEP
    return found


def of_runs(words: list[str], output: Path, settings: Sequence[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Pictures per second of whole runs, start included, and the most memory that their processes had together."""
    for more in settings:
        shutil.rmtree(output, ignore_errors=True)
        command = [sys.executable, str(SCRIPT), *words, "--output_path", str(output), *more]
        start, highest = time.monotonic(), 0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while process.poll() is None:
            highest = max(highest, memory_of_family(process.pid))
            time.sleep(0.2)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        lines = (output / "val" / "manifest.jsonl").read_text("utf-8").splitlines()
        pictures, seconds = json.loads(lines[-1])["finished"]["pictures"], time.monotonic() - start
        yield {
            "run": " ".join(more),
            "seconds": round(seconds, 1),
            "pictures per second": round(pictures / seconds, 2),
            "memory of all its processes, MiB": round(highest / MIB),
        }


def memory_of_family(pid: int) -> int:
    """Of a process and all below it; what they share is counted once for each."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def forget_highest_memory() -> None:
    """Linux alone keeps it."""
    Path("/proc/self/clear_refs").write_text("5")


def highest_memory() -> int:
    """In bytes, since it was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("annotations", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--count", type=int, default=200, help="pictures of the stages and of each run (200)")
    parser.add_argument("--memory_count", type=int, default=1000, help="pictures of the long run (1000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ray", action="store_true", help="measure the Ray engine too")
    options, more = parser.parse_known_args()
    words = ["--dataset_path", str(options.pictures), "--annotations", str(options.annotations), "--subset", "val"]
    words += ["--max_images", str(options.count), *more]
    engines = [
        ("--engine", engine, "--workers", str(workers))
        for engine in ("local", "ray")[: 1 + options.ray]
        for workers in options.workers
    ]
    with tempfile.TemporaryDirectory() as folder:
        job, found = build_job(build_parser().parse_args([*words, "--output_path", f"{folder}/stages"]))
        settings = job.settings
        sources = sampled(found, settings.sampling, settings.seed, options.count)
        figures = {
            "stages": of_stages(job, sources, settings.batch_size),
            "memory of one process after every 100 pictures, MiB": of_memory(
                job, sources, settings.batch_size, options.memory_count
            ),
            "runs": list(of_runs(words, Path(folder) / "runs", engines)),
            "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {job.device}",
            "libraries": libraries(job) | {"python": platform.python_version()},
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
