"""What is said of a canonicalizer's fixed points."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from evaluation.evaluator import evaluate
from layers.grid import WarpParams
from tests.evaluation.picture_sets import on_processes
from tests.evaluation.stand_ins import Items, chunks


class Output(NamedTuple):
    phis: tuple[WarpParams, ...]
    residual: Tensor


class Adapted(nn.Module):
    """Says what its images hold: residuals in the first row, phi in the second."""

    def forward(self, image: Tensor, return_output: bool = False) -> Output | Tensor:
        assert not self.training
        if not return_output:
            return image.flatten(1)
        x = image[:, 0, 1, :3, None].expand(-1, 3, 2)
        return Output((WarpParams(x, x),), image[:, 0, 0, :2])


def measured(image: Tensor, **options) -> dict[str, float]:
    part = Items(image, torch.zeros(len(image), dtype=torch.int64), chunks(range(len(image)), 64))
    model = Adapted()
    found = evaluate(model, {"test": part}, tells_warps=True, floor_items=1, **options).metrics
    assert model.training
    return {name: found[name] for name in ("residual", "residual_99", "phi_std")}


def test_it_takes_the_median_and_the_worst_site_over_the_first_images() -> None:
    image = torch.rand(300, 1, 2, 4)
    found = measured(image)
    residual = image[:256, 0, 0, :2]
    assert found["residual"] == pytest.approx(residual.median().item())
    assert found["residual_99"] == pytest.approx(residual.amax(1).quantile(0.99).item())
    assert found["phi_std"] == pytest.approx(image[:256, 0, 1, :3].std(0, correction=0).mean().item(), rel=1e-5)


def test_any_number_of_processes_finds_the_same_bit_by_bit() -> None:
    image = torch.rand(200, 1, 2, 4)
    for world in (2, 5):  # there are four batches
        found = on_processes(world, lambda share, gather: measured(image, share=share, gather=gather))
        assert found == [measured(image)] * world


def test_a_constant_map_has_no_spread() -> None:
    assert measured(torch.ones(8, 1, 2, 4))["phi_std"] == 0


def test_a_model_that_tells_nothing_is_not_asked() -> None:
    part = Items(torch.rand(3, 1, 2, 4), torch.zeros(3, dtype=torch.int64), [[0, 1, 2]])
    assert "residual" not in evaluate(copy.deepcopy(Adapted()), {"test": part}).metrics
