"""Small variants of timm architectures whose logits depend on the image without any download."""

import math
from dataclasses import dataclass, field

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_CLASSES = 10


@dataclass(frozen=True)
class Architecture:
    """One timm model together with the options and the input sizes that keep it small.

    Attributes:
        name: The timm model name.
        family: The design that the model belongs to.
        options: Keyword arguments of `timm.create_model` that shrink the model.
        image_size: Height and width of the images that its tests feed.
        non_square: Height and width of non-square images that the same built model takes, if it takes any.
    """

    name: str
    family: str
    options: dict = field(default_factory=dict)
    image_size: tuple[int, int] = (96, 96)
    non_square: tuple[int, int] | None = None


def _sized(name: str, family: str, size: tuple[int, int] = (96, 96), **options) -> Architecture:
    """Returns a network that is built for one image size and takes no other."""
    return Architecture(name, family, {"img_size": size, **options}, size)


def _resizable(name: str, family: str, size: tuple[int, int] = (96, 96), **options) -> Architecture:
    """Returns a network that is built for one image size and takes others too."""
    return Architecture(name, family, {"img_size": size, **options}, size, (64, 96))


def _grids(name: str, family: str, size: tuple[int, int] = (96, 96), **options) -> Architecture:
    """Returns a network whose layers take feature maps of any size."""
    return Architecture(name, family, options, size, (64, 96))


_SMALL_VIT = {"embed_dim": 48, "depth": 3, "num_heads": 3}
_SMALL_STAGES = {"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}
_NARROW = (16, 32, 48, 64)

ARCHITECTURES: tuple[Architecture, ...] = (
    # one resolution, tokens
    _sized("test_vit", "vit", dynamic_img_size=False),
    _resizable("test_vit2", "vit", dynamic_img_size=True),
    _sized("test_vit3", "vit", (48, 80)),
    _resizable("test_vit4", "vit", dynamic_img_size=True),
    _sized("vit_tiny_patch16_224", "vit", (48, 80), **_SMALL_VIT),
    _sized("vit_small_patch14_reg4_dinov2", "dinov2", (84, 84), **_SMALL_VIT),
    _sized("vit_base_patch16_clip_224", "clip", **_SMALL_VIT),
    _sized("vit_base_patch16_siglip_224", "siglip", **_SMALL_VIT),
    _sized("vit_small_patch16_18x2_224", "vit", **_SMALL_VIT),
    _sized("vit_tiny_r_s16_p8_224", "vit_hybrid", (128, 128), **_SMALL_VIT),
    _sized("test_vit_relpos", "vit_relpos"),
    _sized("deit_tiny_patch16_224", "deit", **_SMALL_VIT),
    _sized("deit_tiny_distilled_patch16_224", "deit", **_SMALL_VIT),
    _sized("deit3_small_patch16_224", "deit", **_SMALL_VIT),
    _sized("beit_base_patch16_224", "beit", **_SMALL_VIT),
    _sized("beitv2_base_patch16_224", "beit", **_SMALL_VIT),
    _sized("beit3_base_patch16_224", "beit", **_SMALL_VIT),
    _sized("eva02_tiny_patch14_224", "eva", (84, 84), **_SMALL_VIT),
    _resizable("vit_tiny_patch16_dinov3_qkvb", "dinov3", dynamic_img_size=True, **_SMALL_VIT),
    _resizable("samvit_base_patch16_224", "sam", **_SMALL_VIT),
    _resizable("naflexvit_base_patch16_gap", "naflexvit", **_SMALL_VIT),
    _sized("cait_xxs24_224", "cait", **_SMALL_VIT),
    _sized("convit_tiny", "convit", **_SMALL_VIT),
    _resizable("xcit_nano_12_p16_224", "xcit", embed_dim=48, depth=3, num_heads=4),
    _sized("tnt_s_patch16_224", "tnt", embed_dim=48, inner_dim=16, depth=3, num_heads_outer=3),
    _sized("pit_ti_224", "pit", base_dims=(16, 16, 16), depth=(1, 2, 1)),
    _sized("crossvit_tiny_240", "crossvit", (120, 120), embed_dim=(24, 48)),
    _sized("mixer_s16_224", "mixer", (64, 64), mlp_ratio=(0.5, 1.0)),
    _sized("gmlp_ti16_224", "gmlp"),
    _sized("resmlp_12_224", "resmlp"),
    # several resolutions, attention
    _sized("swin_tiny_patch4_window7_224", "swin", window_size=3, **_SMALL_STAGES),
    _sized("swinv2_tiny_window8_256", "swin", window_size=3, **_SMALL_STAGES),
    _resizable("swinv2_tiny_window16_256", "swin", (64, 64), window_size=4, dynamic_img_size=True, **_SMALL_STAGES),
    _sized("swinv2_cr_tiny_ns_224", "swin", **_SMALL_STAGES),
    _sized("hiera_tiny_224", "hiera", (128, 128), embed_dim=24, stages=(1, 1, 2, 1)),
    _grids("hieradet_small", "hieradet", embed_dim=32, stages=(1, 2, 3, 1), global_att_blocks=(4,)),
    _sized("nest_tiny", "nest", (64, 64), mlp_ratio=1.0),
    _sized("volo_d1_224", "volo", (64, 64), mlp_ratio=1.0, stem_hidden_dim=16),
    _sized("gcvit_xxtiny", "gcvit", embed_dim=16),
    _sized("levit_128s", "levit", embed_dim=(32, 48, 64)),
    _sized("levit_conv_128s", "levit", embed_dim=(32, 48, 64)),
    _sized("visformer_tiny", "visformer", embed_dim=96, depth=(1, 1, 1)),
    _sized("efficientformerv2_s0", "efficientformer"),
    _sized("test_maxvit", "maxvit"),
    _sized("test_coatnet", "coatnet"),
    _resizable(
        "sequencer2d_s", "sequencer", (112, 112), embed_dims=_NARROW, layers=(1, 1, 1, 1), hidden_sizes=(8, 8, 8, 8)
    ),
    _grids("pvt_v2_b0", "pvt"),
    _grids("davit_tiny", "davit", embed_dims=_NARROW, num_heads=(1, 2, 3, 4)),
    _grids("focalnet_tiny_srf", "focalnet", (64, 64), mlp_ratio=1.0),
    _grids("tiny_vit_5m_224", "tiny_vit", embed_dims=_NARROW, num_heads=(1, 1, 2, 2), window_sizes=(7, 7, 7, 7)),
    Architecture("efficientformer_l1", "efficientformer", {"depths": (1, 1, 1, 2), "embed_dims": _NARROW}, (224, 224)),
    _grids("edgenext_xx_small", "edgenext"),
    _grids("mobilevit_xxs", "mobilevit"),
    _grids("mobilevitv2_050", "mobilevit"),
    _grids("fastvit_t8", "fastvit", layers=(1, 1, 1, 1)),
    _grids("efficientvit_b0", "efficientvit_mit"),
    _grids("efficientvit_m0", "efficientvit_msra"),
    _grids("swiftformer_xs", "swiftformer"),
    _grids("repvit_m1", "repvit"),
    _grids("shvit_s1", "shvit"),
    _grids("efficientvim_m1", "efficientvim"),
    _grids("poolformer_s12", "metaformer"),
    _grids("caformer_s18", "metaformer", (64, 64)),
    _grids("iformer_t", "iformer"),
    # convolutions
    _grids("test_resnet", "resnet"),
    _grids("resnet18", "resnet", channels=_NARROW),
    _grids("resnet50", "resnet", layers=(1, 1, 1, 1), channels=_NARROW),
    _grids("wide_resnet50_2", "resnet", layers=(1, 1, 1, 1), channels=_NARROW),
    _grids("seresnext26d_32x4d", "resnext", layers=(1, 1, 1, 1)),
    _grids("skresnet18", "sknet", channels=_NARROW),
    _grids("resnest14d", "resnest", channels=_NARROW),
    _grids("res2net50_26w_4s", "res2net", layers=(1, 1, 1, 1), channels=_NARROW),
    _grids("resnetv2_50x1_bit", "resnetv2", channels=(128, 128, 128, 128), stem_chs=32),
    _grids("test_convnext", "convnext"),
    _grids("test_convnext2", "convnext"),
    _grids("convnextv2_atto", "convnext"),
    _grids("inception_next_atto", "inception_next"),
    _grids("test_mambaout", "mambaout"),
    _grids("test_efficientnet", "efficientnet"),
    _grids("tf_efficientnetv2_b0", "efficientnet"),
    _grids("mobilenetv2_035", "mobilenet"),
    _grids("mobilenetv3_small_050", "mobilenet"),
    _grids("mobilenetv4_conv_small_035", "mobilenet"),
    _grids("mobilenetv4_hybrid_medium", "mobilenet", (64, 64)),
    _grids("mnasnet_small", "mnasnet"),
    _grids("hardcorenas_a", "hardcorenas"),
    _grids("ghostnet_050", "ghostnet"),
    _grids("repghostnet_050", "ghostnet"),
    _grids("regnetx_002", "regnet"),
    _grids("regnety_002", "regnet"),
    _grids("test_nfnet", "nfnet"),
    _grids("test_byobnet", "byobnet"),
    _grids("repvgg_a0", "repvgg", width_factor=0.25),
    _grids("densenet121", "densenet", growth_rate=8, block_config=(2, 2, 2, 2)),
    _grids("vgg11_bn", "vgg", (64, 64), mlp_ratio=0.02),
    _grids("cs3darknet_focus_s", "cspnet"),
    _grids("darknet17", "darknet"),
    _grids("dla46_c", "dla"),
    _grids("ese_vovnet19b_slim_dw", "vovnet"),
    _grids("rdnet_tiny", "rdnet", num_init_features=24, growth_rates=(16,) * 7, num_blocks_list=(1,) * 7),
    _grids("starnet_s050", "starnet"),
    _grids("fasternet_t0", "fasternet"),
)

# some of the modules that feature_info names for these do not exist or are never called
UNHOOKABLE: tuple[Architecture, ...] = (
    _sized("coat_lite_tiny", "coat", embed_dims=_NARROW, serial_depths=(1, 1, 1, 1)),
    _sized("mvitv2_tiny", "mvit", (64, 64)),
    _grids("hrnet_w18_small", "hrnet"),
    _resizable("twins_svt_small", "twins", embed_dims=_NARROW, depths=(2, 2, 2, 2), num_heads=(1, 2, 3, 4)),
    _resizable("twins_pcpvt_small", "twins", embed_dims=_NARROW, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4)),
)


def random_images(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draws images of about zero mean and unit standard deviation, the first half smooth and the second half noise."""
    coarse = torch.rand(count - count // 2, 3, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    noise = torch.rand(count // 2, 3, *size, generator=generator)
    return (torch.cat([smooth, noise]) - 0.5) / 0.25


def _redraw(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Draws one parameter again so that no branch of the network is switched off."""
    leaf = name.rpartition(".")[2]
    noise = torch.randn(parameter.shape, generator=generator)
    value = parameter.flatten()[0].item()
    is_constant = bool((parameter == value).all())
    is_vector = parameter.numel() == max(parameter.shape, default=1)
    if "weight" in leaf and not is_vector:
        parameter.copy_(noise / math.sqrt(parameter[0].numel()))
    elif is_constant and abs(value) > 0.1:
        parameter.mul_(1 + 0.1 * noise)
    elif is_constant and not any(part in leaf for part in ("bias", "beta", "token", "pos", "embed")):
        # a gain of almost zero, such as that of a layer scale, hides its whole branch
        parameter.copy_(0.7 + 0.1 * noise)
    else:
        parameter.copy_(0.1 * noise)


def _standardise(model: nn.Module, logits: Tensor) -> None:
    """Scales the rows of the classifiers for logits of about zero mean and unit standard deviation.

    Args:
        model: The model.
        logits: Its logits of shape (kinds, images, classes), for several kinds of images.
    """
    # the geometric mean lies between the spreads of the kinds, so that no kind ends with constant logits
    scale = 1 / logits.std(dim=1).log().mean(dim=0).exp()
    mean = logits.mean(dim=(0, 1))
    classifier = model.get_classifier()
    for layer in nn.ModuleList(classifier if isinstance(classifier, tuple) else [classifier]).modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == len(scale):
            layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
            if layer.bias is not None:
                layer.bias.copy_((layer.bias - mean) * scale)


@torch.no_grad()
def build(architecture: Architecture, *, seed: int = 0, **options) -> nn.Module:
    """Builds the model of an architecture with weights that make its logits vary from image to image.

    Args:
        architecture: The architecture.
        seed: Seed of all the weights.
        **options: Further keyword arguments of `timm.create_model`, which take precedence.

    Returns:
        The model in evaluation mode, with logits of about zero mean and unit standard deviation over random images.
    """
    options = {"num_classes": NUM_CLASSES, **architecture.options, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(architecture.name, pretrained=False, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        _redraw(name, parameter, generator)

    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    images = random_images(16, architecture.image_size, generator)
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
        # a channel that hardly varies over these images would blow up on others
        norm.running_var.clamp_(min=0.2 * norm.running_var.mean())
    _standardise(model, model(images).unflatten(0, (2, -1)))
    # entering training mode drops the attention biases that some families cache for evaluation
    return model.train().eval()
