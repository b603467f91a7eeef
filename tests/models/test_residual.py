"""The residual equilibrium in models: the plain one before training, and a DEC like any other after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import yaml

from config.load import load_recipes
from layers.grid import WarpParams
from layers.spec import DEC, Correction, Energy, Site, Solver
from models.baselines import with_energy
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


@pytest.mark.parametrize("condition", ["image", "feature"])
def test_evaluations_take_the_place_of_the_solver(condition: str) -> None:
    """The states are those of plain iteration, and the logits are those under the last of them."""
    model = adapted("image", trained=True, condition=condition)
    image = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        found = model(image, return_output=True, evaluations=3)
        update, source = model.canonicalizer.module_list[0], model.canonicalizer.prepared(image)
        phi = WarpParams.identity(2, 4)
        for number in range(3):
            phi = update(phi, source)
            torch.testing.assert_close(found.states[number][0].x, phi.x)
        assert torch.equal(found.logits, model.predict(image, found.states[-1]))
        only = model(image, warps_only=True, evaluations=3)
        assert only.logits is None and len(only.states) == 3 and torch.equal(only.phis[0].y, found.phis[0].y)
        assert model(image, return_output=True).states == ()


def test_an_energy_has_no_evaluations() -> None:
    model = with_energy(timm.create_model("test_vit"), Energy(sites=(Site("image", 4),)), image_size=160)
    with pytest.raises(TypeError, match="evaluations are those of a DEC's map"):
        model(torch.rand(1, 3, 160, 160), warps_only=True, evaluations=2)
