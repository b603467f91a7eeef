"""Similarities of explanations, where they are known, and explanations against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from evaluation.studies import explanations
from evaluation.studies.explanations import EXPLAIN, NUMBERS, STUDY, adjoint, cosine, gradient, integrated, similarities
from layers.rescaling import rescale
from tests.evaluation.studies.stand_ins import network, subject, wrapped

IMAGES = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 2, 1])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_pixels(matrix: torch.Tensor):
    return lambda image: (image.flatten(1) @ matrix.T).view_as(image)


def test_of_a_model_that_is_invariant_the_adjoint_takes_the_gradients_to_each_other_and_the_change_does_not() -> None:
    """A network of A x is invariant under L = 1 + u v^T where A u = 0."""
    seen = drawn(6, 20)
    u = torch.linalg.svd(seen).Vh[-1]  # of its kernel
    change = on_pixels(torch.eye(20, dtype=torch.float64) + torch.outer(u, drawn(20, seed=1)))
    above = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def model(image):
        return above(image.flatten(1) @ seen.T)

    assert torch.allclose(model(change(IMAGES)), model(IMAGES))
    invariance, equivariance, adjoined = similarities(gradient, model, IMAGES, CLASSES, change)
    torch.testing.assert_close(adjoined, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(invariance, torch.ones(3, dtype=torch.float64))  # of this group's gradients alone
    assert equivariance.max() < 0.99


def test_of_an_orthogonal_change_both_are_the_same() -> None:
    """Turned around, an image is seen turned around: two means that a swap of halves exchanges."""
    order = torch.arange(20).flip(0)
    change = on_pixels(torch.eye(20, dtype=torch.float64)[order])
    weights = drawn(20, 3)
    weights = weights + weights[order]

    def model(image):
        return (image.flatten(1) @ weights).sin()

    found = similarities(gradient, model, IMAGES, CLASSES, change)
    torch.testing.assert_close(found[1:], torch.ones(2, 3, dtype=torch.float64))


def test_the_adjoint_of_rescaling_moves_to_the_other_side_of_a_product() -> None:
    x, y = drawn(1, 1, 9, 12), drawn(1, 1, 9, 12, seed=1)
    for factor in (0.5, 1.3):
        left = (rescale(x, factor) * y).sum()
        right = (x * adjoint(lambda image, factor=factor: rescale(image, factor), x, y)).sum()
        torch.testing.assert_close(left, right)


def test_a_gradient_is_the_slope_of_the_logit_and_integrated_gradients_sum_to_its_rise() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.Softplus(), nn.Linear(6, 3)).double()
    step = 1e-6 * drawn(3, 1, 4, 5)
    slope = (gradient(net, IMAGES, CLASSES) * step).flatten(1).sum(1)
    rise = (net(IMAGES + step) - net(IMAGES)).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(slope, rise, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(EXPLAIN["gradient_input"](net, IMAGES, CLASSES), IMAGES * gradient(net, IMAGES, CLASSES))
    total = integrated(net, IMAGES, CLASSES).flatten(1).sum(1)
    whole = (net(IMAGES) - net(0 * IMAGES)).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-4)


def test_a_cosine_does_not_depend_on_lengths_and_is_zero_with_nothing() -> None:
    a = drawn(2, 1, 3, 3)
    torch.testing.assert_close(cosine(a, 1e-9 * a), torch.ones(2, dtype=torch.float64))
    assert cosine(a, 0 * a).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["stir2_standard", "test_resnet"])
def test_the_study_explains_every_image_and_leaves_the_model_alone(name, monkeypatch) -> None:
    monkeypatch.setattr(explanations, "FACTORS", (0.5, 1.0))
    monkeypatch.setattr(explanations, "PATH", 2)
    model = wrapped(name, num_classes=3, in_chans=1)
    metrics, arrays = STUDY(model, subject(2))
    assert all(arrays[number].shape == (3, 2, 2) for number in NUMBERS) and arrays["model"].shape == (2, 2)
    assert all(np.allclose(arrays[number][..., 1], 1) for number in NUMBERS)  # the factor 1 changes nothing
    assert metrics["explanation_adjoint_by_gradient"] == pytest.approx(arrays["adjoint"][0].mean())
    assert metrics.keys() - {"prediction_invariance"} == {f"explanation_{a}_by_{b}" for a in NUMBERS for b in EXPLAIN}
    image = subject(2).images()[0][:1]
    expected = similarities(gradient, model, image, model(image).argmax(-1), lambda one: rescale(one, 0.5))[:, 0]
    np.testing.assert_allclose([arrays[number][0, 0, 0] for number in NUMBERS], expected.detach(), rtol=1e-3)
    assert all(value.grad is None for value in model.parameters())


def test_the_class_is_that_of_the_image_itself(monkeypatch) -> None:
    monkeypatch.setattr(explanations, "PATH", 1)
    monkeypatch.setattr(explanations, "FACTORS", (0.5,))
    model = network("standard")
    _, arrays = STUDY(model, subject(3))
    assert arrays["classes"].tolist() == model(subject(3).images()[0]).argmax(-1).tolist()
