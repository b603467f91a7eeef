"""What a recipe of dense prediction can set: data whose labels are maps, and the decoder that answers with maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from config.data import DigitsData
from config.errors import require

DEFAULTS: dict[str, Any] = {
    "model": {"pretrained": False, "image_size": None},
    "evaluation": {"warp_items": 200, "floor_items": 200},
    "wandb": {"project": "scale_dense"},
}


@dataclass(frozen=True, kw_only=True)
class DenseDigitsData(DigitsData):
    """The items of the classification set with a label for every pixel: background, or which digit stands there."""

    kind: ClassVar = "dense"
    tags: ClassVar = ("dense/digits", "dense/mnist")
    defaults: ClassVar = DEFAULTS

    name: Literal["dense/digits", "dense/mnist"] = "dense/digits"  # type: ignore[assignment]
    """dense/digits: scikit-learn's handwritten digits, which need no download; or dense/mnist."""


DenseData = DenseDigitsData
"""All sections of this kind."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """What makes maps of a backbone's features."""

    name: Literal["linear", "fusion"] = "linear"
    """linear: a 1 x 1 convolution of the features side by side, at the size of the finest; fusion: from the coarsest
    level to the finest, each is added to what came before and convolved, as in the published dense heads."""
    indices: tuple[int, ...] | None = None
    """Of timm's intermediate features, increasing: blocks of a plain transformer, stages of a hierarchical network.
    null: of linear the last one; of fusion all stages, or of a plain transformer four blocks at even distances."""
    width: int = 64
    """Channels of the fusion."""

    def __post_init__(self) -> None:
        require(self.width >= 2, f"width is {self.width}; expected at least 2")
        if self.indices is not None:
            indices = list(self.indices)
            is_right = bool(indices) and indices[0] >= 0 and indices == sorted(set(indices))
            require(is_right, f"indices is {indices}; expected null, or whole numbers from 0 on, increasing")
