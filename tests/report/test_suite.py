"""What a suite ends with."""

from __future__ import annotations

import json

import torch
from PIL import Image

from layers.grid import random_warp_params
from report.suite import write_report


def test_the_report_has_a_row_per_recipe_and_draws_the_warps(tmp_path, capsys) -> None:
    for recipe, accuracy in (("base", 0.5), ("dem", 0.75)):
        folder = tmp_path / recipe / "3"
        folder.mkdir(parents=True)
        metrics = {"accuracy": accuracy, "local_scale_error": 0.1}
        (folder / "summary.json").write_text(json.dumps({"metrics": metrics, "seconds": 12.0}))
    images = torch.rand(2, 1, 20, 20)
    phis = [random_warp_params(2, 4, 0.5), random_warp_params(2, 3, 0.5)]
    table, figure = write_report(tmp_path / "suite" / "3", tmp_path, ["base", "dem"], 3, (images, phis))
    text = table.read_text()
    assert text.index("base") < text.index("dem") and "75.00" in text
    assert "75.00" in capsys.readouterr().out
    with Image.open(figure) as picture:
        assert picture.width > picture.height  # two sites side by side, two images below each other


def test_without_a_canonicalizer_there_is_no_figure(tmp_path) -> None:
    folder = tmp_path / "base" / "3"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"metrics": {"accuracy": 0.5}}))
    assert [path.name for path in write_report(tmp_path / "s", tmp_path, ["base"], 3)] == ["table.md"]


def test_curves_are_drawn_of_what_was_measured_at_several_values(tmp_path) -> None:
    folder = tmp_path / "base" / "3"
    folder.mkdir(parents=True)
    metrics = {"accuracy": 0.5, "accuracy_at_0.5": 0.25, "accuracy_at_1": 0.5, "warp_accuracy_at_0.1": 0.5}
    (folder / "summary.json").write_text(json.dumps({"metrics": metrics}))
    written = write_report(tmp_path / "s", tmp_path, ["base"], 3, trained=(0.8, 1.25))
    assert [path.name for path in written] == ["table.md", "scales.png", "strengths.png"]
    for path in written[1:]:
        with Image.open(path) as picture:
            assert picture.width > picture.height
