"""How well a model knows the class of every pixel: intersection over union, of the images and of warped ones.

The mean over classes is of the counts of all images together, so that it depends on no batch; a class that stands in no
label and in no answer does not count. What compares two models is the mean over the classes of each image.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from config.dense import VOID
from evaluation.measure import SHARE, Averaged, Measure, Trial
from evaluation.pixels import PixelViews
from evaluation.sharing import Columns


def counts(answer: Tensor, label: Tensor, classes: int) -> Tensor:
    """(N, 3, classes) of (N, H, W) maps: pixels of both, of the answer and of the label, without those ignored.

    They are all of a confusion matrix that intersection over union depends on: its diagonal, and the two sums.
    """
    asked = label != VOID
    if asked.any() and int(label[asked].max()) >= classes:
        raise ValueError(f"a label is {int(label[asked].max())}; expected 0 to {classes - 1}, or {VOID} for none")
    right, N = asked & (answer == label), len(label)
    parts = [(label, right), (answer, asked), (label, asked)]
    found = []
    for values, where in parts:
        image = torch.arange(N, device=values.device)[:, None, None].expand_as(values)
        flat = image[where] * classes + values[where]
        found.append(flat.bincount(minlength=N * classes).view(N, classes))
    return torch.stack(found, dim=1).double().cpu()


def iou(counted: Tensor) -> Tensor:
    """(..., classes) of counts (..., 3, classes): intersection over union, NaN where there is none."""
    both, answered, labelled = counted.unbind(-2)
    return both / (answered + labelled - both)


def of_images(views: PixelViews, _: float) -> Tensor:
    return counts(views.maps.argmax(1), views.targets, views.maps.shape[1])


def of_warped(views: PixelViews, _: float) -> Tensor:
    """The warped images, whose labels are warped with them."""
    return counts(views.maps_of_warped.argmax(1), views.targets_of_warped, views.maps.shape[1])


def over_classes(values: Tensor, columns: Columns) -> list[Averaged]:
    """One value for every class that there is."""
    found = iou(values.sum(0))
    (there,) = (~found.isnan()).nonzero(as_tuple=True)
    return [Averaged(found[there], there, "class_index")]


def of_each_class(values: Tensor, columns: Columns) -> list[Averaged]:
    """A number for every class that there is."""
    (all_classes,) = over_classes(values, columns)
    return [
        Averaged(value[None], number[None], "class_index", f"_{int(number)}")
        for value, number in zip(all_classes.values, all_classes.numbers, strict=True)
    ]


def over_labelled(values: Tensor, columns: Columns, numbered_by: str = "labelled_index") -> list[Averaged]:
    """Of images that nothing is asked of, being void throughout, there is no value: they are left out."""
    there = ~values.isnan()
    return [Averaged(values[there], columns["index"][there], numbered_by)]


def over_images(values: Tensor, columns: Columns, numbered_by: str = "labelled_index") -> list[Averaged]:
    """The mean over the classes of each image."""
    return over_labelled(iou(values).nanmean(1), columns, numbered_by)


def _correct(views: PixelViews, _: float) -> Tensor:
    """Share of the pixels that the model knows."""
    asked = views.targets != VOID
    right = (views.maps.argmax(1) == views.targets) & asked
    return right.sum((1, 2)).double().cpu() / asked.sum((1, 2)).double().cpu()


_known = partial(Measure, unit=SHARE, trial=Trial.CLEAN, kinds=("dense",), quick=("dense",), of=of_images)
_warped = partial(Measure, unit=SHARE, trial=Trial.WARPS, kinds=("dense",), of=of_warped)
MEASURES = [
    _known(name="mean_iou", over=over_classes, is_headline=True),
    _known(name="iou_at", over=of_each_class),
    _known(name="image_iou", over=over_images, column="image_iou"),
    Measure(
        name="pixel_accuracy",
        unit=SHARE,
        trial=Trial.CLEAN,
        kinds=("dense",),
        quick=("dense",),
        of=_correct,
        over=over_labelled,
        column="pixel_accuracy",
    ),
    _warped(name="warp_mean_iou", over=over_classes, is_headline=True),
    _warped(
        name="warp_image_iou", over=partial(over_images, numbered_by="warp_labelled_index"), column="warp_image_iou"
    ),
]
