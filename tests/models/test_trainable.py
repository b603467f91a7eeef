"""What of a backbone trains, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from config.schema import Config, ConfigError, DigitsData, ModelConfig, TrainConfig
from layers.spec import DEC, Plain, Site
from models.build import build_model, check_head
from models.sites import sites_of
from models.trainable import freeze_but

SWIN: dict[str, Any] = {"img_size": 56, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}
BACKBONES: dict[str, tuple[dict[str, Any], list[str], str]] = {  # options, stages, head
    "test_vit": ({}, [f"blocks.{k}." for k in range(6)], "head."),
    "test_resnet": ({}, [f"layer{k}." for k in (1, 2, 3, 4)], "fc."),
    "swin_tiny_patch4_window7_224": (SWIN, ["layers.0.", "layers.1."], "head.fc."),
}


def bare(name: str) -> nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=7, **BACKBONES[name][0])


def trained(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def below(model: nn.Module, *prefixes: str) -> set[str]:
    found = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    assert all(any(name.startswith(prefix) for name in found) for prefix in prefixes)
    return found


@pytest.mark.parametrize("name", BACKBONES)
def test_what_trains_in_each_mode(name: str) -> None:
    _, stages, head = BACKBONES[name]
    modes = {
        "complete": lambda model: below(model, ""),
        "semi-partial": lambda model: below(model, *stages),
        "head": lambda model: below(model, head),
    }
    for mode, expected in modes.items():
        model = bare(name)
        freeze_but(model, mode)
        assert trained(model) == expected(model)
    for chosen in ([0], [1], [0, 1], []):
        model = bare(name)
        freeze_but(model, "partial", chosen)
        assert trained(model) == (below(model, *(stages[k] for k in chosen)) if chosen else set())


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_are_numbered_like_sites(name: str) -> None:
    assert [f"{stage.module}." for stage in sites_of(bare(name))] == BACKBONES[name][1]


def test_a_model_with_two_heads_trains_both() -> None:
    model = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, embed_dim=24, depth=1, num_heads=2, num_classes=5
    )
    freeze_but(model, "head")
    assert trained(model) == below(model, "head.", "head_dist.")


def built(mode: str, *stages: int | str, backbone: str = "test_vit") -> nn.Module:
    sites = tuple(Site(stage=stage) for stage in stages)
    dec = DEC(sites=sites, channels=(3, 4), kernel_sizes=(3,), pools=(2,), input_size=16) if sites else Plain()
    config = Config(
        model=ModelConfig(backbone=backbone, pretrained=False, image_size=32),
        data=DigitsData(channels=3),
        method=dec,
        train=TrainConfig(finetune=mode),  # type: ignore[arg-type]
    )
    return build_model(config, 7, seed=1)


@pytest.mark.parametrize("mode", ["complete", "partial", "semi-partial", "head"])
def test_a_canonicalizer_trains_always(mode: str) -> None:
    model = built(mode, "image", 2)
    own = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert own and own <= trained(model)
    of_backbone = {name.removeprefix("backbone.") for name in trained(model) - own}
    expected = {
        "complete": below(bare("test_vit"), ""),
        "partial": below(bare("test_vit"), "blocks.2."),
        "semi-partial": below(bare("test_vit"), "blocks."),
        "head": below(bare("test_vit"), "head."),
    }
    assert of_backbone == expected[mode]


def test_partial_with_a_site_at_the_pixels_alone_trains_the_canonicalizer_alone() -> None:
    assert trained(built("partial", "image")) == below(built("partial", "image"), "canonicalizer.")


def test_partial_needs_sites() -> None:
    with pytest.raises(ConfigError, match=r"train\.finetune is partial, .*; it needs method.name: dec or energy"):
        built("partial")


@pytest.mark.parametrize("mode", ["partial", "semi-partial", "head"])
def test_what_is_frozen_has_no_gradient_and_still_gives_one(mode: str) -> None:
    model = built(mode, 1).train()
    model(torch.rand(2, 3, 32, 32)).square().mean().backward()
    with_gradient = {name for name, value in model.named_parameters() if value.grad is not None}
    assert with_gradient == trained(model)


def test_a_classifier_that_would_begin_anew_is_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit", num_classes=12).state_dict(), path)
    given = ModelConfig(backbone="test_vit", pretrained=False, weights=str(path))
    check_head(given, 12)
    with pytest.raises(ConfigError, match=r"weights\.safetensors has 12 classes; expected 7, as the data has"):
        check_head(given, 7)
    published = ModelConfig(backbone="swin_tiny_patch4_window7_224.ms_in1k")
    check_head(published, 1000)
    with pytest.raises(ConfigError, match=r"classifier of swin_tiny_\S+ has 1000 classes; expected 8"):
        check_head(published, 8)
    check_head(ModelConfig(backbone="test_vit", pretrained=False), 8)  # random weights as a whole: who asks, means it


def test_weights_without_a_classifier_are_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    with pytest.raises(ConfigError, match=r"weights\.pth has no classes; expected 1000"):
        check_head(ModelConfig(backbone="test_resnet", pretrained=False, weights=str(path)), 1000)
    with pytest.raises(ConfigError, match=r"dinov2\.lvd142m has no classes; expected 1000"):
        check_head(ModelConfig(backbone="vit_small_patch14_reg4_dinov2.lvd142m"), 1000)
