"""Holds who may import whom: scripts on the left, layers on the right, and no arrow that points back."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARROWS: dict[str, set[str]] = {  # what a folder may import of the project, besides itself
    "scripts": {"train", "report", "evaluation", "models", "dataloader", "layers", "config"},
    "train": {"report", "evaluation", "layers", "config"},
    "report": {"evaluation.measures", "layers", "config"},
    "evaluation": {"layers", "config"},
    "models": {"layers", "config"},
    "dataloader": {"layers", "config"},
    "layers": set(),
    "config": {"layers.spec"},  # the options of a DEC, which know no torch
    "datagen_ImNet": {"multiscale", "inpaint_imagenet"},  # as a script of that folder sees what lies beside it
}
UNBOUND = {"tests", "benchmarks", "hubconf", "docs"}
OURS = (
    ARROWS.keys() - {"scripts"}
    | UNBOUND
    | {"train_mnist", "train_imagenet", "train_scale", "train_dense", "demo", "multiscale", "inpaint_imagenet"}
)
LAYERS_KNOW = {"layers", "torch", "torchdeq"} | sys.stdlib_module_names
DEFORMABLE = Path("layers/scale/deformable.py")  # needs deform_conv2d, which torch has not, and torchvision has


def imported_names(tree: ast.Module, path: Path) -> Iterator[str]:
    """Yields the dotted name of all that a file imports, inside functions too; relative ones count from the root."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parent.parts[: max(0, len(path.parent.parts) + 1 - node.level)] if node.level else ()
            module = [node.module] if node.module else []
            yield from (".".join([*package, *module, alias.name]) for alias in node.names)


def violations(path: Path, source: str) -> list[str]:
    """Says which imports of a file break the rules; `path` is relative to the root of the project."""
    folder = path.parts[0] if len(path.parts) > 1 else "hubconf" if path.stem == "hubconf" else "scripts"
    if folder not in ARROWS.keys() | UNBOUND:
        return [f"{path}: no rule for folder '{folder}'"]
    tree = ast.parse(source)
    found = []
    for name in imported_names(tree, path):
        top = name.partition(".")[0]
        if name.endswith(".*"):
            found.append(f"{path}: star import of {name}")
        if top == "torchdeq" and folder != "tests" and path != Path("layers/fixed_point.py"):
            found.append(f"{path}: torchdeq belongs in layers/fixed_point.py alone")
        elif path == Path("layers/spec.py") and top not in sys.stdlib_module_names:
            found.append(f"{path}: the options of a DEC know no torch, nor {name}")
        elif folder == "layers" and top not in LAYERS_KNOW and (top, path) != ("torchvision", DEFORMABLE):
            found.append(f"{path}: layers know torch and the standard library alone, not {name}")
        elif folder in ARROWS and top in OURS - {folder} and not _is_below(name, ARROWS[folder]):
            found.append(f"{path}: no arrow from {folder} to {name}")
    return found


def _is_below(name: str, allowed: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{one}.") for one in allowed)


def test_imports_follow_the_arrows() -> None:
    folders = [folder for folder in ROOT.iterdir() if folder.name[0] != "." and any(folder.glob("*.py"))]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    assert {"layers", "models", "tests"} <= {folder.name for folder in folders}
    assert [line for file in files for line in violations(file.relative_to(ROOT), file.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("train/loop.py", "import models.dec", "no arrow from train to models.dec"),
        ("models/dec.py", "def f():\n    from train.loop import fit", "no arrow from models to train.loop.fit"),
        ("models/dec.py", "from ..dataloader import mnist", "no arrow from models to dataloader.mnist"),
        ("dataloader/build.py", "from tests.models.architectures import build", "no arrow from dataloader to tests"),
        ("evaluation/metrics.py", "from train_mnist import main", "no arrow from evaluation to train_mnist"),
        ("config/load.py", "from models.build import build_model", "no arrow from config to models.build.build_model"),
        ("config/renamed.py", "import train.tasks", "no arrow from config to train.tasks"),
        ("layers/monotone.py", "from config import schema\ndef build_warp(): ...", "not config.schema"),
        ("datagen_ImNet/make.py", "import layers", "no arrow from datagen_ImNet to layers"),
        ("datagen_ImNet/multiscale/make.py", "import dataloader", "no arrow from datagen_ImNet to dataloader"),
        ("train_mnist.py", "import datagen_ImNet.make", "no arrow from scripts to datagen_ImNet.make"),
        ("dataloader/pictures/folders.py", "import multiscale.coco", "no arrow from dataloader to multiscale.coco"),
        ("evaluation/parts.py", "import dataloader.splits", "no arrow from evaluation to dataloader.splits"),
        ("evaluation/metrics.py", "import report.table", "no arrow from evaluation to report.table"),
        (
            "report/table.py",
            "from evaluation.evaluator import evaluate",
            "no arrow from report to evaluation.evaluator",
        ),
        ("report/runs.py", "from train.runs.log import Log", "no arrow from report to train.runs.log.Log"),
        ("evaluation/orbit.py", "import inpaint_imagenet", "no arrow from evaluation to inpaint_imagenet"),
        ("config/schema.py", "from layers.grid import WarpParams", "no arrow from config to layers.grid.WarpParams"),
        ("layers/spec.py", "import torch", "the options of a DEC know no torch"),
        ("layers/grid.py", "import numpy as np", "not numpy"),
        ("layers/grid.py", "from torchvision.ops import deform_conv2d", "not torchvision.ops.deform_conv2d"),
        ("layers/scale/deformable.py", "import numpy", "not numpy"),
        ("layers/grid.py", "from torch import *", "star import of torch.*"),
        ("tests/test_x.py", "from layers.grid import *", "star import of layers.grid.*"),
        ("layers/grid.py", "import torchdeq", "torchdeq belongs in layers/fixed_point.py alone"),
        ("hubconf.py", "from torchdeq.solver import broyden", "torchdeq belongs in layers/fixed_point.py alone"),
        ("helpers/misc.py", "import torch", "no rule for folder 'helpers'"),
    ],
)
def test_a_forbidden_import_is_reported(path: str, source: str, message: str) -> None:
    (line,) = violations(Path(path), source)
    assert line.startswith(f"{path}: ") and message in line


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("train_mnist.py", "import train.loop, models.dec, dataloader.build, config.load"),
        ("config/schema.py", "from layers.spec import DEC, Site"),
        ("report/table.py", "from evaluation.measures import MEASURES\nfrom layers.grid import WarpParams"),
        ("train/runs/log.py", "from report.runs import SUMMARY"),
        ("train/terms.py", "from config.losses import LossConfig\nfrom config.load import comparable"),
        ("evaluation/evaluator.py", "from config.schema import Config"),
        ("train/objective.py", "from evaluation.metrics import accuracy\nfrom layers.grid import WarpParams"),
        ("models/build.py", "from config.schema import ModelConfig\ndef build_model(): ..."),
        ("models/dec.py", "from . import sites\nfrom .sites import Probe\nimport timm"),
        ("layers/fixed_point.py", "from __future__ import annotations\nimport math, torch.nn, torchdeq"),
        ("layers/scale/deformable.py", "import torch\nfrom torchvision.ops import deform_conv2d"),
        ("tests/test_x.py", "import torchdeq, datagen_ImNet.make, train.loop"),
        ("hubconf.py", "import models.dec, config.load"),
        ("datagen_ImNet/inpaint_imagenet.py", "import cv2, multiscale.coco"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert violations(Path(path), source) == []


def test_a_first_import_does_not_wait_for_timm() -> None:
    """Which takes twice as long as torch: whoever has a model has imported timm already, and pays once."""
    words = "import sys, models.dec; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT, check=False).returncode == 0
