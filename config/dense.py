"""What a recipe of dense prediction can set: data whose labels are maps, and the decoder that answers with maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from config.data import DataSection, DigitsData
from config.errors import require

VOID = 255  # the label of pixels that nothing is asked of
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


@dataclass(frozen=True, kw_only=True)
class DensePictureData(DataSection):
    """Pictures with a mask of class numbers each, 0 for the background and 255 for void."""

    kind: ClassVar = "dense"
    tags: ClassVar = ("dense/voc", "dense/coco", "dense/multi_scale")
    splits: ClassVar = ("test",)
    channels: ClassVar = 3
    standardize: ClassVar = False
    defaults: ClassVar = DEFAULTS

    name: Literal["dense/voc", "dense/coco", "dense/multi_scale"] = "dense/voc"
    """dense/voc: JPEGImages, SegmentationClass and ImageSets below root; dense/coco: an instance file, whose objects
    are painted; dense/multi_scale: what datagen_ImNet writes with --debug."""
    root: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    """Of dense/voc the names of the lists, and of dense/multi_scale of the folders."""
    annotations: str = "instances.json"
    """Of dense/coco, the file below root."""
    images: str = "images"
    """Of dense/coco, the folder of the pictures below root."""
    val_items: int | None = None
    """Of dense/coco, pictures that are judged by instead of trained on; null: a fifth."""
    num_classes: int | None = None
    """Of dense/voc, where it is another than Pascal's 21, the background among them."""
    side: int = 224
    """Of the square views that the model is given: to judge by, all of a picture, with void beside it."""
    scale: tuple[float, float] = (0.5, 2.0)
    """In training, how many times as large as that a picture is shown, drawn for every item and epoch."""
    flip: float = 0.5
    """Probability of exchanging left and right in training."""
    train_samples: int | None = None
    """Pictures of the training split, drawn once for all runs; null takes all."""
    workers: int = 2

    def __post_init__(self) -> None:
        low, high = self.scale
        require(0 < low <= high, f"scale is [{low}, {high}]; expected 0 < low <= high")
        require(0 <= self.flip <= 1, f"flip is {self.flip}; expected 0 to 1")
        require(self.side >= 2, f"side is {self.side}; expected at least 2")
        require(self.workers >= 0, f"workers is {self.workers}; expected at least 0")
        for name, least in (("val_items", 1), ("train_samples", 1), ("num_classes", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, f"{name} is {value}; expected null or at least {least}")
        most = self.num_classes is None or self.num_classes <= VOID
        require(most, f"num_classes is {self.num_classes}; expected at most {VOID}, for the number {VOID} is void")


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
