"""Pictures to try a model on without any data set, and pictures of a user, both as the model is given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.datasets import load_sample_image  # type: ignore[import-untyped]
from timm.data import create_transform
from torch import Tensor

from config.schema import ConfigError, Data, DigitsData, PictureData
from dataloader.digits.items import MEAN, STD, ScaledDigits
from dataloader.digits.single import embedded_digits
from dataloader.pictures.decoding import rgb

Samples = Mapping[str, Image.Image]
Reader = Callable[[Image.Image], Tensor]  # from a picture to what the model is given, (1, C, H, W)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_BYTES = 8 * 2**20
MOST_PIXELS = 24_000_000  # decoded, they take three bytes each


def build_samples(data: Data) -> Samples:
    """Photographs that libraries carry, or for a recipe on digits the embedded ones, composed as the recipe says."""
    if isinstance(data, PictureData):
        return photographs()
    data = _of_digits(data)
    digits = ScaledDigits(
        *embedded_digits(train=False),
        n_digits=data.n_digits,
        scales=data.test_scales,
        cell_size=data.cell_size,
        layout=data.layout,
    )
    items = [digits.item(index) for index in range(12)]
    return {f"{k + 1}: {label:0{data.n_digits}d}": Image.fromarray(pixels) for k, (pixels, label) in enumerate(items)}


def photographs() -> Samples:
    """The pictures that scikit-learn and matplotlib carry, which need no network."""
    bundled = {name: Image.fromarray(load_sample_image(f"{name}.jpg")) for name in ("flower", "china")}
    portrait = str(get_sample_data("grace_hopper.jpg", asfileobj=False))
    return bundled | {"grace hopper": Image.open(portrait).convert("RGB")}


def build_reader(data: Data, description: Mapping[str, Any]) -> Reader:
    """What the loader of a recipe does to a picture when it evaluates.

    Args:
        data: of the recipe. Digits are white on black.
        description: of the model's input, as ``timm.data.resolve_data_config`` gives it; pictures need it.
    """
    if isinstance(data, PictureData):
        names = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
        given = {name: description[name] for name in names}
        if data.side is not None:
            given["input_size"] = (data.channels, data.side, data.side)
        transform = create_transform(**given)
        return lambda picture: transform(picture.convert("RGB"))[None]
    data = _of_digits(data)
    side, channels, standardize = data.n_digits * data.cell_size, data.channels, data.standardize

    def read(picture: Image.Image) -> Tensor:
        shades = picture.convert("L")
        if shades.size != (side, side):
            shades = shades.resize((side, side), Image.Resampling.LANCZOS)
        image = torch.from_numpy(np.array(shades)).float().div_(255)
        image = (image - MEAN) / STD if standardize else image
        return image.repeat(1, channels, 1, 1)

    return read


def open_picture(path: str | Path) -> Image.Image:
    """A user's picture, decoded; refused before that where it is no picture, or a very large one.

    Raises:
        ConfigError: with what was given and what would be right.
    """
    size = Path(path).stat().st_size
    if size > MOST_BYTES:
        raise ConfigError(f"the file has {size / 2**20:.1f} MiB; expected at most {MOST_BYTES // 2**20}")
    try:
        with Image.open(path, formats=FORMATS) as picture:  # reads the header alone
            if picture.width * picture.height > MOST_PIXELS:
                raise ConfigError(
                    f"the picture has {picture.width} x {picture.height} pixels; expected at most {MOST_PIXELS:,}"
                )
            return _on_white(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ConfigError(f"the file is no picture that can be read; expected {', '.join(FORMATS)}") from error


def _on_white(picture: Image.Image) -> Image.Image:
    """In RGB and upright; what is transparent shows white."""
    if not picture.has_transparency_data:
        return rgb(picture)
    above = ImageOps.exif_transpose(picture).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")


def _of_digits(data: Data) -> DigitsData:
    if not isinstance(data, DigitsData):
        raise ConfigError(f"the data are of kind {data.kind}; expected digits or pictures, of which there are samples")
    return data
