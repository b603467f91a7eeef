"""The residual equilibrium in models: the plain one before training, and a DEC like any other after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import yaml

from config.load import load_recipes
from layers.spec import DEC, Correction, Site, Solver
from models.build import build_model
from models.dec import DECModel, with_dec

SITES = [("image",), (0,), ("image", 1)]
SMALL = Correction(channels=(4, 8), pools=(2, 1), dilations=(1, 2), input_size=32)


def adapted(*stages, in_chans: int = 3, trained: bool = False, **options) -> DECModel:
    torch.manual_seed(0)
    backbone = timm.create_model("test_vit", in_chans=in_chans).eval()
    sites = tuple(Site(stage, 4) for stage in stages)
    model = with_dec(backbone, DEC(sites=sites, equilibrium="residual", correction=SMALL, **options))
    for made in model.canonicalizer.module_list if trained else ():
        torch.nn.init.normal_(made[-1].weight, std=0.5)
    return model


@pytest.mark.parametrize("stages", SITES)
@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("condition", ["image", "feature"])
def test_an_untrained_one_is_the_plain_model_bit_for_bit(stages, in_chans: int, condition: str) -> None:
    model = adapted(*stages, in_chans=in_chans, condition=condition)
    torch.manual_seed(0)
    plain = timm.create_model("test_vit", in_chans=in_chans).eval()
    image = torch.rand(2, in_chans, 160, 160)
    with torch.no_grad():
        assert torch.equal(model(image), plain(image))


@pytest.mark.parametrize("gradient", ["one_step", "implicit", "unrolled"])
def test_every_weight_learns(gradient: str) -> None:
    model = adapted("image", trained=True, solver=Solver(max_steps=3, gradient=gradient)).train()
    model(torch.rand(2, 3, 160, 160)).square().mean().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in model.canonicalizer.parameters())


def test_a_zero_head_learns_too() -> None:
    model = adapted("image").train()
    model(torch.rand(2, 3, 160, 160)).square().mean().backward()
    head = model.canonicalizer.module_list[0][-1]
    assert head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("batch", [1, 3])
def test_it_exports(batch: int) -> None:
    model = adapted("image", trained=True).eval()
    size = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(model, (torch.rand(2, 3, 160, 160),), dynamic_shapes={"image": {0: size}})
    image = torch.rand(batch, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)


def test_a_recipe_names_it(tmp_path: Path) -> None:
    method = {"name": "dec", "equilibrium": "residual", "sites": [{"stage": "image", "grid_size": 5}]}
    correction = {"channels": [4], "pools": [2], "dilations": [1], "bound": 0.25}
    recipe = {"model": {"backbone": "test_vit", "pretrained": False}, "method": {**method, "correction": correction}}
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"a": recipe}))
    ((_, config),) = load_recipes(path)
    assert isinstance(config.method, DEC) and config.method.correction == Correction(
        channels=(4,), pools=(2,), dilations=(1,), bound=0.25
    )
    model = build_model(config, 10)
    assert model.canonicalizer.module_list[0].bound == 0.25
