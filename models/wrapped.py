"""What timm's loops, loaders and optimizers ask a model for, answered by the backbone that a model wraps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


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
        return self.backbone(self.preprocess(image))

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
        return {f"backbone.{name}" for name in getattr(self.backbone, "no_weight_decay", set)()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The backbone's layers for timm's layer decay, under their names here; what is not its own counts as head."""
        return {kind: _prefixed(pattern) for kind, pattern in self.backbone.group_matcher(coarse=coarse).items()}

    def get_classifier(self) -> nn.Module:
        """The backbone's head."""
        return self.backbone.get_classifier()

    def reset_classifier(self, num_classes: int, *args: Any, **options: Any) -> None:
        """Give the backbone a fresh head."""
        self.backbone.reset_classifier(num_classes, *args, **options)


def _prefixed(pattern: Any) -> Any:
    """Regular expressions, alone or in timm's lists of pairs, for names below ``backbone.``."""
    if isinstance(pattern, str):
        return rf"^backbone\.(?:{pattern.replace('^', '')})"
    if isinstance(pattern, tuple | list):
        return type(pattern)(_prefixed(part) for part in pattern)
    return pattern
