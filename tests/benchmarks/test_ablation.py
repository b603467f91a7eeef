"""The ablation's table over runs of a second."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from benchmarks import ablation, report
from tests.train.runs import WITH_DEC, recipe, train

RECIPES = {"plain": (), "adapted": (WITH_DEC,)}


def test_the_table_joins_metrics_maps_and_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "runs"
    file = tmp_path / "recipes.yaml"
    plain, adapted = (recipe(tmp_path, *settings, name=name) for name, settings in RECIPES.items())
    file.write_text(json.dumps(yaml.safe_load(plain.read_text()) | yaml.safe_load(adapted.read_text())))
    train(adapted, root / "adapted" / "42")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(ablation, "recipe", partial(ablation.recipe, file=str(file)))
    words = ["ablation", str(root), "--recipes", *RECIPES, "--items", "4", "--batch", "1", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", words)
    ablation.main()
    without, row = json.loads((tmp_path / "results" / "ablation.json").read_text())["rows"]
    summary = json.loads((root / "adapted" / "42" / "summary.json").read_text())
    assert row["phi_std"] == f"{summary['metrics']['phi_std']:.4f}" and row["seeds"] == 1
    assert without["seeds"] == 0 and "radius" not in without and without["parameters"] == 0
    # conv 3 -> 4 with its shortcut, a norm, the head, a norm
    assert row["parameters"] == (3 * 4 * 9 + 4) + (3 * 4 + 4) + 2 * 4 + (4 * 2 + 2) + 2 * 2
    assert row["forward"] > 0 and row["memory"] > 0.5
