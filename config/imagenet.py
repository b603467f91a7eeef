"""What an ImageNet recipe can set besides, or in place of, what schema.py has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from config.schema import Config, ConfigError, WandbConfig, require
from layers.spec import Site


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """Labelled pictures, each alone or as a group of one object at several scales."""

    kind: ClassVar[str] = "pictures"
    name: str = "folder"
    """folder: root/split/class/file, where files NAME_scale_S.EXT are groups; shapes: a small multi-scale set, drawn on
    the spot; wds/, hfds/NAME, hfids/NAME: timm's readers of shards and of Hugging Face sets, hfids streaming."""
    root: str | None = None
    """Of the pictures, of the shards (wds/), or of the cache (hfds/, hfids/); --data_dir sets it."""
    multi_scale_root: str | None = None
    """Of the folders whose groups are evaluated; --multi_scale_dir sets it. null: root, where its files are groups."""
    train_split: str = "train"
    val_split: str = "val"
    multi_scale_split: str = "val"
    class_map: str | None = "imagenet"
    """imagenet: the 1000 synsets in their order; a text file with a class per line; null: the folders of the training
    split in alphabetical order, or the classes that a Hugging Face set names, or num_classes numbers."""
    num_classes: int | None = None
    """Checked against the class map, where it is given."""
    train_samples: int | None = None
    """Files of the training split, drawn by the seed; null, and more than there are, takes all. A stream's epoch."""
    channels: Literal[3] = 3
    broken_limit: int = 100
    """Files of a split that a process may find unreadable before the run stops; others take their places."""
    workers: int | None = None
    """Processes that prepare batches, per training process; null: as many as this process has cores, at most 16."""

    def __post_init__(self) -> None:
        kind, _, rest = self.name.partition("/")
        is_known = self.name in ("folder", "shapes") or (kind in ("wds", "hfds", "hfids") and "/" in self.name)
        require(is_known, f"name is {self.name!r}; expected folder, shapes, wds/, hfds/NAME or hfids/NAME")
        require(not kind.startswith("hf") or bool(rest), f"name is {self.name!r}; expected a name behind {kind}/")
        for name in ("num_classes", "train_samples"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} is {value}; expected null or at least 1")
        require(self.broken_limit >= 0, f"broken_limit is {self.broken_limit}; expected at least 0")
        require(self.workers is None or self.workers >= 0, f"workers is {self.workers}; expected null or at least 0")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What timm does to training pictures and to batches of them; all but the crop and the flip is off."""

    scale: tuple[float, float] = (0.08, 1.0)
    """Share of the picture that a random crop covers."""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.5
    interpolation: Literal["random", "bilinear", "bicubic"] = "random"
    auto_augment: str | None = None
    """timm's text for it, such as original or rand-m9-mstd0.5; it takes the place of the colour jitter."""
    color_jitter: float | None = None
    erase: float = 0.0
    """Probability of erasing a random rectangle by noise."""
    mixup: float = 0.0
    """Alpha of mixup; with cutmix too, one of the two is drawn per batch."""
    cutmix: float = 0.0
    switch: float = 0.5
    """Probability of cutmix, where both are on."""
    smoothing: float = 0.0
    """Of the labels."""

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            require(0 < low <= high, f"{name} is [{low}, {high}]; expected 0 < low <= high")
        require(self.scale[1] <= 1, f"scale is {list(self.scale)}; expected at most 1")
        for name in ("flip", "erase", "switch"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; expected 0 to 1")
        for name in ("mixup", "cutmix"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; expected at least 0")
        jitter = self.color_jitter
        require(jitter is None or jitter >= 0, f"color_jitter is {jitter}; expected null or at least 0")
        require(0 <= self.smoothing < 1, f"smoothing is {self.smoothing}; expected 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class ImageEvaluationConfig:
    """What is measured, and when."""

    split: Literal["val", "held_out"] = "val"
    """held_out: groups of the training split that are not trained on, for trying settings out."""
    items: int | None = None
    """Files of the split, in whole groups drawn by a fixed seed; null takes all (of held_out: 1000)."""
    every: int = 1
    """Epochs between two evaluations; the last epoch is always evaluated."""
    full_every: int = 10
    """Epochs between two measurements of the warp invariance error; the end of training always measures it."""
    before_training: bool = False
    calibration_items: int = 1000
    """Files of the training split, in whole groups that are not trained on, for the temperature; at most a fifth."""
    warp_items: int = 1000
    """The first so many groups, whose scale-1 pictures the warp invariance error is measured on."""
    batch_size: int = 100

    def __post_init__(self) -> None:
        for name in ("every", "full_every", "calibration_items", "warp_items", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; expected at least 1")
        require(self.items is None or self.items >= 1, f"items is {self.items}; expected null or at least 1")


@dataclass(frozen=True, kw_only=True)
class ImageNetConfig(Config):
    """One ImageNet experiment."""

    data: ImageDataConfig = ImageDataConfig()  # type: ignore[assignment]
    augmentation: AugmentationConfig = AugmentationConfig()
    evaluation: ImageEvaluationConfig = ImageEvaluationConfig()  # type: ignore[assignment]
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(project="scale_imagenet"))
    legacy_double_normalization: bool = False
    """The maps apply the ImageNet statistics once more to pictures that the loader has normalized, as published."""
    legacy_shifted_sites: bool = False
    """Every site lies one stage later than written, image at stage 0: the published BEiT had no warp of the pixels,
    and gave their grid size to block 0."""
    legacy_flat_groups: bool = False
    """With a canonicalizer that has a rate of its own, neither layer decay acts, nor the exemption of biases and norms
    from weight decay, as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.legacy_double_normalization or self.legacy_shifted_sites:
            require(self.dec is not None, "a legacy setting of the canonicalizer is on; it needs a dec section")

    def resolved(self) -> ImageNetConfig:
        """The same with what the legacy settings say written into the sections that they are about; twice is once."""
        dec, train = self.dec, self.train
        if dec is not None:
            # The loader normalizes; a map that does so too does it twice.
            dec = replace(dec, normalize=dec.normalize and self.legacy_double_normalization)
            if self.legacy_shifted_sites:
                dec = replace(dec, sites=tuple(_shifted(site) for site in dec.sites))
        if self.legacy_flat_groups and train.canonicalizer_lr is not None:
            train = replace(train, layer_decay=None)
        return replace(self, dec=dec, train=train, legacy_shifted_sites=False)


def _shifted(site: Site) -> Site:
    if site.stage == "input":
        raise ConfigError("legacy_shifted_sites is true with a site on the input; expected image or stages")
    return replace(site, stage=0 if isinstance(site.stage, str) else site.stage + 1)
