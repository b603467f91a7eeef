"""Whether a classifier that is not equivariant can be made to agree with itself, image by image, when it is used.

    find r, |r| <= radius in every pixel, that makes sum over g of |F(g (x + r)) - F(x + r)|^2 small, and say F(x + r)

F are class probabilities, g makes the content smaller and larger. From r = 0 on, steps go down the sign of the
gradient, and back into the box. A step that does not lessen the disagreement of an image is not taken, and its next
ones are half as long: the first is as long as the box allows, and what an image needs may be a hundredth of that. No
label is looked at.

Arrays, with N objects at S sides; data without objects at many sizes have N images, and S is 1:
    sides: (S,), in pixels; NaN where there are none. trained: (S,), whether the model was trained at that side.
    labels: (N,).
    correct, restored_correct: (N, S), without and with r.
    disagreement, restored_disagreement: (N, S), the sum above divided by the number of changes.
    radius: (), in the unit of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from evaluation.measure import DISTANCE, SHARE, Measure, Trial
from evaluation.study import CHUNK, Findings, Study, Subject, device_of
from layers.rescaling import rescale

SIDES = (17, 24, 32, 40, 48, 56, 64)
FACTORS = (2**-0.5, 2**0.5)
RADIUS, STEPS = 8 / 255, 10

Model = Callable[[Tensor], Tensor]
Change = Callable[[Tensor], Tensor]


def study(model: Model, subject: Subject) -> Findings:
    """Of objects at several sides, or of single images."""
    if subject.has_sizes:
        objects = subject.objects(SIDES)
        images, labels, sides = objects.images, objects.labels, objects.sides.double()
        trained = np.isin(objects.sides.numpy(), objects.trained)
    else:
        single, labels = subject.images()
        images, sides, trained = single[:, None], torch.tensor([torch.nan], dtype=torch.float64), np.array([True])
    orbit = [partial(rescale, scale=factor) for factor in FACTORS]
    meant = labels[:, None].expand(images.shape[:2]).flatten()
    parts = [
        _of_images(model, image.to(device_of(model)), label.to(device_of(model)), orbit)
        for image, label in zip(images.flatten(0, 1).split(CHUNK), meant.split(CHUNK), strict=True)
    ]
    names = ("correct", "restored_correct", "disagreement", "restored_disagreement")
    values = (torch.cat(columns).unflatten(0, images.shape[:2]).numpy() for columns in zip(*parts, strict=True))
    arrays = dict(zip(names, values, strict=True))
    metrics = {
        "unrestored_accuracy": arrays["correct"].mean().item(),
        "restored_accuracy": arrays["restored_correct"].mean().item(),
        "disagreement": arrays["disagreement"].mean().item(),
        "restored_disagreement": arrays["restored_disagreement"].mean().item(),
    }
    arrays |= {"sides": sides.numpy(), "trained": trained, "labels": labels.numpy(), "radius": np.array(RADIUS)}
    return Findings(metrics, arrays)


def disagreement(model: Model, image: Tensor, orbit: Sequence[Change]) -> Tensor:
    """(B,): how far what is said of the changed images lies from what is said of the images."""
    own = model(image).softmax(-1)
    return torch.stack([(model(change(image)).softmax(-1) - own).square().sum(-1) for change in orbit]).mean(0)


def restoring(model: Model, image: Tensor, orbit: Sequence[Change], radius: float, steps: int) -> tuple[Tensor, Tensor]:
    """What to add to (B, C, H, W) images, no entry larger than the radius, and the disagreement that is left (B,)."""
    best = torch.zeros_like(image)
    least, slope = _with_slope(model, image, best, orbit)
    pace = image.new_full((len(image), 1, 1, 1), radius)
    for _ in range(steps):
        tried = (best - pace * slope.sign()).clamp(-radius, radius)
        values, slopes = _with_slope(model, image, tried, orbit)
        is_better = (values < least)[:, None, None, None]
        best, slope = torch.where(is_better, tried, best), torch.where(is_better, slopes, slope)
        least, pace = least.minimum(values), torch.where(is_better, pace, pace / 2)
    return best, least


def _with_slope(model: Model, image: Tensor, added: Tensor, orbit: Sequence[Change]) -> tuple[Tensor, Tensor]:
    """The disagreement (B,), and its gradient."""
    with torch.enable_grad():
        asked = added.detach().requires_grad_()
        values = disagreement(model, image + asked, orbit)
        return values.detach(), torch.autograd.grad(values.sum(), asked)[0]


def _of_images(model: Model, image: Tensor, labels: Tensor, orbit: Sequence[Change]) -> tuple[Tensor, ...]:
    """Correct and disagreement (B,) each, before and after."""
    added, left = restoring(model, image, orbit, RADIUS, STEPS)
    correct, restored = ((model(given).argmax(-1) == labels).double().cpu() for given in (image, image + added))
    return correct, restored, disagreement(model, image, orbit).double().cpu(), left.double().cpu()


_share, _distance = (partial(Measure, unit=unit, trial=Trial.STUDY) for unit in (SHARE, DISTANCE))
STUDY = Study(
    name="restoration",
    run=study,
    measures=[
        _share(name="unrestored_accuracy"),
        _share(name="restored_accuracy"),
        _distance(name="disagreement"),
        _distance(name="restored_disagreement"),
    ],
)
