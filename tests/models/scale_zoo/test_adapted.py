"""DEC on networks of the zoo: at the image, and at stages that come before any lifting."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)
from layers.grid import random_warp_params
from layers.monotone import monotone_warp
from layers.spec import DEC, Correction, Site
from models.dec import DECModel, sites_of, with_dec
from models.trainable import freeze_but

CORRECTION = Correction(channels=(8, 8), pools=(2, 2), dilations=(1, 1), input_size=24)
CASES = [
    ("stir2_standard", "image"),
    ("stir2_standard", "input"),
    ("stir2_standard", 0),
    ("mnist3_standard", 1),
    ("mnist3_hermite", "image"),
    ("mnist3_hermite_56", "image"),
    ("mnist3_standard_56", 0),
    ("stir2_hermite", "input"),
    ("stir2_pixel_pool_coarse", 0),
    ("stir2_dss_v2", "image"),
    ("stir2_disco", "image"),
]
every_case = pytest.mark.parametrize(("name", "stage"), CASES)


def plain(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name).eval()


def adapted(name: str, stage: str | int, *, restore: bool = False) -> DECModel:
    spec = DEC(equilibrium="residual", sites=(Site(stage, 5, restore),), correction=CORRECTION, images_at_once=2)
    return with_dec(plain(name), spec).eval()


def images(model: torch.nn.Module) -> torch.Tensor:
    channels, *size = model.pretrained_cfg["input_size"]
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1))


@every_case
@torch.no_grad()
def test_an_untrained_dec_changes_no_bit(name: str, stage: str | int) -> None:
    x = images(plain(name))
    assert torch.equal(adapted(name, stage)(x), plain(name)(x))


@every_case
def test_the_canonicalizer_learns_and_names_stay(name: str, stage: str | int) -> None:
    model = adapted(name, stage)
    head = model.canonicalizer.module_list[0][-1]
    torch.nn.init.normal_(head.weight, std=0.5)
    x = images(plain(name))
    F.cross_entropy(model(x), torch.tensor([1, 2])).backward()
    assert float(head.weight.grad.abs().sum()) > 0
    own = {key.removeprefix("backbone.") for key in model.state_dict() if key.startswith("backbone.")}
    assert own == set(plain(name).state_dict())
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize("name", ["stir2_standard", "stir2_hermite"])
@torch.no_grad()
def test_a_warp_at_the_image_is_the_warped_image(name: str) -> None:
    model, x = adapted(name, "image"), images(plain(name))
    torch.nn.init.normal_(model.canonicalizer.module_list[0][-1].weight, std=0.5)
    output = model(x, return_output=True)
    torch.testing.assert_close(output.logits, plain(name)(monotone_warp(x, output.phis[0])))


def test_what_can_be_adapted() -> None:
    assert [stage.module for stage in sites_of(plain("stir2_standard"))] == ["layer2"]
    assert [stage.module for stage in sites_of(plain("mnist3_standard"))] == ["layer2", "layer3"]
    assert [stage.module for stage in sites_of(plain("mnist3_hermite_scalar"))] == ["layer2", "layer3"]
    for name in ("mnist3_hermite", "stir2_dss_v2", "stir2_c8"):
        assert not sites_of(plain(name))


@pytest.mark.parametrize(
    ("name", "site", "message"),
    [
        (
            "stir2_hermite",
            Site(0, 5),
            "no stage 0; valid stages are 'image', 'input'; what arrives at the others has scales",
        ),
        ("stir2_hermite", Site("image", 5, restore=True), "cannot be restored: what its first stage gets has scales"),
        ("stir2_ensemble", Site("image", 5), "calls 'layer1' 3 times in a forward pass"),
    ],
)
def test_what_cannot(name: str, site: Site, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_dec(plain(name), DEC(equilibrium="residual", sites=(site,), correction=CORRECTION))


def test_a_published_dec_too() -> None:
    model = with_dec(
        plain("mnist3_hermite"),
        [Site("image", 4)],
        channels=(1, 6, 8),
        kernel_sizes=(3, 3),
        pools=(2, 2),
        input_size=28,
        normalize=False,
    )
    x = images(plain("mnist3_hermite"))
    warped = monotone_warp(x, random_warp_params(2, 4, 0.3, generator=torch.Generator().manual_seed(0)))
    assert model(warped).shape == (2, 10)


def test_a_network_without_stages_does_not_freeze_in_silence() -> None:
    with pytest.raises(ValueError, match="finetune is semi-partial, but Mnist3 has no stage that would train"):
        freeze_but(plain("mnist3_hermite"), "semi-partial", (), 28)
