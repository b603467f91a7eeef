"""Whether a canonicalizer canonicalizes: how much of a warp it undoes, and what it does where there is nothing to undo.

A canonicalizer that finds one warp, whichever, for every image undoes nothing; its ``displacement`` tells how much it
moves all the same, and the other two what the backbone makes of that.
"""

from functools import partial

import torch
from torch import Tensor

from evaluation.measure import PIXELS, SHARE, AllBut, Measure, Trial
from evaluation.positions import contrast, displacement, undone
from evaluation.views import Views


def _undone(views: Views, _: float) -> Tensor:
    """Of the random warp, averaged over sites."""
    sites = zip(views.told.phis, views.told_of_warped.phis, views.frames, strict=True)
    contrasts = contrast(views.image)
    shares = [undone(phi, other, views.warp, frame, contrasts) for phi, other, frame in sites]
    return torch.stack(shares).mean(0)[views.kept]


def _displacement(views: Views, _: float) -> Tensor:
    """Of the images as they are, averaged over sites."""
    sites = zip(views.told.phis, views.frames, strict=True)
    distances = [displacement(phi, frame, views.size) for phi, frame in sites]
    return torch.stack(distances).mean(0)[views.kept]


def _disturbed(views: Views, _: float) -> Tensor:
    """Whether an image's class is another one than under identity warps."""
    return views.bypassed.flips()


def _bypassed(views: Views, _: float) -> Tensor:
    """Whether the model knows an image under identity warps at all sites."""
    return (views.bypassed.clean.argmax(-1) == views.labels).double()


_found = partial(Measure, trial=Trial.CANONICAL, needs="warps")
MEASURES = [
    Measure(
        name="undone",
        unit=SHARE,
        trial=Trial.CANONICAL,
        of=_undone,
        needs="forms",
        kinds=AllBut(),
        column="undone",
        is_headline=True,
    ),
    _found(name="displacement", unit=PIXELS, of=_displacement, column="displacement", kinds=AllBut()),
    _found(name="disturbed_flips", unit=SHARE, of=_disturbed, column="disturbed_flips"),
    _found(name="accuracy_bypassed", unit=SHARE, of=_bypassed, column="accuracy_bypassed"),
]
