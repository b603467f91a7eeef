"""One way for pictures and masks: what is drawn on both stays together, whatever the view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataloader.dense.geometry import View, drawn, whole
from layers.grid import random_warp_params
from layers.monotone import monotone_warp

GENERATOR = torch.Generator().manual_seed(3)


def scene(height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Discs of three classes; a pixel's red says its class, 80 levels each."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for number, (row, column, radius) in enumerate(((20, 22, 14), (40, 60, 17), (15, 74, 10)), start=1):
        mask[np.hypot(y - row, x - column) < radius] = number
    return np.stack([80 * mask, mask * 0, 255 - 80 * mask], axis=-1).astype(np.uint8), mask


def agreement(image: torch.Tensor, label: torch.Tensor) -> float:
    """Share of the pixels that lie in the picture whose colour says what their label says."""
    said = (image[0] * 255 / 80).round()
    return float((said == label)[label != 255].float().mean())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("has_warp", [False, True])
def test_colour_and_label_stay_together(seed: int, has_warp: bool) -> None:
    picture, mask = scene()
    draws = tuple(torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist())
    view = drawn(mask.shape, 48, (0.8, 2.5), 0.5, draws)
    if has_warp:
        view = View(view.side, view.step, view.centre, view.flip, random_warp_params(1, 4, 0.6, generator=GENERATOR))
    image, label = view.of(picture, mask)
    assert image.shape == (3, 48, 48) and label.shape == (48, 48) and label.dtype == torch.int64
    assert set(label.unique().tolist()) <= {0, 1, 2, 3, 255}
    assert agreement(image, label) > 0.9  # all but the edges, where colours are averaged
    shifted = torch.roll(label, 2, 1)
    assert agreement(image, shifted) < agreement(image, label)


def test_the_whole_picture_is_seen_with_void_beside_it() -> None:
    picture, mask = scene(60, 90)
    image, label = whole((60, 90), 45).of(picture, mask)
    assert (label[:7] == 255).all() and (label[-7:] == 255).all() and (label[8:37] != 255).all()
    assert (image[:, :7] == 0.5).all()
    assert (label != 255).sum() == 30 * 45 + 45  # of odd room, half a row more at most
    same, of_it = whole((48, 48), 48).of(*(part[:48, :48] for part in (picture, mask)))
    assert torch.equal(of_it, torch.from_numpy(mask[:48, :48].astype(np.int64)))
    torch.testing.assert_close(same, torch.from_numpy(picture[:48, :48]).movedim(-1, 0).float() / 255)


def test_a_smaller_view_averages_what_its_pixels_cover() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image, _ = whole((64, 64), 16).of(picture, np.zeros((64, 64), np.uint8))
    expected = torch.from_numpy(picture).float().view(16, 4, 16, 4, 3).mean((1, 3)).movedim(-1, 0) / 255
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_flipping_exchanges_left_and_right_and_a_crop_shows_a_part() -> None:
    picture, mask = (part[:48, :48] for part in scene())
    plain, flipped = (View(48, 1.0, (24, 24), flip).of(picture, mask) for flip in (False, True))
    assert all(torch.equal(one.flip(-1), other) for one, other in zip(plain, flipped, strict=True))
    image, label = View(20, 1.0, (15, 18)).of(picture, mask)
    assert torch.equal(label, plain[1][5:25, 8:28]) and torch.allclose(image, plain[0][:, 5:25, 8:28], atol=1e-6)


def test_a_warp_of_the_view_is_the_warp_of_all_else() -> None:
    picture, mask = (part[:48, :48] for part in scene())
    phi = random_warp_params(1, 5, 0.7, generator=GENERATOR)
    image, label = View(48, 1.0, (24, 24), warp=phi).of(picture, mask)
    plain, plain_label = View(48, 1.0, (24, 24)).of(picture, mask)
    torch.testing.assert_close(image, monotone_warp(plain[None], phi)[0], rtol=0, atol=1e-4)
    expected = monotone_warp(plain_label[None, None], phi, mode="nearest")[0, 0]
    assert (label != expected).sum() <= 2  # of a place halfway between two pixels, rounding decides


def test_random_views_hold_the_picture_or_lie_on_it() -> None:
    picture, mask = scene()
    for share in (0.0, 0.5, 1.0):
        small = drawn((60, 90), 45, (0.5, 0.5), 0, (0.3, share, share, 0.9)).of(picture, mask)[1]
        assert abs(int((small != 255).sum()) - 15 * 22.5) < 25  # all of it, half as large
        large = drawn((60, 90), 30, (3.0, 3.0), 0, (0.3, share, share, 0.9)).of(picture, mask)[1]
        assert (large != 255).all()
