"""Dense prediction: a decoder on the features of any timm backbone, which then answers with a map of logits.

A ``Segmenter`` is to everything else a backbone like any other: ``with_dec`` adapts it, and ``with_decoder`` also takes
a model that is adapted already. Both orders make the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.wrapped import BACKBONE, Size, WrappedBackbone, resized

DecoderName = Literal["linear", "fusion"]
BLOCKS = 4  # of a plain transformer that a fusion reads


class Segmenter(WrappedBackbone):
    """A backbone that answers with (B, classes, H, W) logits, at the resolution of whatever image it is given.

    Args:
        backbone: a timm model with ``forward_intermediates``; what lies behind the last feature is cut off.
        decoder: from intermediate features, in timm's order, to a map of logits.
        indices: of the intermediate features, increasing.
    """

    def __init__(self, backbone: nn.Module, decoder: Decoder, indices: Sequence[int]):
        super().__init__(backbone)
        self.decoder: Any = decoder.train(backbone.training)
        self.indices = list(indices)
        self.training = backbone.training
        if hasattr(backbone, "prune_intermediate_layers"):  # else DistributedDataParallel waits for their gradients
            self.backbone.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)

    def forward(self, image: Tensor) -> Tensor:
        """(B, classes, H, W) logits of (B, C, H, W) images."""
        features = self.backbone.forward_intermediates(
            image, indices=self.indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return placed(self.decoder(features), self.decoder.stride, (image.shape[-2], image.shape[-1]))

    def forward_intermediates(self, image: Tensor, *args: Any, **options: Any) -> Any:
        """timm's intermediate features of the backbone."""
        return self.backbone.forward_intermediates(image, *args, **options)

    def forward_features(self, image: Tensor) -> Tensor:
        """timm's features before a head, in which the decoder takes no part."""
        return self.backbone.forward_features(image)

    def prune_intermediate_layers(self, *args: Any, **options: Any) -> Any:
        """timm's removal of what lies behind some features, and of the decoder with it."""
        self.decoder = nn.Identity()
        return self.backbone.prune_intermediate_layers(*args, **options)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm's activation checkpointing of the backbone."""
        self.backbone.set_grad_checkpointing(enable)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """timm's description of the stages up to the last one that is read, under their names here."""
        stages = list(self.backbone.feature_info)[: self.indices[-1] + 1]
        return [{**stage, "module": f"{BACKBONE}{stage.get('module', '')}"} for stage in stages]

    @property
    def patch_embed(self) -> Any:
        """Of the backbone, if it has one."""
        return getattr(self.backbone, "patch_embed", None)

    @property
    def num_prefix_tokens(self) -> int:
        """Of the backbone, if it has any."""
        return getattr(self.backbone, "num_prefix_tokens", 0)

    @property
    def in_chans(self) -> int:
        """Channels of its images."""
        return getattr(self.backbone, "in_chans", 3)

    @property
    def num_classes(self) -> int:
        """Of every pixel."""
        return self.decoder.num_classes

    def get_classifier(self) -> nn.Module:
        """The decoder, which stands in a classifier's place."""
        return self.decoder

    def reset_classifier(self, num_classes: int, *args: Any, **options: Any) -> None:
        """Give the decoder a fresh last layer."""
        self.decoder.reset(num_classes)


def placed(feature: Tensor, times: float, size: Size) -> Tensor:
    """(B, C, h, w) with so many cells for one along each axis, and then cut off, or continued by its edge, to a size.

    So a cell stays where it was, also at sizes that its stride does not divide: 3 cells of stride 32 cover 96 pixels,
    and of an image of 80 pixels the first 80. To stretch them onto the 80 would move what they say by up to 16.
    """
    H, W = size
    grown = resized(feature, (round(times * feature.shape[-2]), round(times * feature.shape[-1])))[..., :H, :W]
    h, w = grown.shape[-2:]
    return grown if (h, w) == size else F.pad(grown, (0, W - w, 0, H - h), mode="replicate")


class Decoder(nn.Module):
    """What all decoders have: a last convolution to classes, over so many channels, and the stride of its map."""

    def __init__(self, channels: int, num_classes: int, stride: float):
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; expected at least 1")
        self.classifier: Any = nn.Conv2d(channels, num_classes, 1)
        self.stride = stride

    @property
    def num_classes(self) -> int:
        """Of every pixel."""
        return self.classifier.out_channels

    def reset(self, num_classes: int) -> None:
        """Begin the last convolution afresh, for so many classes."""
        old = self.classifier
        self.classifier = nn.Conv2d(old.in_channels, num_classes, 1).to(old.weight.device, old.weight.dtype)


class LinearDecoder(Decoder):
    """A 1 x 1 convolution of the features side by side, at the size of the finest.

    Every feature goes through a batch norm first, for levels and families differ in scale.

    Args:
        channels: of every feature.
        strides: of every feature, in pixels of the image.
        num_classes: of every pixel.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_classes: int):
        super().__init__(sum(channels), num_classes, min(strides))
        self.strides = list(strides)
        self.norms: Any = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, classes, h, w) of features (B, C_i, h_i, w_i)."""
        finest = features[self.strides.index(min(self.strides))]
        size = (finest.shape[-2], finest.shape[-1])
        parts = zip(self.norms, features, self.strides, strict=True)
        together = [placed(norm(feature), stride / self.stride, size) for norm, feature, stride in parts]
        return self.classifier(torch.cat(together, dim=1))


class FusionDecoder(Decoder):
    """From the coarsest feature to the finest, each is added to what came before it, as in DPT's heads.

    What came before is brought to the size of a finer feature; of one that is no finer, as the blocks of a plain
    transformer are, both are brought to twice the size.

    Args:
        channels: of every feature.
        strides: of every feature, in pixels of the image.
        num_classes: of every pixel.
        width: channels of all that is added up.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_classes: int, width: int = 64):
        *finer, coarsest = strides
        steps, stride = [], float(coarsest)
        for own in reversed(finer):
            before, stride = stride, own if own < stride else stride / 2
            steps.append((before / stride, own / stride))
        super().__init__(width // 2, num_classes, stride)
        self.steps = steps  # how often the cells of what came before, and of a level, are repeated to fit
        self.entries: Any = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(count), nn.Conv2d(count, width, 1), nn.GELU()) for count in channels
        )
        self.levels: Any = nn.ModuleList(Residual(width) for _ in channels[:-1])
        self.fusions: Any = nn.ModuleList(Residual(width) for _ in channels[:-1])
        self.last: Any = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, classes, h, w) of features (B, C_i, h_i, w_i), finest first."""
        *finer, total = (entry(feature) for entry, feature in zip(self.entries, features, strict=True))
        parts = reversed([*zip(self.levels, self.fusions, finer, strict=True)])
        for (level, fusion, feature), (times, own) in zip(parts, self.steps, strict=True):
            size = (round(own * feature.shape[-2]), round(own * feature.shape[-1]))
            total = fusion(placed(total, times, size) + level(placed(feature, own, size)))
        return self.classifier(self.last(total))


class Residual(nn.Module):
    """A convolution, a norm and a rectifier beside what they are given."""

    def __init__(self, width: int):
        super().__init__()
        self.layers: Any = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, width, h, w) -> the same."""
        return self.layers(feature) + feature


def with_decoder(
    backbone: nn.Module,
    num_classes: int,
    *,
    name: DecoderName = "linear",
    indices: Sequence[int] | None = None,
    width: int = 64,
) -> Any:
    """Let a backbone answer with a map of logits, in place: a ``Segmenter``, or the adapted model that was given.

    Args:
        backbone: any timm model with ``forward_intermediates``, or what ``with_dec`` or another method made of one,
            which then has the segmenter in its backbone's place.
        num_classes: of every pixel.
        name: of the decoder.
        indices: of the intermediate features that it reads, increasing; None: of linear the last one; of fusion all
            stages, or of a plain transformer four blocks at even distances.
        width: channels of the fusion.
    """
    bare: Any = backbone.backbone if isinstance(backbone, WrappedBackbone) else backbone
    if isinstance(backbone, Segmenter) or isinstance(bare, Segmenter):
        raise ValueError("there is a decoder already; reset_classifier gives it another number of classes")
    kind = type(bare).__name__
    if not hasattr(bare, "forward_intermediates"):
        raise ValueError(f"{kind} has no forward_intermediates; a decoder needs a timm model that has it")
    stages = list(bare.feature_info)
    chosen = default_indices(stages, name) if indices is None else list(indices)
    if not chosen or chosen != sorted(set(chosen)) or not 0 <= chosen[0] <= chosen[-1] < len(stages):
        raise ValueError(f"indices is {chosen}; expected increasing numbers below {len(stages)}, the stages of {kind}")
    sites: Any = getattr(backbone, "sites", ())
    _check_reached(sites, [stage["module"] for stage in stages[chosen[-1] + 1 :]])
    weight = next(bare.parameters())
    channels, strides = ([stages[index][key] for index in chosen] for key in ("num_chs", "reduction"))
    decoder: Decoder
    if name == "linear":
        decoder = LinearDecoder(channels, strides, num_classes)
    elif name == "fusion":
        decoder = FusionDecoder(channels, strides, num_classes, width)
    else:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(get_args(DecoderName))}")
    segmenter = Segmenter(bare, decoder.to(weight.device, weight.dtype), chosen)
    if bare is backbone:
        return segmenter
    backbone.backbone = segmenter
    for site in sites:
        site.move_below(BACKBONE)
    return backbone


def default_indices(stages: Sequence[dict[str, Any]], name: DecoderName) -> list[int]:
    """Of the features that a decoder reads where none are named."""
    count = len(stages)
    if name == "linear":
        return [count - 1]
    is_plain = len({stage.get("reduction") for stage in stages}) == 1
    if not is_plain or count <= BLOCKS:
        return list(range(count))
    return [count * (level + 1) // BLOCKS - 1 for level in range(BLOCKS)]


def _check_reached(sites: Sequence[Any], behind: Sequence[str]) -> None:
    """Refuse a decoder that reads nothing behind a site."""
    for site in sites:
        if site.hooked in behind:
            raise ValueError(f"the decoder reads no feature behind the site '{site.name}'; expected a later index")
