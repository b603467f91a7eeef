"""Where positions lie in the picture that something was made of, against pictures that show their own positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layers.frame import Frame
from models.dec import Site, with_dec
from models.preprocess import Preprocess
from tests.models.adapting import SMALL, plain


def positions(height: int, width: int) -> Tensor:
    """(1, 2, H, W): the x and y of every pixel, in [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y])[None]


def read_by(frame: Frame, height: int, width: int) -> Tensor:
    """The same as the frame has them, for a lattice of this size."""
    points = positions(height, width).flatten(2).transpose(1, 2)
    return frame.to_whole(points).transpose(1, 2).unflatten(2, (height, width))


@pytest.mark.parametrize(
    ("given", "size", "resize"),
    [((40, 30), 24, 32), ((256, 256), 224, None), ((20, 20), 33, 37), ((70, 50), 48, 55), ((9, 13), None, None)],
)
def test_preprocessed_pixels_lie_where_the_frame_says(given, size: int | None, resize: int | None) -> None:
    """A picture whose values are its positions still has them, wherever it is resized and cut, but at its edges."""
    preprocess = Preprocess(size, (0, 0), (1, 1), resize=resize, interpolation="bilinear")
    shown = preprocess(positions(*given))
    seen, frame = preprocess.frame(given)
    assert seen == shown.shape[2:]
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    # torch's antialiasing kernel is not quite symmetric: a fifteenth of a pixel
    torch.testing.assert_close(read_by(frame, *seen)[inner], shown[inner], rtol=0, atol=1 / 15 / min(seen))


def test_frames_of_frames_are_read_one_after_the_other() -> None:
    points = torch.rand(2, 5, 2)
    inner, outer = Frame.cut((6, 4), (10, 8), (1, 2)), Frame.resized((10, 8), (31, 20))
    torch.testing.assert_close(inner.within(outer).to_whole(points), outer.to_whole(inner.to_whole(points)))
    torch.testing.assert_close(Frame().to_whole(points), points)
    assert Frame.cut((7, 7), (11, 11), (2, 2)).offset == pytest.approx((0.2, 0.2))
    assert Frame.resized((1, 1), (4, 2)) == Frame((0.0, 0.0), (0.5, 0.5))  # one pixel lies in the middle


def test_a_models_sites_tell_where_they_lie_in_the_images_that_it_is_given() -> None:
    """The patches of a vision transformer of 96 pixels, behind a cut from 108, are means over 16 x 16 pixels."""
    preprocess = Preprocess(96, (0,) * 3, (1,) * 3, resize=108)
    sites = (Site("input", 4), Site("image", 4), Site(1, 4))
    model = with_dec(plain("test_vit"), sites, **SMALL, preprocess=preprocess)
    image = positions(108, 108)
    of_input, of_image, of_stage = model.frames((108, 108))
    cut = image[..., 6:-6, 6:-6]
    torch.testing.assert_close(read_by(of_input, 108, 108), image)
    torch.testing.assert_close(read_by(of_image, 96, 96), cut, rtol=0, atol=1e-6)
    patches = torch.nn.functional.avg_pool2d(cut, 96 // 6)
    torch.testing.assert_close(read_by(of_stage, 6, 6), patches, rtol=0, atol=1e-6)


def test_a_preprocessing_that_does_not_tell_is_named() -> None:
    model = with_dec(plain("test_vit"), (Site("image", 4),), **SMALL, preprocess=torch.nn.Hardtanh())
    with pytest.raises(ValueError, match=r"Hardtanh does not tell where its pixels lie .* frame\(\(H, W\)\)"):
        model.frames((96, 96))
