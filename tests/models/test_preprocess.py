"""What stands in front of a backbone, against torchvision's transforms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as transforms

from models.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("arriving", "size", "resize"),
    [((70, 70), 32, None), ((70, 70), 32, 48), ((20, 20), 33, 37), ((48, 48), 32, 48), ((30, 30), 32, 32)],
)
def test_it_is_torchvisions_resize_crop_and_normalize(arriving, size: int, resize, interpolation: str) -> None:
    image = 0.2 + 0.6 * torch.rand(2, 3, *arriving, generator=torch.Generator().manual_seed(0))
    steps: list[Any] = [
        transforms.Resize(resize or size, interpolation=InterpolationMode(interpolation), antialias=True),
        transforms.Lambda(lambda picture: picture.clamp(0, 1)),
        transforms.CenterCrop(size),
        transforms.Normalize(MEAN, STD),
    ]
    processed = Preprocess(size, MEAN, STD, resize=resize, interpolation=interpolation)(image)
    assert processed.shape == (2, 3, size, size)
    torch.testing.assert_close(processed, transforms.Compose(steps)(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [None, 24])
def test_an_image_of_the_right_size_is_only_normalized(size: int | None) -> None:
    image = torch.rand(2, 1, 24, 24) * 3 - 1  # nothing is cut off either
    torch.testing.assert_close(Preprocess(size, [0.5], [0.25])(image), (image - 0.5) / 0.25)
    tall = torch.rand(1, 1, 20, 30)
    assert Preprocess(None, [0.5], [0.25])(tall).shape == tall.shape


def test_pictures_stay_pictures() -> None:
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 1
    assert Preprocess(37, [0.0], [1.0], limits=None)(edge).max() > 1.01
    picture = Preprocess(37, [0.0], [1.0])(edge)
    assert picture.min() == 0 and picture.max() == 1


def test_standardized_images_keep_their_range() -> None:
    image = torch.full((1, 1, 16, 16), -0.4)
    image[..., 8:] = 2.8
    free = Preprocess(8, [0.0], [1.0], limits=None)(image)
    assert free.min() < 0 and free.max() > 1
    torch.testing.assert_close(free, transforms.Resize(8, InterpolationMode.BICUBIC)(image), rtol=0, atol=1e-5)


def test_the_gradient_reaches_every_pixel() -> None:
    image = torch.full((1, 3, 40, 40), 0.5, requires_grad=True)
    weight = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    (Preprocess(16, MEAN, STD)(image) * weight).sum().backward()
    assert image.grad is not None and bool((image.grad != 0).all())
    image.grad = None
    Preprocess(16, MEAN, STD, resize=40)(image).sum().backward()
    assert bool((image.grad[..., 12:28, 12:28] != 0).all()) and image.grad[..., 0].abs().max() == 0


def test_it_leaves_no_name_in_the_state() -> None:
    preprocess = Preprocess(16, MEAN, STD)
    assert preprocess.state_dict() == {} and list(preprocess.parameters()) == []
    assert preprocess.double().mean.dtype == torch.float64  # but moves with its model


@pytest.mark.parametrize(("size", "resize"), [(None, 20), (32, 31)])
def test_nothing_larger_is_cut_out(size: int | None, resize: int) -> None:
    with pytest.raises(ValueError, match="expected at least the size that is cut out of it"):
        Preprocess(size, MEAN, STD, resize=resize)
