"""What a set depends on, and where a run finds and puts things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from multiscale.errors import SettingsError
from multiscale.sources import Sampling

DETECTOR, SEGMENTER = "IDEA-Research/grounding-dino-tiny", "facebook/sam-vit-huge"  # the published ones
SMALLEST, LARGEST = 0.01, 100.0
ScaleOne = Literal["original", "composite"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides which files a run writes: equal settings on equal pictures give equal files."""

    scale_factors: tuple[float, ...] = (1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7)
    scale_one: ScaleOne = "original"
    """Whether scale 1 is the picture as it is, or the object pasted like at the other scales."""
    mask_inflation: int = 5
    mask_blur: int = 2
    detector: str = DETECTOR
    """A Grounding DINO, or "annotations"."""
    segmenter: str = SEGMENTER
    """A SAM, or "annotations"."""
    inpainter: str = "telea"
    """"telea", or the checksum of a LaMa."""
    annotations: str | None = None
    """Checksum of their file."""
    synsets: str | None = None
    """Checksum of the file of known classes."""
    box_threshold: float = 0.35
    min_mask_in_box: float = 0.8
    jpeg_quality: int = 75
    sampling: Sampling = "uniform"
    seed: int = 0
    batch_size: int = 8
    """Pictures that the models see together, which may change the last digits of their results."""

    def __post_init__(self) -> None:
        scales = [f"{scale:g}" for scale in self.scale_factors]
        _require(bool(scales), "scale_factors must name at least one scale")
        usable = all(SMALLEST <= scale <= LARGEST for scale in self.scale_factors)
        _require(usable, f"scale_factors must lie between {SMALLEST:g} and {LARGEST:g}: {' '.join(scales)}")
        _require(len({*scales}) == len(scales), f"scale_factors names a scale twice: {' '.join(scales)}")
        _require(self.mask_inflation >= 0, f"mask_inflation must be at least 0, not {self.mask_inflation}")
        _require(self.mask_blur >= 0, f"mask_blur must be at least 0, not {self.mask_blur}")
        _require(1 <= self.jpeg_quality <= 100, f"jpeg_quality must lie between 1 and 100, not {self.jpeg_quality}")
        _require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        for name in ("box_threshold", "min_mask_in_box"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run: its settings, and what differs between machines and makes no difference to the files.

    Args:
        settings: of the set.
        pictures: folder of the sources.
        output: takes the split, and folders for looking at.
        subset: name of the split.
        classes: that are known; None for any.
        detector: name on the Hub or folder of a model; None for annotations.
        segmenter: the same.
        inpainter: file of a model; None for OpenCV.
        device: of the models.
        preview: of how many pictures a contact sheet is drawn.
        debug: whether what lies between is saved.
    """

    settings: Settings
    pictures: Path
    output: Path
    subset: str
    classes: frozenset[str] | None = None
    detector: str | None = None
    segmenter: str | None = None
    inpainter: Path | None = None
    device: str = "cpu"
    preview: int = 0
    debug: bool = False

    @property
    def split(self) -> Path:
        """Takes the classes' folders and the manifest."""
        return self.output / self.subset


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)
