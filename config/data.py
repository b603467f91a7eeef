"""The kinds of data that a recipe can name, and what is done to pictures in training.

A kind has a class here or in ``config/dense.py``, whose ``tags`` are the names that choose it, and a folder of its name
in ``dataloader/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from config.errors import require


class DataSection:
    """What a kind of data says of itself, besides its settings."""

    kind: ClassVar[str]
    """Name of its folder in ``dataloader/``."""
    tags: ClassVar[tuple[str, ...]]
    """Values of ``data.name`` that choose it; one that ends in a slash stands for all names that begin so."""
    splits: ClassVar[tuple[str, ...]]
    """Values of ``evaluation.split``."""
    is_normalized: ClassVar[bool] = False
    """Whether the loader applies a backbone's statistics, as timm does; else the model's preprocessing does."""
    has_published_heads: ClassVar[bool] = False
    """Whether published classifiers know its classes."""
    is_watched: ClassVar[bool] = False
    """Whether it has items to look at after every epoch, which can end training."""
    defaults: ClassVar[dict[str, Any]] = {}
    """Of other sections, where they differ from the schema's."""


@dataclass(frozen=True, kw_only=True)
class DigitsData(DataSection):
    """Locally scaled multi-digit images."""

    kind: ClassVar = "digits"
    tags: ClassVar = ("mnist", "digits")
    splits: ClassVar = ("test", "validation")

    name: Literal["mnist", "digits"] = "mnist"
    """mnist, or digits: scikit-learn's handwritten digits, which need no download."""
    root: str = "data"
    """Folder of the MNIST files, or where they are downloaded to."""
    download: bool = True
    n_digits: int = 3
    scales: tuple[tuple[float, float], ...] = ((0.4, 2.0), (0.4, 2.0), (0.4, 2.0))
    """Interval of each digit's scale in training."""
    test_scales: tuple[tuple[float, float], ...] = ((0.4, 2.0), (0.4, 2.0), (0.4, 2.0))
    cell_size: int = 70
    """Side in pixels of the cell that a digit is centred in."""
    layout: Literal["horizontal", "vertical", "diagonal", "all"] = "all"
    channels: int = 3
    standardize: bool = False
    """Subtract MNIST's mean and divide by its deviation, instead of leaving images in [0, 1]."""
    train_items: int = 6000
    """Drawn from the training split by the seed alone; the others serve calibration and validation."""
    fresh_scales: bool = False
    """Draw new scales for the training items in every epoch."""
    workers: int = 2
    """Processes that prepare batches, per training process."""

    def __post_init__(self) -> None:
        require(self.n_digits >= 2, f"n_digits is {self.n_digits}; expected at least 2")
        for name, intervals in (("scales", self.scales), ("test_scales", self.test_scales)):
            require(
                len(intervals) == self.n_digits,
                f"{name} has {len(intervals)} intervals; expected one per digit, {self.n_digits}",
            )
            for low, high in intervals:
                require(0 < low <= high, f"{name} has [{low}, {high}]; expected 0 < low <= high")
                require(
                    int(28 * low) >= 1 and int(28 * high) <= self.cell_size,
                    f"{name} has [{low}, {high}], digits of {28 * low:g} to {28 * high:g} pixels; expected at least 1 "
                    f"and at most the cell_size, {self.cell_size}",
                )
        require(self.channels in (1, 3), f"channels is {self.channels}; expected 1 or 3")
        require(self.train_items >= 1, f"train_items is {self.train_items}; expected at least 1")
        require(self.workers >= 0, f"workers is {self.workers}; expected at least 0")


@dataclass(frozen=True, kw_only=True)
class PictureData(DataSection):
    """Labelled pictures, each alone or as a group of one object at several scales."""

    kind: ClassVar = "pictures"
    tags: ClassVar = ("folder", "shapes", "wds/", "hfds/", "hfids/")
    splits: ClassVar = ("val", "held_out")
    is_normalized: ClassVar = True
    has_published_heads: ClassVar = True
    standardize: ClassVar = False  # by statistics of their own
    defaults: ClassVar = {
        "evaluation": {
            "split": "val",
            "every": 1,
            "full_every": 10,
            "warp_items": 1000,
            "floor_items": None,
            "batch_size": 100,
        },
        "wandb": {"project": "scale_imagenet"},
    }

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
    side: int | None = None
    """Of the square pictures that the model is given, which resizes them to the backbone's size; null: that size. A
    larger one leaves a warp of the input, a site on "input", the detail of what it enlarges."""
    broken_limit: int = 100
    """Files of a split that a process may find unreadable before the run stops; others take their places."""
    workers: int | None = None
    """Processes that prepare batches, per training process; null: as many as this process has cores, at most 16."""

    def __post_init__(self) -> None:
        is_known = any(self.name == tag or (tag[-1] == "/" and self.name.startswith(tag)) for tag in self.tags)
        require(is_known, f"name is {self.name!r}; expected folder, shapes, wds/, hfds/NAME or hfids/NAME")
        kind, _, rest = self.name.partition("/")
        require(not kind.startswith("hf") or bool(rest), f"name is {self.name!r}; expected a name after {kind}/")
        for name in ("num_classes", "train_samples", "side"):
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
class StirData(DataSection):
    """Objects of one class at 17 to 64 pixels on a canvas of 64: trained at some sizes, judged at others."""

    kind: ClassVar = "stir"
    tags: ClassVar = ("stir/digits", "stir/")
    splits: ClassVar = ("test", "validation")
    has_published_heads: ClassVar = False
    is_watched: ClassVar = True
    standardize: ClassVar = False
    defaults: ClassVar = {
        "model": {"pretrained": False, "image_size": None},
        "train": {
            "epochs": 200,
            "patience": 10,
            "batch_size": 16,
            "weight_decay": 0.0,
            "backbone_clip": None,
            "schedule": {"name": "constant"},
        },
        "evaluation": {"every": 1000, "full_every": 1000, "warp_items": 500, "floor_items": 100},
        "wandb": {"project": "scale_zoo"},
    }

    name: str = "stir/digits"
    """stir/digits: scikit-learn's, which need no file; stir/mnist; stir/emoji-dejavu and stir/emoji-fa6, faces of two
    fonts; stir/signs-synth, signs in colour; or stir/FILE, where data.file names a container of one's own."""
    file: str | None = None
    """A container, .npz; null makes the data that data.name says."""
    root: str = "data"
    """Folder of the MNIST files."""
    seed: int = 0
    """Of the objects' places."""
    scenario: int = 2
    """Which sizes are trained on. 1: the small, 17 to 32 pixels; 2: the middle, 33 to 48; 3: the large, 49 to 64; 4:
    all of them. The others are tested, and of 4 all; validation has the sizes of training."""
    channels: int = 1
    """3 for signs and for other containers of colour."""
    rescale: tuple[float, float] | None = None
    """In training, the interval of a factor that every image is rescaled by about its centre, drawn per epoch."""
    workers: int = 0

    def __post_init__(self) -> None:
        known = ("digits", "mnist", "emoji-dejavu", "emoji-fa6", "signs-synth", "FILE")
        names = [f"stir/{one}" for one in known]
        require(self.name in names, f"name is {self.name!r}; expected one of {', '.join(names)}")
        is_file = self.name == "stir/FILE"
        has_file = self.file is not None
        require(has_file or not is_file, "file is null; expected the container that name stir/FILE asks for")
        require(is_file or not has_file, f"file is {self.file} with name {self.name}; expected name stir/FILE")
        require(self.seed >= 0, f"seed is {self.seed}; expected at least 0")
        is_drawn = not is_file or self.seed == 0
        require(is_drawn, f"seed is {self.seed} with name {self.name}; a container's objects are drawn already")
        require(self.scenario in (1, 2, 3, 4), f"scenario is {self.scenario}; expected 1, 2, 3 or 4")
        require(self.channels in (1, 3), f"channels is {self.channels}; expected 1 or 3")
        require(self.workers >= 0, f"workers is {self.workers}; expected at least 0")
        if self.rescale is not None:
            low, high = self.rescale
            require(0 < low <= high, f"rescale is [{low}, {high}]; expected 0 < low <= high")


@dataclass(frozen=True, kw_only=True)
class ScaledData(DataSection):
    """One object per image, rescaled about its centre by a random factor: MNIST-scale, and its kind."""

    kind: ClassVar = "scaled"
    tags: ClassVar = ("scaled/digits", "scaled/")
    splits: ClassVar = ("test", "validation")
    has_published_heads: ClassVar = False
    is_watched: ClassVar = True
    standardize: ClassVar = False
    defaults: ClassVar = {
        "model": {"pretrained": False, "image_size": None},
        "train": {
            "patience": 60,  # as many as there are epochs: the best weights are kept, and nothing ends early
            "batch_size": 128,
            "backbone_lr": 0.01,
            "weight_decay": 0.0,
            "backbone_clip": None,
            "schedule": {"name": "step", "step_size": 20, "factor": 0.1},
        },
        "evaluation": {"every": 1000, "full_every": 1000, "warp_items": 500, "floor_items": 100, "batch_size": 250},
        "wandb": {"project": "scale_zoo"},
    }

    name: str = "scaled/digits"
    """scaled/digits: scikit-learn's, which need no file; scaled/mnist; scaled/cifar10 and scaled/stl10, of which the
    binary versions are read."""
    root: str = "data"
    """Folder of the files."""
    realisation: int = 0
    """Which draw of items and factors; the published study has six, 0 to 5. Digits of all files are one pool, which
    training, validation and test are drawn from in equal proportions of the classes; of cifar10 and stl10, the test is
    that of the files."""
    draw: Literal["random", "first"] = "random"
    """first: items are not drawn. The first ones of the training file are trained on, the next ones validate, and the
    first ones of the test file are tested, as in the study of Deep Scale Spaces and deformable networks."""
    train_items: int | None = None
    """null: 10,000 of mnist and cifar10, 1,000 of digits, 5,000 of stl10."""
    validation_items: int | None = None
    """null: 2,000 of mnist and cifar10, 297 of digits, none of stl10."""
    law: Literal["uniform", "log_uniform", "normal", "discrete"] = "uniform"
    """Of the factor: uniform in itself or in its logarithm, normal but truncated to the interval, or some values."""
    interval: tuple[float, float] = (0.3, 1.0)
    """Of the factor."""
    center: float | None = None
    """normal: null is the middle of the interval."""
    deviation: float | None = None
    """normal: before it is truncated; null is a quarter of the interval."""
    factors: tuple[float, ...] = ()
    """discrete: all of them, equally often, in the place of the interval."""
    canvas: int | None = None
    """Side of the images in pixels; null: that of the pictures, 28, 32 or 96. Factors above 1 ask for a larger one."""
    resampling: Literal["modern", "published", "spline"] = "modern"
    """modern: cubic convolution about the centre. published: about a point half a pixel beside it, as the published set
    was made. spline: a zoom by cubic splines that keeps corners where they are, as in the study of Deep Scale Spaces
    and deformable networks."""
    fresh: bool = False
    """In training, draw the factor anew in every epoch."""
    rescale: tuple[float, float] | None = None
    """In training, the interval of a second factor, uniform, that every image is rescaled by, drawn per epoch: the "+"
    of published tables, (0.5, 2). With resampling spline, whose zooms have one factor each, this one is modern."""
    shift: int = 0
    """In training, pixels that images are shifted by at most: a random crop of the padded image."""
    flip: bool = False
    """In training, mirror every other image."""
    cutout: int = 0
    """In training, side of a black square at a random place; 0: none."""
    channels: int = 1
    """3 for cifar10 and stl10."""
    workers: int = 0

    def __post_init__(self) -> None:
        known = ("digits", "mnist", "cifar10", "stl10")
        names = [f"scaled/{one}" for one in known]
        require(self.name in names, f"name is {self.name!r}; expected one of {', '.join(names)}")
        for name, interval in (("interval", self.interval), ("rescale", self.rescale)):
            if interval is not None:
                low, high = interval
                require(0 < low <= high < float("inf"), f"{name} is [{low}, {high}]; expected 0 < low <= high")
        is_discrete = self.law == "discrete"
        has_interval = self.interval != type(self).interval
        require(not (is_discrete and has_interval), "interval is given with law discrete; expected factors alone")
        require(bool(self.factors) or not is_discrete, "factors is empty; expected some, for law is discrete")
        require(is_discrete or not self.factors, f"factors is given with law {self.law}; expected law discrete")
        for value in self.factors:
            require(0 < value < float("inf"), f"factors has {value}; expected finite numbers above 0")
        for name in ("center", "deviation"):
            value = getattr(self, name)
            require(value is None or self.law == "normal", f"{name} is {value} with law {self.law}; expected normal")
        deviation = self.deviation
        require(deviation is None or deviation > 0, f"deviation is {deviation}; expected above 0")
        for name, least in (("train_items", 2), ("validation_items", 0), ("canvas", 1)):
            value = getattr(self, name)
            require(value is None or value >= least, f"{name} is {value}; expected null or at least {least}")
        for name in ("realisation", "shift", "cutout", "workers"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; expected at least 0")
        require(self.channels in (1, 3), f"channels is {self.channels}; expected 1 or 3")

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest factor."""
        return (min(self.factors), max(self.factors)) if self.law == "discrete" else self.interval
