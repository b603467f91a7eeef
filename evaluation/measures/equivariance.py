"""How far what a model says of a warped image lies from what it says of the image, where both show the same.

The answer to the warped image is brought back by the exact inverse of the warp, as logits, and compared pixel by pixel
where both see the picture, and not beside it, where labels are void: the root of the mean squared distance of the two
class probabilities, from 0 to the root of 2. The floor is that of a model which follows the warp exactly: its own
answer, warped and brought back.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from config.dense import VOID
from evaluation.measure import DISTANCE, SHARE, Measure, Trial
from evaluation.measures.segmentation import over_labelled
from evaluation.pixels import PixelViews


def _mean_where_seen(values: Tensor, views: PixelViews) -> Tensor:
    """(N,) of (N, H, W), NaN where nothing is seen."""
    seen = views.seen & (views.targets != VOID)
    return ((values * seen).sum((1, 2)) / seen.sum((1, 2))).double().cpu()


def _distance(views: PixelViews, other: Tensor) -> Tensor:
    squares = (other.softmax(1) - views.maps.softmax(1)).square().sum(1)
    return _mean_where_seen(squares, views).sqrt()


def _error(views: PixelViews, _: float) -> Tensor:
    return _distance(views, views.unwarped)


def _floor(views: PixelViews, _: float) -> Tensor:
    return _distance(views, views.returned)


def _flips(views: PixelViews, _: float) -> Tensor:
    """Share of the pixels whose class is another one."""
    return _mean_where_seen((views.unwarped.argmax(1) != views.maps.argmax(1)).float(), views)


_over = partial(over_labelled, numbered_by="equivariance_index")
_warp = partial(Measure, trial=Trial.WARPS, kinds=("dense",), over=_over)
_ERROR, _FLIPS, _FLOOR = "warp_equivariance_error", "pixel_flips", "warp_equivariance_floor"
MEASURES = [
    _warp(name=_ERROR, unit=DISTANCE, of=_error, column=_ERROR, is_headline=True),
    _warp(name=_FLIPS, unit=SHARE, of=_flips, column=_FLIPS, is_headline=True),
    _warp(name=_FLOOR, unit=DISTANCE, of=_floor, column=_FLOOR),
]
