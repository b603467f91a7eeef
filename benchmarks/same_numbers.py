"""Compares two checkouts number by number: what reshapes the code must not change what it computes.

    python -m benchmarks.same_numbers OTHER            this checkout against OTHER, a folder with another one
    python -m benchmarks.same_numbers OTHER --only dem smoke_dem

Eight recipes cover all methods, on digits and on pictures. Each trains twenty steps, one per epoch so that every loss
is logged, and is evaluated in full. The losses, the metrics and the values per item must agree in every bit, on one
thread of a CPU. A name that only this checkout has is new, and no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parents[1]
STEPS = 20
ENERGY = (
    "{sites: [{stage: image, grid_size: 4}], channels: [1, 4], kernel_sizes: [3], input_size: 16, steps: 2, unroll: 2}"
)


class Case(NamedTuple):
    """A recipe, and what makes it short.

    Args:
        script: that runs it.
        recipe: its name.
        settings: key=value.
    """

    script: str
    recipe: str
    settings: tuple[str, ...] = ()


DIGITS = (
    *("warm_start=null", "data.name=digits", "data.train_items=16", "data.workers=0", "train.batch_size=16"),
    *("evaluation.items=12", "evaluation.split=test", "evaluation.calibration_items=12"),
    *("evaluation.local_scale_items=2", "evaluation.every=1000", "evaluation.local_scale_every=1000"),
)
PICTURES = (
    *("data.train_samples=8", "train.batch_size=8", "data.workers=0", "evaluation.every=1000"),
    *(
        "evaluation.full_every=1000",
        "evaluation.items=28",
        "evaluation.calibration_items=14",
        "evaluation.warp_items=4",
    ),
)
CASES = {
    "base": Case("train_mnist.py", "quickstart_base", DIGITS),
    "equiv": Case("train_mnist.py", "small_equiv", DIGITS),
    "canonicalization": Case("train_mnist.py", "small_canonicalization", DIGITS),
    "dem": Case("train_mnist.py", "small_dem", (*DIGITS, "train.canonicalizer_epochs=5", "loss.phi_prior=0.1")),
    "light": Case("train_mnist.py", "light_dem", (*DIGITS, "loss.consistency_weight=0.1")),
    "energy": Case("train_mnist.py", "quickstart_augmentation", (*DIGITS, f"energy={ENERGY}", "loss.two_views=true")),
    "smoke_cannon": Case("train_imagenet.py", "smoke_cannon", (*PICTURES, "augmentation.mixup=0.8")),
    "smoke_dem": Case("train_imagenet.py", "smoke_dem", (*PICTURES, "train.layer_decay=0.75", "train.ema=0.9")),
}


def run(checkout: Path, case: Case, folder: Path) -> None:
    """One recipe in one checkout; it ends with the run's own message where that fails."""
    words = [case.script, "--config", case.recipe, "--run_dir", str(folder), *case.settings]
    words += [f"train.epochs={STEPS}", "train.device=cpu", "train.schedule.warmup_epochs=0"]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=alone, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{checkout}: {case.recipe} failed:\n{done.stderr[-2000:]}")


def numbers(folder: Path) -> dict[str, Any]:
    """All that a run computed: its lines, its last metrics, and its values per item as bytes."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    told = {f"line {number}": json.loads(line) for number, line in enumerate(lines, 1)}
    told["metrics"] = json.loads((folder / "summary.json").read_text())["metrics"]
    found: dict[str, Any] = {f"{where} {name}": value for where, line in told.items() for name, value in line.items()}
    with np.load(folder / "items.npz") as items:
        found |= {f"items {name}": (items[name].dtype.str, items[name].tobytes()) for name in items.files}
    return found


def differences(other: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """Where two runs differ, a line each; what only this checkout has is new, and no difference."""
    for name in sorted(other):
        if name not in here:
            yield f"{name} is gone"
        elif repr(other[name]) != repr(here[name]):  # a NaN equals itself here
            yield f"{name}: {other[name]!r} and {here[name]!r}"[:300]


def main() -> None:
    """Run all cases in both checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="some of the recipes")
    arguments = parser.parse_args()
    is_equal = True
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as place:
            folders = [Path(place, "other"), Path(place, "here")]
            for checkout, folder in zip((arguments.other.resolve(), HERE), folders, strict=True):
                run(checkout, CASES[name], folder)
            other, here = map(numbers, folders)
        found = list(differences(other, here))
        losses = sum(entry.endswith(" train_loss") for entry in other)
        new = sorted({entry.split()[-1] for entry in here.keys() - other.keys()})
        print(f"{name}: {'; '.join(found[:3]) if found else f'equal ({losses} losses, {len(other)} numbers)'}")
        if new:
            print(f"  new: {', '.join(new)}", flush=True)
        is_equal &= not found
    sys.exit(not is_equal)


if __name__ == "__main__":
    main()
