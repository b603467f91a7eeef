"""What can be adapted, what is refused with which reason, and that a refusal leaves nothing behind."""

import copy

import pytest
import timm
import torch
from torch import nn

from layers.layout import Layout
from models.dec import Site, sites_of, with_dec
from tests.models.adapting import (
    SITES,
    SMALL,
    SWIN,
    adapted,
    built,
    hooks_of,
    images,
    plain,
)


@pytest.mark.parametrize(
    ("name", "options", "module", "layout", "at", "channels"),
    [
        ("resnet50", {}, "layer{}", Layout("NCHW"), [(56, 56), (56, 56), (28, 28), (14, 14)], [64, 256, 512, 1024]),
        (SWIN, {}, "layers.{}", Layout("NHWC"), [(56, 56), (56, 56), (28, 28), (14, 14)], [96, 96, 192, 384]),
        ("deit_tiny_patch16_224", {}, "blocks.{}", Layout("tokens", 1), [(14, 14)] * 12, [192] * 12),
        ("deit_tiny_distilled_patch16_224", {}, "blocks.{}", Layout("tokens", 2), [(14, 14)] * 12, [192] * 12),
        (
            "vit_small_patch14_reg4_dinov2",
            {"img_size": 224},
            "blocks.{}",
            Layout("tokens", 5),
            [(16, 16)] * 12,
            [384] * 12,
        ),
    ],
)
def test_stages_of_full_size_networks(name, options, module, layout, at, channels):
    first = 1 if name == "resnet50" else 0
    found = sites_of(timm.create_model(name, pretrained=False, **options))
    assert [stage.stage for stage in found] == list(range(len(at)))
    assert [stage.module for stage in found] == [module.format(k + first) for k in range(len(at))]
    assert {stage.layout for stage in found} == {layout}
    assert [stage.size for stage in found] == at
    assert [stage.channels for stage in found] == channels


@pytest.mark.parametrize("outcome", ["accepted", "refused at the layout", "refused at the size", "refused settings"])
def test_a_look_at_a_backbone_changes_nothing_of_it(outcome):
    backbone = plain("test_resnet").train()
    backbone.layer1.eval()
    backbone.layer2[0].bn1.eval()
    if outcome == "refused at the layout":
        backbone.feature_info.append({"module": "fc", "num_chs": 3, "reduction": 32})
    before = copy.deepcopy(backbone.state_dict())
    modes = [part.training for part in backbone.modules()]
    state = torch.get_rng_state()
    if outcome == "accepted":
        sites_of(backbone)
    elif outcome == "refused settings":
        with pytest.raises(ValueError, match="pools has 1 numbers"):
            with_dec(backbone, SITES, **{**SMALL, "pools": (2,)})
    else:
        size = (96, 96) if "layout" in outcome else (0, 0)
        with pytest.raises(ValueError, match="'fc' could not be proven" if "layout" in outcome else "does not run on"):
            with_dec(backbone, SITES, image_size=size, **SMALL)
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)
    assert [part.training for part in backbone.modules()] == modes and len(set(modes)) == 2
    assert hooks_of(backbone) == 0
    assert all(parameter.requires_grad and parameter.grad is None for parameter in backbone.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(backbone.eval()(images()), built("test_resnet")(images()), rtol=0, atol=0)


VALID = r"valid stages are 'image', 'input', 0 \(blocks.0\), 1 \(blocks.1\), .* 5 \(blocks.5\)$"


@pytest.mark.parametrize(
    ("sites", "error", "message"),
    [
        ([Site(6, 4)], ValueError, f"no stage 6; {VALID}"),
        ([Site("blocks.0", 4)], ValueError, f"no stage 'blocks.0'; {VALID}"),
        ([Site(1.0, 4)], ValueError, f"no stage 1.0; {VALID}"),
        ([Site(True, 4)], ValueError, f"no stage True; {VALID}"),
        ([Site(0, 4), Site(1, 4), Site(0, 5)], ValueError, r"sites has the stages \[0, 1, 0\]; expected each once"),
        (
            [Site("image", 4), Site("image", 4)],
            ValueError,
            r"sites has the stages \['image', 'image'\]; expected each once",
        ),
        ([], ValueError, "sites is empty; expected at least one"),
        ([(0, 4)], TypeError, r"a site is \(0, 4\); expected a Site"),
    ],
)
def test_sites_that_a_backbone_does_not_have_are_refused_with_those_it_has(sites, error, message):
    backbone = plain()
    with pytest.raises(error, match=message):
        adapted(sites=sites, backbone=backbone)
    assert hooks_of(backbone) == 0


@pytest.mark.parametrize("grid_size", [1, 0, 4.0, True, None])
def test_a_grid_has_at_least_two_knots_per_axis(grid_size):
    with pytest.raises(ValueError, match=f"grid_size is {grid_size}; expected a whole number of at least 2"):
        Site(0, grid_size)


def test_stages_are_counted_from_zero():
    with pytest.raises(ValueError, match=r"stage is -1; expected 0, 1, \.\.\., image or input"):
        Site(-1, 4)


def test_a_stage_whose_output_is_no_map_cannot_be_restored():
    adapted("efficientvim_m1", [Site(0, 4)])
    with pytest.raises(ValueError, match="stage 0 cannot be restored: it returns a tuple of"):
        adapted("efficientvim_m1", [Site(0, 4, restore=True)])


def test_a_network_without_feature_info_is_refused():
    with pytest.raises(ValueError, match="Sequential has no feature_info"):
        with_dec(nn.Sequential(nn.Conv2d(3, 8, 3)), SITES, **SMALL)


def test_a_backbone_is_adapted_once_and_answers_through_its_model_alone():
    model = adapted()
    count = hooks_of(model.backbone)
    with pytest.raises(ValueError, match="adapted already"):
        adapted(backbone=model.backbone)
    with pytest.raises(ValueError, match="adapted already"):
        sites_of(model.backbone)
    assert hooks_of(model.backbone) == count
    with pytest.raises(RuntimeError, match=r"warp site 'blocks.0' has no warp: call the DECModel"):
        model.backbone(images())
    assert model(images()).shape == (2, 10)


def test_a_canonicalizer_for_images_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="channels start with 1, but the backbone's images have 3"):
        adapted(channels=(1, 6, 8), normalize=False)
    grey = timm.create_model("test_resnet", in_chans=1)
    with pytest.raises(ValueError, match="channels start with 3, but the backbone's images have 1"):
        with_dec(grey, [Site(0, 4)], **SMALL)


def test_one_number_stands_for_a_square():
    assert sites_of(plain(), 96) == sites_of(plain(), (96, 96))


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="gridsize"):
        adapted(gridsize=4)


# What happens at a site


def test_a_site_that_is_never_reached_is_named():
    model = adapted()
    model.backbone.blocks = nn.Sequential(*model.backbone.blocks[1:])
    with pytest.raises(RuntimeError, match=r"warp sites never reached: blocks\.0;"):
        model(images())


def test_a_site_that_is_reached_twice_is_named():
    model = adapted()
    model.backbone.blocks = nn.Sequential(*model.backbone.blocks[:2], model.backbone.blocks[1])
    with pytest.raises(RuntimeError, match=r"warp site 'blocks\.1' was reached twice"):
        model(images())


def test_a_failed_forward_leaves_nothing_behind():
    model = adapted()
    expected = model(images())

    def fail(module, args):
        raise OSError("out of paper")

    handle = model.backbone.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(OSError, match="out of paper"):
        model(images(4))
    assert [site.visit for site in model.sites] == [None] * 3
    handle.remove()
    torch.testing.assert_close(model(images()), expected, rtol=0, atol=0)
    assert [site.visit for site in model.sites] == [None] * 3
