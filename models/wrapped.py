"""What timm's loops, loaders and optimizers ask a model for, answered by the backbone that a model wraps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from layers.frame import Frame, Size

BACKBONE = "backbone."  # how the names of a backbone's parameters begin in a model that holds it


class WrappedBackbone(nn.Module):
    """A model with more than its backbone, which timm may still treat as that backbone.

    Args:
        backbone: any timm model.
        preprocess: what images go through on their way to the backbone alone; a canonicalizer sees them as they come.
    """

    def __init__(self, backbone: nn.Module, preprocess: nn.Module | None = None):
        super().__init__()
        self.backbone: Any = backbone  # the rest of timm's interface, which no type describes
        self.preprocess: Any = preprocess if preprocess is not None else nn.Identity()
        self.preprocess.train(backbone.training)  # an adapted network goes on in its mode

    def forward(self, image: Tensor) -> Any:
        """Logits of (B, C, H, W) images."""
        return at_size_of(image, self.backbone(self.preprocess(image)))

    def ask_backbone(self, image: Tensor, call: Callable[[Tensor], Any]) -> Any:
        """What a method of the backbone, such as ``feature_maps``, gives for the images as they reach the backbone."""
        return call(self.preprocess(image))

    def is_of_backbone(self, name: str) -> bool:
        """Whether a parameter or buffer of this name belongs to the backbone; all others are the method's own."""
        return name.startswith(BACKBONE)

    def under_todays_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of such a model, also where a version before this one saved them under other names."""
        return dict(weights)

    def preprocessed_frame(self, image_size: Size) -> tuple[Size, Frame]:
        """The (H, W) that the backbone gets of images of this one, and where its positions lie in them."""
        if isinstance(self.preprocess, nn.Identity):
            return image_size, Frame()
        if not hasattr(self.preprocess, "frame"):
            raise ValueError(
                f"{type(self.preprocess).__name__} does not tell where its pixels lie in the images; give it a method "
                "frame((H, W)) like that of models.preprocess.Preprocess"
            )
        return self.preprocess.frame(image_size)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """timm's description of the backbone's weights and input, for ``resolve_data_config``."""
        return self.backbone.pretrained_cfg

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The same under timm's older name."""
        return self.backbone.default_cfg

    @property
    def num_classes(self) -> int:
        """Of the backbone's head."""
        return self.backbone.num_classes

    def no_weight_decay(self) -> set[str]:
        """The backbone's parameters that timm's optimizers must not decay, under their names here."""
        return {f"{BACKBONE}{name}" for name in getattr(self.backbone, "no_weight_decay", set)()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any] | Callable[[str], Any]:
        """The backbone's layers for timm's layer decay, under their names here; what is not its own counts as head.

        timm's models describe their layers by patterns or by a function of a parameter's name, and some not at all: of
        those, timm groups neighbouring parameters, and so does this.
        """
        if not hasattr(self.backbone, "group_matcher"):
            from timm.optim import auto_group_layers  # timm takes two seconds, which a first import need not pay

            layers = auto_group_layers(self.backbone)
            return partial(_layer_of, layers.get, head=max(layers.values()))
        matcher = self.backbone.group_matcher(coarse=coarse)
        if callable(matcher):
            return partial(_layer_of, matcher, head=float("inf"))
        return {kind: _prefixed(pattern) for kind, pattern in matcher.items()}

    def get_classifier(self) -> nn.Module:
        """The backbone's head."""
        return self.backbone.get_classifier()

    def reset_classifier(self, num_classes: int, *args: Any, **options: Any) -> None:
        """Give the backbone a fresh head."""
        self.backbone.reset_classifier(num_classes, *args, **options)


def at_size_of(image: Tensor, logits: Any) -> Any:
    """Logits as they are, or where they are a map, (B, classes, h, w), at the (H, W) of the image, edges on edges."""
    is_map = isinstance(logits, Tensor) and logits.ndim == 4
    return resized(logits, (image.shape[-2], image.shape[-1])) if is_map else logits


def resized(image: Tensor, size: Size) -> Tensor:
    """(B, C, h, w) at this (H, W), edges on edges."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


def _layer_of(matcher: Callable[[str], Any], name: str, head: float) -> Any:
    """The layer of a parameter of ours, by a function that knows the backbone's own names."""
    own = name.removeprefix(BACKBONE)
    return head if own == name else matcher(own)


def _prefixed(pattern: Any) -> Any:
    """Regular expressions, alone or in timm's lists of pairs, for names below it."""
    if isinstance(pattern, str):
        return rf"^{re.escape(BACKBONE)}(?:{pattern.replace('^', '')})"
    if isinstance(pattern, tuple | list):
        return type(pattern)(_prefixed(part) for part in pattern)
    return pattern
