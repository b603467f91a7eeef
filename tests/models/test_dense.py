"""A decoder on any backbone: maps at the image's resolution, which timm's tools take for a backbone of theirs."""

from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_layer_decay

from models.dec import Site, sites_of, with_dec
from models.dense import Segmenter, default_indices, with_decoder
from tests.models.adapting import BY_NAME, SMALL, images, plain
from tests.models.architectures import build

CLASSES = 5
FAMILIES = [
    *("test_vit", "vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224"),
    *("swin_tiny_patch4_window7_224", "hiera_tiny_224", "pvt_v2_b0", "test_maxvit"),
    *("test_resnet", "test_convnext", "test_efficientnet", "densenet121", "mobilenetv3_small_050"),
]
every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
@torch.no_grad()
def test_logits_lie_at_the_images_resolution(name) -> None:
    architecture = BY_NAME[name]
    for decoder in ("linear",):
        model = with_decoder(build(architecture), CLASSES, name=decoder).eval()
        for size in filter(None, (architecture.image_size, architecture.non_square)):
            logits = model(images(2, size))
            assert logits.shape == (2, CLASSES, *size) and logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "linear", "fusion"),
    [
        ("test_vit", [5], [0, 2, 3, 5]),
        ("swin_tiny_patch4_window7_224", [3], [0, 1, 2, 3]),
        ("test_resnet", [4], [0, 1, 2, 3, 4]),
        ("deit_tiny_patch16_224", [2], [0, 1, 2]),
    ],
)
def test_a_fusion_reads_all_stages_or_four_blocks(name, linear, fusion) -> None:
    stages = list(plain(name).feature_info)
    assert (default_indices(stages, "linear"), default_indices(stages, "fusion")) == (linear, fusion)


def test_what_lies_behind_the_last_feature_is_cut_off() -> None:
    """Else parameters without a gradient would stop DistributedDataParallel."""
    model = with_decoder(plain("test_vit"), CLASSES, indices=[0, 2])
    model(images()).square().mean().backward()
    assert all(value.grad is not None for value in model.parameters())
    assert [stage.module for stage in sites_of(model)] == [
        "backbone.blocks.0",
        "backbone.blocks.1",
        "backbone.blocks.2",
    ]


def test_timms_tools_take_it_for_a_backbone() -> None:
    model = with_decoder(plain("test_vit"), CLASSES)
    assert isinstance(model, Segmenter) and model.num_classes == CLASSES
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    names = {id(value): name for name, value in model.named_parameters()}
    scales = {names[id(value)]: group["lr_scale"] for group in groups for value in group["params"]}
    assert scales["decoder.classifier.weight"] == 1 > scales["backbone.blocks.5.mlp.fc1.weight"]
    assert scales["backbone.blocks.0.mlp.fc1.weight"] < scales["backbone.blocks.4.mlp.fc1.weight"]
    model.reset_classifier(3)
    assert model(images()).shape[1] == model.num_classes == 3
    model.set_grad_checkpointing()
    assert model.backbone.grad_checkpointing


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"indices is \[6\]; expected increasing numbers below 6, the stages of Vision"
    ):
        with_decoder(plain("test_vit"), CLASSES, indices=[6])
    with pytest.raises(ValueError, match=r"indices is \[1, 0\]; expected increasing"):
        with_decoder(plain("test_vit"), CLASSES, indices=[1, 0])
    with pytest.raises(ValueError, match="Sequential has no forward_intermediates"):
        with_decoder(torch.nn.Sequential(), CLASSES)
    model = with_decoder(plain("test_vit"), CLASSES)
    for given in (model, with_dec(model, [Site(0, 4)], **SMALL, image_size=96)):
        with pytest.raises(ValueError, match="there is a decoder already"):
            with_decoder(given, CLASSES)
    early = with_dec(plain("test_vit"), [Site(3, 4)], **SMALL, image_size=96)
    with pytest.raises(ValueError, match=r"reads no feature behind the site 'blocks\.3'; expected a later index"):
        with_decoder(early, CLASSES, indices=[2])
