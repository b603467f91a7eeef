"""Where numbers come from: command, commit, versions and hardware."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "torchdeq")


def origin() -> dict[str, Any]:
    """Command, commit, versions and hardware."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "hardware": _hardware(),
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    def git(*words: str) -> str | None:
        try:
            found = subprocess.run(
                ["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
            )
        except OSError:  # no git here
            return None
        return found.stdout.strip() if found.returncode == 0 else None

    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+" if git("status", "--porcelain", ":/*.py", ":/*.yaml") else "")


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {len(names) or os.cpu_count()} cores"
