"""Studies of a finished model, from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import train_scale
from config.load import load_recipes
from config.schema import StudyName
from dataloader.build import build_splits
from evaluation.measure import Trial
from evaluation.measures import described
from evaluation.studies import STUDIES, equivariance, explanations, orbits, restoration
from models.build import build_model
from tests.train.runs import OWN_RATE, RESIDUAL, SINGLE, joined
from tests.train.stir_runs import recipe, refusal
from train.studying import build_studies

NETWORK: dict[str, Any] = {"train": {"epochs": 1, "patience": None}, "evaluation": {"study_items": 2}}


def network(backbone: str, *studies: str) -> dict[str, Any]:
    return joined(NETWORK, {"model": {"backbone": backbone}, "evaluation": {"studies": [*studies]}})


def results(folder: Path) -> tuple[dict[str, float], dict[str, dict[str, np.ndarray]]]:
    """Of a run: its metrics, and the arrays of its studies."""
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    files = [path for path in folder.glob("*.npz") if path.stem != "items"]
    return metrics, {path.stem: dict(np.load(path, allow_pickle=False)) for path in files}


def test_a_recipe_may_ask_for_every_study_that_there_is() -> None:
    assert {*get_args(StudyName)} == {*STUDIES} and all(name == study.name for name, study in STUDIES.items())


def test_a_run_ends_with_the_studies_that_it_asks_for_and_eval_only_finds_the_same(tmp_path, monkeypatch) -> None:
    """Of a network of timm behind a residual DEC, which has a warp for an index; only crops are too coarse."""
    monkeypatch.setattr(equivariance, "SCALES", (0.5,))
    monkeypatch.setattr(restoration, "SIDES", (17, 64))
    monkeypatch.setattr(orbits, "CENTRES", ((0.5, 0.5),))
    monkeypatch.setattr(explanations, "FACTORS", (0.5,))
    chosen = sorted({*STUDIES} - {"crops"})
    file = recipe(tmp_path, joined(network("test_resnet", *chosen), {"method": RESIDUAL, "train": OWN_RATE}))
    words = ["--config_file", str(file), "--config", "tiny", "--run_dir", str(tmp_path / "run")]
    train_scale.main(words)
    metrics, arrays = results(tmp_path / "run")
    assert sorted(arrays) == chosen and all(arrays.values())
    studied = {name for name in metrics if (known := described(name)) and known.trial is Trial.STUDY}
    assert {"index_slope_at_input", "equivariance_error_at_layer1", "scale_orbit_score", "restored_accuracy"} <= studied
    assert {"explanation_adjoint_by_gradient", "random_equivariance_error_at_layer1"} <= studied
    train_scale.main([*words, "--eval_only", "evaluation.batch_size=7"])
    again, arrays_again = results(tmp_path / "run_eval")
    assert all(again[key] == metrics[key] for key in studied)
    for study, found in arrays.items():
        for key, value in found.items():
            assert np.array_equal(arrays_again[study][key], value, equal_nan=value.dtype.kind == "f")


@pytest.mark.parametrize("kind", ["plain", "zoo"])
def test_every_study_that_a_model_can_be_put_to_is_built_from_its_recipe(kind, tmp_path, monkeypatch) -> None:
    """Without the rest of a run: a plain network of timm, and one of the zoo with an index and fine maps."""
    monkeypatch.setattr(orbits, "FACTORS", (0.5, 1.0))
    monkeypatch.setattr(orbits, "CENTRES", ((0.5, 0.5),))
    monkeypatch.setattr(equivariance, "SCALES", (0.5,))
    monkeypatch.setattr(equivariance, "OPERATORS", ("bicubic",))
    backbone, chosen = {
        "plain": ("test_resnet", ["equivariance", "orbits"]),
        "zoo": ("stir2_dss_max", ["equivariance", "crops", "index"]),
    }[kind]
    settings = joined(network(backbone, *chosen), {"evaluation": {"study_items": 1}})
    config = dict(load_recipes(recipe(tmp_path, settings), "tiny", kind="stir"))["tiny"]
    model, data = build_model(config, 3, 0), build_splits(config, 0, trains=False)
    study = build_studies(config, data, model, lambda: build_model(config.untrained(), 3, 1), 0, SINGLE)
    found = dict(study(model))
    assert [*found] == chosen
    names = [name for findings in found.values() for name in findings.metrics]
    assert len(names) >= 4 and all(described(name).trial is Trial.STUDY for name in names)
    assert model.training


def test_what_cannot_be_studied_is_refused_before_training(tmp_path, capsys) -> None:
    file = recipe(tmp_path, network("test_resnet", "index"))
    words = ["--config_file", str(file), "--config", "tiny", "--run_dir", str(tmp_path / "run")]
    assert (
        "tiny: evaluation.studies has index, which needs a network that pools over scales, or one that finds warps; "
        "ResNet does neither"
    ) in refusal(capsys, *words)
    assert "Stir2 of this system never leaves" in refusal(capsys, *words, "model.backbone=stir2_standard", "--resume")
    message = refusal(capsys, *words, "evaluation.studies=[indexes]")
    assert "evaluation.studies[0] is 'indexes'; expected" in message
    assert "study_items is 0; expected at least 1" in refusal(capsys, *words, "evaluation.study_items=0")
    assert "studies is ['index', 'index']; expected each once" in refusal(
        capsys, *words, "evaluation.studies=[index, index]"
    )
