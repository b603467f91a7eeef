"""Whether a model knows where things end: intersection over union of what lies near the edges of masks.

Of every mask, of an answer or of a label, the pixels nearer to its edge than 2 % of the image's diagonal count, as in
"Boundary IoU" (Cheng et al., CVPR 2021). The image's own border is an edge. Pixels that are ignored belong to no mask.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from config.dense import VOID
from evaluation.measure import SHARE, Measure, Trial
from evaluation.measures.segmentation import over_classes
from evaluation.pixels import PixelViews

SHARE_OF_DIAGONAL = 0.02


def rim(mask: Tensor, width: int) -> Tensor:
    """What of (N, H, W) masks lies within so many pixels, along both axes, of a pixel outside."""
    outside = F.pad((~mask).float()[:, None], [width] * 4, value=1.0)
    return mask & (F.max_pool2d(outside, 2 * width + 1, stride=1)[:, 0] > 0)


def _counts(views: PixelViews, _: float) -> Tensor:
    """(N, 3, classes), as ``evaluation.measures.segmentation.counts`` has them, of rims."""
    width = max(1, round(SHARE_OF_DIAGONAL * math.hypot(*views.size)))
    answer, label, asked = views.maps.argmax(1), views.targets, views.targets != VOID
    found = []
    for number in range(views.maps.shape[1]):
        rims = [rim((values == number) & asked, width) for values in (answer, label)]
        found.append(torch.stack([part.sum((1, 2)) for part in (rims[0] & rims[1], *rims)], dim=1))
    return torch.stack(found, dim=2).double().cpu()


MEASURES = [
    Measure(
        name="boundary_iou",
        unit=SHARE,
        trial=Trial.CLEAN,
        kinds=("dense",),
        of=_counts,
        over=over_classes,
    )
]
