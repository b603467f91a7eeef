"""Timing that survives a noisy machine, and results that say where they come from."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "timm", "torchdeq")


def medians(functions: dict[str, Callable[[], Any]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """Median seconds of each function, called in turns so that a slow minute hits all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first turn warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def write(name: str, command: str, rows: list[dict[str, Any]], notes: str) -> None:
    """Print a table, and store it with command, commit, versions and hardware as JSON and Markdown."""
    origin = {
        "command": command,
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", ":/*.py") else ""),
        "hardware": _hardware(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"origin": origin, "rows": rows}, indent=1) + "\n")
    facts = "; ".join(f"{key} {value}" for key, value in origin.items() if key != "command")
    text = f"# {name}\n\n{notes}\n\n{_table(rows)}\n\n`{command}`; {facts}.\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_shown(row.get(column, "")) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {len(names) or '?'} cores"
