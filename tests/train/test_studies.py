"""Studies of a finished model, from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

import train_scale
from config.schema import StudyName
from evaluation.studies import STUDIES
from tests.train.runs import OWN_RATE, RESIDUAL, joined
from tests.train.stir_runs import recipe, refusal

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


def test_a_run_ends_with_the_studies_that_it_asks_for_and_eval_only_finds_the_same(tmp_path) -> None:
    """Of a network behind a residual DEC, which has a warp for an index."""
    file = recipe(tmp_path, joined(network("test_resnet", "index"), {"method": RESIDUAL, "train": OWN_RATE}))
    words = ["--config_file", str(file), "--config", "tiny", "--run_dir", str(tmp_path / "run")]
    train_scale.main(words)
    metrics, arrays = results(tmp_path / "run")
    studied = {"index_correlation_at_input", "index_slope_at_input"}
    assert studied == {key for key in metrics if key.startswith("index_")}
    assert arrays.keys() == {"index"} and arrays["index"]["input_scale"].shape == (2, 48, 1)
    train_scale.main([*words, "--eval_only", "evaluation.batch_size=7"])
    again, arrays_again = results(tmp_path / "run_eval")
    assert all(again[key] == metrics[key] for key in studied)
    for study, found in arrays.items():
        assert all(np.array_equal(arrays_again[study][key], value) for key, value in found.items())


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
