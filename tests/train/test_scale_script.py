"""The script for objects at many sizes, from its command line to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import train_scale
from config.load import load_recipes
from dataloader.stir.container import SIDES
from models.build import read_weights
from report.scale import __main__ as report_scale
from tests.dataloader.stir.bars import written
from tests.train.runs import OWN_RATE, RESIDUAL
from tests.train.stir_runs import recipe, recipes, refusal, train, watching

NETWORK: dict[str, Any] = {"model": {"backbone": "stir2_standard"}, "train": {"epochs": 1, "patience": 1}}


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> tuple[Path, Path]:
    """A file with a suite of a network, and of the same behind a DEC, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("suite")
    dem = {**NETWORK, "method": RESIDUAL, "train": {**OWN_RATE, "epochs": 1, "patience": None}}
    file = recipes(folder, {"plain": NETWORK, "dem": dem})
    train_scale.main(["--config_file", str(file), "--config", "all", "--run_dir", str(folder / "runs")])
    return file, folder / "runs"


def test_a_run_writes_what_is_known_at_every_size(suite) -> None:
    _, root = suite
    for name in ("plain", "dem"):
        summary = json.loads((root / name / "42" / "summary.json").read_text())
        metrics = summary["metrics"]
        per_side = [metrics[f"size_accuracy_at_{side}"] for side in SIDES]
        assert len(per_side) == 48 and metrics["worst_size_accuracy"] == min(per_side)
        assert metrics["size_accuracy"] == pytest.approx(sum(per_side) / 48)
        assert {"accuracy", "octave_drop", "warp_accuracy", "temperature"} <= metrics.keys()
        assert ("best_epoch" in summary) == (name == "plain")
    assert "residual" in metrics


def test_a_suite_ends_with_a_table_and_a_curve_over_sizes(suite) -> None:
    _, root = suite
    folder = root / "all" / "42"
    assert sorted(path.name for path in folder.iterdir()) == ["sizes.png", "table.md"]
    text = (folder / "table.md").read_text()
    assert text.index("plain") < text.index("dem") and "size_accuracy" in text and "size_accuracy_at" not in text
    with Image.open(folder / "sizes.png") as picture:
        assert picture.width > picture.height


def test_all_figures_are_drawn_of_its_runs(suite, tmp_path: Path) -> None:
    _, root = suite
    assert report_scale.main([str(root), "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"{name}.{ending}" for name in ("sizes", "scores", "costs") for ending in ("pdf", "png", "csv")} <= names
    (table,) = tmp_path.glob("table_*_Mid2Rest.md")
    assert "| plain | 1 | 26," in table.read_text()  # parameters


def test_a_finished_suite_is_left_as_it_is(suite, capsys) -> None:
    file, root = suite
    before = {path: path.read_bytes() for path in root.glob("*/42/*") if path.parts[-3] != "all"}
    train_scale.main(["--config_file", str(file), "--config", "all", "--run_dir", str(root), "--resume"])
    out = capsys.readouterr().out
    assert all(f"{name}: finished already, see {root / name / '42'}" in out for name in ("plain", "dem"))
    assert {path: path.read_bytes() for path in before} == before


def test_recipes_of_two_protocols_have_a_table_each(suite, tmp_path: Path) -> None:
    file, root = suite
    plain = dict(load_recipes(file, "plain", kind="stir"))
    dem = dict(load_recipes(file, "dem", ["data.scenario=1"], kind="stir"))
    train_scale.write_suite(plain | dem, root, tmp_path, 42)
    folders = {path.name.split("_")[-1]: path for path in tmp_path.iterdir()}
    assert sorted(folders) == ["Mid2Rest", "Small2Large"]
    assert all(sorted(path.name for path in own.iterdir()) == ["sizes.png", "table.md"] for own in folders.values())
    assert "| plain |" in (folders["Mid2Rest"] / "table.md").read_text()
    assert "| dem |" not in (folders["Mid2Rest"] / "table.md").read_text()


def test_the_sizes_of_training_are_shaded(suite, monkeypatch) -> None:
    file, root = suite
    bands = []
    monkeypatch.setattr(train_scale, "write_report", lambda *_, trained: bands.append(trained) or [])
    train_scale.write_suite(dict(load_recipes(file, "all", kind="stir")), root, root / "all", 42)
    assert bands == [(33.0, 48.0)]


def test_a_finished_run_is_measured_again_to_the_same_numbers(suite) -> None:
    file, root = suite
    words = ["--config_file", str(file), "--config", "plain", "--eval_only", "--run_dir", str(root / "plain" / "42")]
    train_scale.main(words)
    found, expected = (json.loads((root / "plain" / name / "summary.json").read_text()) for name in ("42_eval", "42"))
    assert found["metrics"] == expected["metrics"]


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys) -> None:
    file = recipe(tmp_path, NETWORK)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    train_scale.main(["--config_file", str(file), "--config", "tiny", "--dry_run"])
    out = capsys.readouterr().out
    assert "tiny: dry run" in out and "stir/FILE: bars " in out
    assert out.rstrip().endswith("two steps of 4 items ran, nothing was written")
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_recipe_the_quick_suite_runs_on_the_data_it_names(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    members = [name for name, _ in load_recipes("scale/stir.yaml", "quick", kind="stir")]
    few = ["evaluation.items=20", "evaluation.warp_items=4", "evaluation.floor_items=2", "train.epochs=1"]
    monkeypatch.setattr(train_scale, "close_suite", lambda *_: None)
    train_scale.main(["--dry_run", "train.device=cpu", *few])
    out = capsys.readouterr().out
    assert all(f"{name}: two steps of 4 items ran" in out for name in members) and len(members) == 5
    assert out.count("stir/emoji-dejavu: emoji-dejavu ") == 5


def test_recipes_have_the_published_rates_of_scenario_2() -> None:
    """.001 but for six systems on MNIST. What has no published rate, such as augmentation, has .001 too."""
    faster = {f"mnist_{system}" for system in ("standard", "ensemble", "xu", "hermite", "disco", "slice_pool")}
    for suite in ("emoji", "emoji_published", "mnist", "mnist_published"):
        for name, config in load_recipes("scale/stir.yaml", suite, kind="stir"):
            assert config.train.backbone_lr == (0.01 if name in faster else 0.001), name
            assert config.data.name == ("stir/mnist" if name.startswith("mnist") else "stir/emoji-dejavu")


def test_another_kind_of_data_is_refused(tmp_path, capsys) -> None:
    message = refusal(capsys, "--config_file", "imagenet/smoke.yaml", "--config", "smoke_base")
    assert "smoke_base: data.name is shapes, of pictures; expected stir" in message
    file = recipe(tmp_path)
    words = ["--config_file", str(file), "--config", "tiny", "--run_dir", str(tmp_path / "run")]
    assert "expected one of stir/digits" in refusal(capsys, *words, "data.name=stir/letters", "data.file=null")
    assert "tiny: data: " in refusal(capsys, *words, f"data.file={tmp_path / 'absent.npz'}")
    colour = written(tmp_path, channels=3)
    assert "tiny: data.channels is 1; expected 3" in refusal(capsys, *words, f"data.file={colour}", "--resume")


def test_a_canonicalizer_learns_from_places_how_large_objects_shall_be(tmp_path: Path) -> None:
    """The distance falls, and the larger an object is, the less it is enlarged: the slope of one size for all is -1."""
    residual = {
        "method": {
            **{"name": "dec", "equilibrium": "residual", "sites": [{"stage": "image", "grid_size": 8}]},
            "correction": {"input_size": 32, "separable": True},
        },
        "data": {"rescale": [0.5, 2.0]},
        "loss": {"align": {"weight": 0.05}, "orbit": {"untouched": 1.0}},
        "train": {
            **{"epochs": 6, "patience": None, "batch_size": 8, "canonicalizer_lr": 0.003},
            "phases": [{"trains": ["canonicalizer"], "terms": {"task": 0}}],
        },
        "evaluation": {"studies": ["index"], "study_items": 6},
    }
    metrics = train(recipe(tmp_path, residual), tmp_path / "run")["metrics"]
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    far = [line["train_align"] for line in lines if "train_align" in line]
    assert len(far) == 6 and min(far) < 0.9 * far[0]
    assert metrics["index_slope_at_image"] < -0.2 and metrics["index_correlation_at_image"] < -0.5


def test_there_are_no_weights_to_measure_but_random_ones(tmp_path, capsys) -> None:
    words = ["--config_file", str(recipe(tmp_path)), "--config", "tiny", "--run_dir", str(tmp_path / "run")]
    assert "there are no weights to measure but random ones" in refusal(capsys, *words, "--eval_only")


@pytest.mark.slow
def test_a_compiled_run_ends_with_its_best_weights(tmp_path, monkeypatch) -> None:
    file, words = recipe(tmp_path), ["train.compile=true"]
    with monkeypatch.context() as patch:
        watching(patch, [0.5, 0.4])
        stopped = train(file, tmp_path / "stopped", *words, "train.patience=1")
    whole = train(file, tmp_path / "whole", *words, "train.patience=null", "train.epochs=1")
    assert (stopped["epochs"], stopped["best_epoch"]) == (2, 1)
    assert stopped["metrics"] == pytest.approx(whole["metrics"], abs=1e-4)
    weights, others = (read_weights(tmp_path / name / "model.safetensors") for name in ("stopped", "whole"))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], msg=name)
