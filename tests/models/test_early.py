"""Early features as the source of the residual equilibrium: those of the backbone, from a copy that never trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from config.load import load_recipes
from layers.canonicalizer import Canonicalizer
from layers.grid import WarpParams, random_warp_params
from layers.monotone import monotone_warp
from layers.spec import DEC, EarlyCorrection, Site
from models.build import build_model
from models.dec import DECModel, with_dec
from models.preprocess import Preprocess
from models.sites import sites_of
from models.wrapped import WrappedBackbone
from tests.models.adapting import BY_NAME, built
from tests.models.test_families import smooth_images

SMALL = EarlyCorrection(width=8, channels=(8, 8))
SEEN = Preprocess(160, (0.4, 0.5, 0.6), (0.3, 0.2, 0.1))
SITES = [("image", None), ("input", SEEN)]


def vit(seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_vit", **options).eval()


def trained(model: DECModel) -> DECModel:
    """With a head that corrects something, where an untrained one leaves all as it is."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.canonicalizer.module_list[0][-1].weight.normal_(std=0.5, generator=generator)
    return model


def adapted(
    stage: str = "image",
    backbone: nn.Module | None = None,
    preprocess: nn.Module | None = None,
    early: EarlyCorrection = SMALL,
    **options: Any,
) -> DECModel:
    torch.manual_seed(3)
    spec = DEC(sites=(Site(stage, 4),), equilibrium="residual", condition="early", early=early, **options)
    return with_dec(backbone or vit(), spec, preprocess=preprocess)


def images(count: int = 2, side: int = 160, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(2))


def copied(model: DECModel) -> Any:
    return model.canonicalizer.module_list[0][0]


def intermediates(backbone: Any, image: Tensor, indices: Sequence[int] = (1, 3)) -> Tensor:
    """The features, of a whole backbone that runs to its end."""
    found = backbone.forward_intermediates(image, indices=list(indices), norm=False)[1]
    side_by_side = [F.interpolate(part, size=found[0].shape[-2:], mode="bilinear") for part in found[1:]]
    return torch.cat([found[0], *side_by_side], dim=1)


@pytest.mark.parametrize(("stage", "preprocess"), SITES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_one_is_the_plain_model_bit_for_bit(stage, preprocess, channels: int) -> None:
    if channels == 1 and preprocess is not None:
        preprocess = Preprocess(160, (0.4,), (0.3,))
    image = images(side=160 if preprocess is None else 190, channels=channels)
    model = adapted(stage, vit(in_chans=channels), preprocess)
    with torch.no_grad():
        assert torch.equal(model(image), WrappedBackbone(vit(in_chans=channels), preprocess)(image))


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "test_resnet", "test_convnext"])
def test_the_features_are_those_of_the_whole_backbone(name: str) -> None:
    architecture = BY_NAME[name]
    plain = copy.deepcopy(built(name)).eval()
    spec = DEC(sites=(Site("image", 4),), equilibrium="residual", condition="early", early=SMALL)
    model = with_dec(copy.deepcopy(plain), spec, image_size=architecture.image_size)
    image = smooth_images(2, architecture.image_size)
    with torch.no_grad():
        assert torch.equal(copied(model)(image), intermediates(plain, image))
    assert sum(1 for _ in copied(model).parameters()) < sum(1 for _ in plain.parameters())  # only what is needed


@pytest.mark.parametrize("stage", ["image", "input"])
def test_the_image_is_warped_once_and_where_the_site_is(stage: str) -> None:
    """At an input site in its full size, before it is preprocessed; at an image site afterwards."""
    model, image = trained(adapted(stage, preprocess=SEEN)), images(side=190)
    warp = model.canonicalizer.module_list[0]
    _, *blocks, head = warp
    phi, plain = WarpParams.identity(2, 4), vit()
    with torch.no_grad():
        found = model(image, warps_only=True, evaluations=3)
        for state in found.states:
            seen = SEEN(monotone_warp(image, phi)) if stage == "input" else monotone_warp(SEEN(image), phi)
            feature = intermediates(plain, seen)
            for block in blocks:
                feature = block(feature)
            along_x = F.adaptive_avg_pool2d(head(feature)[:, 0], (4, 3))
            left = warp.bound * torch.tanh(along_x / warp.bound)
            expected = phi.x + left - left.mean(-1, keepdim=True)
            torch.testing.assert_close(state[0].x, expected, rtol=0, atol=1e-5)
            assert (state[0].x - phi.x).abs().max() > 1e-3
            phi = state[0]
        assert torch.equal(model(image, return_output=True, evaluations=3).logits, model.predict(image, found.phis))


def test_images_at_once_change_nothing() -> None:
    one, all_at_once = (trained(adapted(images_at_once=count)) for count in (1, 3))
    image = smooth_images(3, (160, 160))
    with torch.no_grad():
        alone, together = (model(image, return_output=True, evaluations=2) for model in (one, all_at_once))
    torch.testing.assert_close(alone.phis[0].x, together.phis[0].x, rtol=0, atol=1e-5)
    assert (alone.phis[0].x - 1).abs().max() > 0.01


def test_warps_alone_do_not_run_the_backbone() -> None:
    model = trained(adapted())
    calls: list[int] = []
    model.backbone.register_forward_pre_hook(lambda module, args: calls.append(1))
    model(images(), warps_only=True, evaluations=2)
    assert not calls
    model(images())
    assert calls


def test_the_gradient_to_phi_agrees_with_finite_differences() -> None:
    warp = trained(adapted()).double().canonicalizer.module_list[0]
    place = torch.linspace(0, 1, 160, dtype=torch.float64)
    image = (torch.cos(3 * place)[:, None] * torch.sin(2 * place)).expand(1, 3, 160, 160)
    phi = random_warp_params(1, 4, 0.5, generator=torch.Generator().manual_seed(4))
    phi = WarpParams(phi.x.double(), phi.y.double())
    moved = torch.zeros_like(phi.x)
    moved[0, 1, 1] = 1

    def value(step: Tensor) -> Tensor:
        return warp(WarpParams(phi.x + step * moved, phi.y), image).x.square().sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(step), step)
    with torch.no_grad():
        finite = (value(torch.tensor(1e-5)) - value(torch.tensor(-1e-5))) / 2e-5
    torch.testing.assert_close(gradient, finite, rtol=1e-3, atol=1e-6)


def test_autocast_finds_the_warps_in_single_precision() -> None:
    model = trained(adapted()).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images(), return_output=True)
        found.logits.float().square().mean().backward()
        alone = model(images(), warps_only=True)
    with torch.no_grad():
        expected = model(images(), warps_only=True)
    for phis in (found.phis, alone.phis):
        assert phis[0].x.dtype == torch.float32 and torch.equal(phis[0].x, expected.phis[0].x)


def test_a_recipe_names_it(tmp_path: Path) -> None:
    early = {"indices": [0, 2], "width": 4, "channels": [6], "pools": [2], "dilations": [1], "bound": 0.25}
    method = {"name": "dec", "equilibrium": "residual", "condition": "early", "sites": [{"stage": "input"}]}
    recipe = {"model": {"backbone": "test_vit", "pretrained": False}, "method": {**method, "early": early}}
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"a": recipe}))
    ((_, config),) = load_recipes(path)
    model = build_model(config, 10)
    assert isinstance(model, DECModel) and isinstance(copied(model).preprocess, Preprocess)
    assert copied(model).indices == [0, 2] and model.canonicalizer.module_list[0].bound == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"equilibrium": "published"}, "condition is early with equilibrium published; expected equilibrium residual"),
        ({"condition": "image", "early": SMALL}, "early is set, which condition image does not know; set condition"),
        ({"condition": "feature", "early": SMALL}, "early is set, which condition feature does not know"),
        ({"sites": (Site(0),)}, r"sites has the stages \[0\] with condition early; expected one, image or input"),
        ({"sites": (Site("image"), Site("input"))}, "expected one, image or input"),
    ],
)
def test_what_does_not_go_with_early_features_is_refused(options, message: str) -> None:
    given = {"sites": (Site("image"),), "equilibrium": "residual", "condition": "early", **options}
    with pytest.raises(ValueError, match=message):
        DEC(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": ()}, r"indices is \[\]; expected at least one whole number from 0 on, increasing"),
        ({"indices": (3, 1)}, r"indices is \[3, 1\]; expected at least one whole number from 0 on, increasing"),
        ({"indices": (-1, 2)}, r"indices is \[-1, 2\]; expected at least one whole number from 0 on, increasing"),
        ({"width": 0}, "width is 0; expected a whole number of at least 1"),
        ({"bound": 0.0}, "bound is 0.0; expected a finite number above 0"),
    ],
)
def test_wrong_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyCorrection(**options)


class Silent(nn.Module):
    """A backbone of which timm tells stages, and no intermediate features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stage = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 1)
        self.feature_info = [{"module": "stage", "reduction": 2, "num_chs": 4}]
        self.pretrained_cfg = {"input_size": (3, 32, 32)}

    def forward(self, image: Tensor) -> Tensor:
        return self.stage(self.stem(image)).mean((2, 3))


def test_backbones_without_such_features_are_refused() -> None:
    assert sites_of(Silent())
    with pytest.raises(ValueError, match="Silent has no forward_intermediates; condition early needs a timm model"):
        adapted(backbone=Silent())
    with pytest.raises(ValueError, match=r"indices is \[1, 6\]; expected numbers below 6, the intermediates of Vision"):
        adapted(early=EarlyCorrection(indices=(1, 6)))
    with pytest.raises(ValueError, match=r"a source of \(10, 10\) is 0 x 0 after block 1; take smaller pools"):
        adapted(early=EarlyCorrection(pools=(4, 4)))


def test_a_canonicalizer_needs_the_features_that_it_is_to_read() -> None:
    with pytest.raises(ValueError, match="early_features is NoneType with condition='early'; only 'early' needs"):
        Canonicalizer([4], (3, 32, 64), (3, 3), (2, 2), equilibrium="residual", condition="early")
