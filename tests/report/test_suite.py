"""What a suite ends with, and what is said of a canonicalizer's fixed points."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.equilibrium import equilibrium
from layers.grid import WarpParams, random_warp_params
from report.suite import write_report


class Output(NamedTuple):
    phis: tuple[WarpParams, ...]
    residual: Tensor


class Adapted(nn.Module):
    """Says what its images hold: residuals in the first row, phi in the second."""

    def forward(self, image: Tensor, return_output: bool = False) -> Output:
        assert return_output and not self.training
        x = image[:, 0, 1, :3, None].expand(-1, 3, 2)
        return Output((WarpParams(x, x),), image[:, 0, 0, :2])


def test_equilibrium_takes_the_median_and_the_worst_site_over_images() -> None:
    image = torch.rand(200, 1, 2, 4)
    loader = [(part, None) for part in image.split(64)]
    model = Adapted()
    found = equilibrium(model, loader)
    residual = image[:, 0, 0, :2]
    assert found["residual"] == pytest.approx(residual.median().item())
    assert found["residual_99"] == pytest.approx(residual.amax(1).quantile(0.99).item())
    assert found["phi_std"] == pytest.approx(image[:, 0, 1, :3].std(0, correction=0).mean().item(), rel=1e-5)
    assert model.training


def test_a_constant_map_has_no_spread() -> None:
    assert equilibrium(Adapted(), [(torch.ones(8, 1, 2, 4), None)])["phi_std"] == 0


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
