"""Whether explanations of a prediction stay with the content when its size changes.

An explanation e gives every pixel a number: the gradient of a class's logit, the gradient times the pixel, or
integrated gradients, whose path begins at zero. The class is the one that the model says of the image itself. With an
image x, its content rescaled L x, the factors G and the cosine of flattened tensors:

    invariance    1/|G| sum of cos(e(L x), e(x))
    equivariance  1/|G| sum of cos(L e(x), e(L x))
    adjoint       1/|G| sum of cos(e(x), L^T e(L x))

To rescale is not orthogonal. Where a model is exactly invariant, f(L x) = f(x), the chain rule says that its gradient
at x is L^T times that at L x: so the last number is 1, and the one before is not. To divide by the growth of areas, as
is done for densities, changes no cosine. The published similarity adds 1e-4 to all entries, which makes small gradients
look alike; here it is the cosine, and 0 where one of the two is 0 everywhere.

Arrays, with E explanations, N images, G factors:
    explanations: (E,), factors: (G,), their names and values; classes: (N,), that are explained.
    invariance, equivariance, adjoint: (E, N, G).
    model: (N, G), the cosine of the class probabilities of L x and x: the invariance of what is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measure import Measure, Trial, Unit
from evaluation.study import CHUNK, Findings, Study, Subject, device_of
from layers.rescaling import rescale

FACTORS = (0.5, 2**-0.5, 2**0.5, 2.0)
PATH = 8  # places along the way from zero that gradients are integrated at

Model = Callable[[Tensor], Tensor]
Explain = Callable[[Model, Tensor, Tensor], Tensor]  # of images (B, C, H, W) and classes (B,), as large as the images
Linear = Callable[[Tensor], Tensor]


def gradient(model: Model, image: Tensor, classes: Tensor) -> Tensor:
    """Of the classes' logits."""
    with torch.enable_grad():
        asked = image.detach().requires_grad_()
        logit = model(asked).gather(1, classes[:, None]).sum()
        return torch.autograd.grad(logit, asked)[0]


def gradient_input(model: Model, image: Tensor, classes: Tensor) -> Tensor:
    """The gradient times the image."""
    return image * gradient(model, image, classes)


def integrated(model: Model, image: Tensor, classes: Tensor) -> Tensor:
    """The mean of the gradients on the way from zero to the image, times the image: their sum is the logit's rise."""
    steps = [(place + 0.5) / PATH for place in range(PATH)]
    return image * sum(gradient(model, step * image, classes) for step in steps) / PATH


EXPLAIN: dict[str, Explain] = {"gradient": gradient, "gradient_input": gradient_input, "integrated": integrated}
NUMBERS = ("invariance", "equivariance", "adjoint")


def study(model: Model, subject: Subject) -> Findings:
    """Of the first images."""
    images, _ = subject.images()
    orbit = [partial(rescale, scale=factor) for factor in FACTORS]
    parts = [_of_images(model, image.to(device_of(model)), orbit) for image in images.split(CHUNK)]
    classes, said = (torch.cat([part[number] for part in parts]) for number in (0, 1))
    found = torch.cat([part[2] for part in parts], dim=2)  # (number, E, N, G)
    arrays = {name: values.numpy() for name, values in zip(NUMBERS, found, strict=True)}
    arrays |= {"explanations": np.array([*EXPLAIN]), "factors": np.array(FACTORS)}
    arrays |= {"classes": classes.numpy(), "model": said.numpy()}
    metrics = {
        f"explanation_{number}_by_{name}": arrays[number][place].mean().item()
        for number in NUMBERS
        for place, name in enumerate(EXPLAIN)
    }
    return Findings(metrics | {"prediction_invariance": said.mean().item()}, arrays)


def similarities(explain: Explain, model: Model, image: Tensor, classes: Tensor, change: Linear) -> Tensor:
    """(3, B): invariance, equivariance and the latter with the adjoint, under one linear change."""
    own, other = explain(model, image, classes), explain(model, change(image), classes)
    return torch.stack([cosine(other, own), cosine(change(own), other), cosine(own, adjoint(change, image, other))])


def adjoint(change: Linear, like: Tensor, value: Tensor) -> Tensor:
    """L^T v of a linear change L of images like these: the gradient of <L x, v>."""
    with torch.enable_grad():
        image = torch.zeros_like(like, requires_grad=True)
        return torch.autograd.grad((change(image) * value).sum(), image)[0]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B,), of flattened tensors; 0 where one of them is 0."""
    a, b = a.double().flatten(1), b.double().flatten(1)
    return (F.normalize(a, eps=1e-300) * F.normalize(b, eps=1e-300)).sum(1)


def _of_images(model: Model, image: Tensor, orbit: Sequence[Linear]) -> tuple[Tensor, Tensor, Tensor]:
    """Their classes (B,), the model's own invariance (B, G), and all similarities (3, E, B, G)."""
    own = model(image).softmax(-1)
    classes = own.argmax(-1)
    said = torch.stack([cosine(model(change(image)).softmax(-1), own) for change in orbit], 1)
    found = [
        torch.stack([similarities(explain, model, image, classes, change) for change in orbit], -1)
        for explain in EXPLAIN.values()
    ]
    return classes.cpu(), said.cpu(), torch.stack(found, 1).cpu()


_cosine = partial(Measure, unit=Unit("cosine"), trial=Trial.STUDY)
STUDY = Study(
    name="explanations",
    run=study,
    measures=[_cosine(name=f"explanation_{number}_by") for number in NUMBERS] + [_cosine(name="prediction_invariance")],
)
