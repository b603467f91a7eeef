"""A decoder on any backbone: maps at the image's resolution, which timm's tools take for a backbone of theirs."""

from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from layers.grid import SHARPNESS, WarpParams
from layers.monotone import inverse_monotone_warp, monotone_warp
from models.dec import Site, sites_of, with_dec
from models.dense import FusionDecoder, LinearDecoder, Segmenter, default_indices, placed, with_decoder
from models.preprocess import Preprocess
from models.wrapped import resized
from tests.models.adapting import BY_NAME, SMALL, images, plain, random_phis
from tests.models.architectures import build
from tests.models.test_families import smooth_images

INVERSES = ("rowwise", "exact")
CLASSES = 5
FAMILIES = [
    *("test_vit", "vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224"),
    *("swin_tiny_patch4_window7_224", "hieradet_small", "pvt_v2_b0", "test_maxvit"),
    *("test_resnet", "test_convnext", "test_efficientnet", "densenet121", "mobilenetv3_small_050"),
    *("eva02_tiny_patch14_224", "cait_xxs24_224", "davit_tiny", "edgenext_xx_small"),
    *("mobilevit_xxs", "regnetx_002", "test_mambaout", "repvgg_a0"),
]
every_family = pytest.mark.parametrize("name", FAMILIES)


class Pixelwise(nn.Module):
    """A linear network that looks at one pixel at a time, and answers with a map."""

    feature_info = ({"module": "stem", "num_chs": 6}, {"module": "layer", "num_chs": CLASSES})

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 6, 1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.stem(image))


def pixelwise() -> Pixelwise:
    torch.manual_seed(0)
    return Pixelwise().eval()


def at_output(stage, *, grid_size: int = 4, inverse: str = "rowwise") -> Site:
    return Site(stage, grid_size, restore=True, restore_at="output", inverse=inverse)


def separable(seed: int, count: int = 2, grid_size: int = 4) -> WarpParams:
    generator = torch.Generator().manual_seed(seed)
    return WarpParams(*(0.5 * torch.rand(count, 1, grid_size - 1, generator=generator) for _ in "xy"))


def steps(*increments: float) -> Tensor:
    return torch.tensor(increments).log()[None, None] / SHARPNESS


def halving(count: int) -> WarpParams:
    """Reads a quarter of the way at half of it, along both axes."""
    return WarpParams(*(steps(1 / 4, 3 / 4).expand(count, -1, -1) for _ in "xy"))


def undoing_halving(count: int) -> WarpParams:
    """The inverse of ``halving``, whose kink lies on a knot of five: half of the way at a quarter of it."""
    return WarpParams(*(steps(1 / 2, 1 / 6, 1 / 6, 1 / 6).expand(count, -1, -1) for _ in "xy"))


@every_family
@torch.no_grad()
def test_logits_lie_at_the_images_resolution(name) -> None:
    architecture = BY_NAME[name]
    for decoder in ("linear", "fusion"):
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


def test_a_fusion_ends_at_its_finest_level_and_doubles_blocks_of_one_size() -> None:
    """Levels of 8, 4 and 2 places give 8; three blocks of 4 places are doubled twice."""
    for sides, expected in (((8, 4, 2), 8), ((4, 4, 4), 16)):
        features, strides = [torch.rand(1, 5, side, side) for side in sides], [32 // side for side in sides]
        decoder = FusionDecoder([5, 5, 5], strides, 3, width=4).eval()
        assert decoder(features).shape == (1, 3, expected, expected) and decoder.stride == 32 / expected


@pytest.mark.parametrize(("cells", "size"), [(3, 80), (7, 250), (7, 224)])
def test_a_cell_stays_above_its_pixels_whatever_the_size(cells: int, size: int) -> None:
    """Cells that hold where their middles lie give, between the middles, every pixel's own place."""
    middles = (torch.arange(cells) + 0.5) * 32
    found = placed(middles.expand(1, 1, cells, cells), 32, (size, size))[0, 0, 0]
    pixels = torch.arange(size) + 0.5
    inside = (pixels >= 16) & (pixels <= middles[-1])
    torch.testing.assert_close(found[inside], pixels[inside])
    assert (found[~inside] - pixels[~inside]).abs().max() <= max(16, size - middles[-1])


@torch.no_grad()
def test_levels_of_an_image_that_the_strides_do_not_divide_agree_about_places() -> None:
    """20 cells of stride 4 cover 80 pixels, and 3 of stride 32 cover 96; both hold where their middles lie."""
    features = [((torch.arange(n) + 0.5) * stride).expand(1, 1, n, n) for n, stride in ((20, 4), (3, 32))]
    decoder = LinearDecoder([1, 1], [4, 32], 2).eval()
    decoder.classifier.weight.copy_(torch.eye(2)[..., None, None])
    decoder.classifier.bias.zero_()
    fine, coarse = placed(decoder(features), decoder.stride, (80, 80))[0, :, 0, 20:-12]
    torch.testing.assert_close(fine, torch.arange(20, 68) + 0.5, rtol=1e-4, atol=0)
    torch.testing.assert_close(coarse, fine)


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


@every_family
@torch.no_grad()
def test_identity_warps_leave_the_plain_segmenter(name) -> None:
    """Whatever is restored, and wherever: at the stages, row by row or exactly, or at the output."""
    architecture = BY_NAME[name]
    segmenter = with_decoder(build(architecture), CLASSES, name="fusion", width=8).eval()
    image = smooth_images(2, architecture.image_size)
    expected = segmenter(image)
    stages = [stage.stage for stage in sites_of(segmenter, architecture.image_size)][:2]
    sites = [Site("image", 4, restore=True, restore_at="output", inverse="exact")]
    sites += [Site(stage, 4, restore=True, inverse=inverse) for stage, inverse in zip(stages, INVERSES, strict=False)]
    model = with_dec(segmenter, sites, **SMALL, image_size=architecture.image_size)
    found = model.predict(image, [WarpParams.identity(2, 4)] * len(sites))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.std().clamp_min(1)


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "test_resnet"])
@torch.no_grad()
def test_both_orders_make_the_same_model(name) -> None:
    size = BY_NAME[name].image_size
    sites = [Site("image", 4, restore=True, restore_at="output"), Site(0, 5, restore=True), Site(1, 4)]

    def adapted(model):
        torch.manual_seed(0)
        return with_dec(model, sites, **SMALL, image_size=size)

    def decoded(model):
        torch.manual_seed(1)
        return with_decoder(model, CLASSES)

    one, other = adapted(decoded(plain(name))).eval(), decoded(adapted(plain(name))).eval()
    assert one.state_dict().keys() == other.state_dict().keys()
    assert [site.name for site in one.sites] == [site.name for site in other.sites]
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(images(2, size)), other(images(2, size)), rtol=0, atol=0)
    if name == "test_vit":
        for model in (one, other):
            with pytest.raises(ValueError, match=r"would recompute 'backbone\.blocks\.0' without its warp"):
                model.set_grad_checkpointing()


@torch.no_grad()
def test_a_warp_of_the_input_is_undone_at_the_output_at_the_images_size() -> None:
    """Also where the backbone is shown a smaller image than the model is given."""
    preprocess = Preprocess(48, (0.5,), (0.5,), limits=None)
    segmenter = with_decoder(plain("test_resnet"), CLASSES).eval()
    site = Site("input", 4, restore=True, restore_at="output", inverse="exact")
    model = with_dec(segmenter, [site], **SMALL, image_size=48, preprocess=preprocess).eval()
    image, (phi,) = smooth_images(2, (96, 80)), random_phis(2, 4)
    found = model.predict(image, [phi])
    small = segmenter(preprocess(monotone_warp(image, phi)))
    expected = inverse_monotone_warp(resized(small, (96, 80)), phi, method="exact")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_warps_that_add_up_are_undone_in_reverse() -> None:
    """Of an image and a first stage that sees its pixels: what came last is undone first."""
    model = with_dec(pixelwise(), [at_output(0), at_output("image")], **SMALL, image_size=40)
    image, phis = smooth_images(2, (40, 40)), [separable(1), separable(2)]
    expected = pixelwise()(image)
    found = model.predict(image, phis)
    floor = expected
    for phi in (phis[1], phis[0]):  # the image's warp comes first
        floor = monotone_warp(floor, phi)
    for phi in phis:
        floor = inverse_monotone_warp(floor, phi)
    torch.testing.assert_close(found, floor, rtol=0, atol=1e-4 * float(expected.std()))
    wrong = model.predict(image, phis[::-1])
    assert (found - wrong).abs().max() > 0.01 * expected.std()


@torch.no_grad()
@pytest.mark.parametrize("inverse", INVERSES)
def test_the_true_warp_leaves_the_interpolation_floor(inverse) -> None:
    """What a pixelwise network says of a warped image, under the phi that undoes the warp, is its warped answer.

    What is left is what the two resamplings do to that answer: a linear network commutes with them.
    """
    net, phi, undoing = pixelwise(), halving(3), undoing_halving(3)
    model = with_dec(net, [at_output("image", grid_size=5, inverse=inverse)], **SMALL, image_size=40)
    image = smooth_images(3, (40, 40))
    expected = monotone_warp(net(image), phi)
    error = model.predict(monotone_warp(image, phi), [undoing]) - expected
    floor = inverse_monotone_warp(monotone_warp(expected, undoing), undoing, method=inverse) - expected
    torch.testing.assert_close(error, floor, rtol=0, atol=1e-4)
    assert floor.std() < 0.1 * expected.std()
    kept = monotone_warp(expected, undoing)  # what is not undone at the output stays in the image's own place
    assert (kept - expected).std() > 5 * floor.std()
    returned = monotone_warp(monotone_warp(image, phi), undoing)
    assert (returned - image).std() < 0.05 * image.std()


def test_an_output_that_is_no_map_has_no_warp_to_undo() -> None:
    model = with_dec(plain("test_vit"), [Site("image", 4, restore=True, restore_at="output")], **SMALL, image_size=96)
    with pytest.raises(ValueError, match=r"'image' is restored at the output, which is \(2, 10\); expected a map"):
        model(images())
    with pytest.raises(ValueError, match="restore is False with restore_at or inverse set"):
        Site("image", 4, restore_at="output")
    with pytest.raises(ValueError, match="inverse is 'newton'; expected one of rowwise, exact"):
        Site("image", 4, restore=True, inverse="newton")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"indices is \[6\]; expected increasing numbers below 6, the stages of Vision"
    ):
        with_decoder(plain("test_vit"), CLASSES, indices=[6])
    with pytest.raises(ValueError, match=r"indices is \[1, 0\]; expected increasing"):
        with_decoder(plain("test_vit"), CLASSES, indices=[1, 0])
    with pytest.raises(ValueError, match="num_classes is 0; expected at least 1"):
        with_decoder(plain("test_vit"), 0)
    with pytest.raises(ValueError, match="Sequential has no forward_intermediates"):
        with_decoder(torch.nn.Sequential(), CLASSES)
    model = with_decoder(plain("test_vit"), CLASSES)
    for given in (model, with_dec(model, [Site(0, 4)], **SMALL, image_size=96)):
        with pytest.raises(ValueError, match="there is a decoder already"):
            with_decoder(given, CLASSES)
    early = with_dec(plain("test_vit"), [Site(3, 4)], **SMALL, image_size=96)
    with pytest.raises(ValueError, match=r"reads no feature behind the site 'blocks\.3'; expected a later index"):
        with_decoder(early, CLASSES, indices=[2])
