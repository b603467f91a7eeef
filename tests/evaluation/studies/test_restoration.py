"""Restoring agreement when a classifier is used, against a search of the whole box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evaluation.studies import restoration
from evaluation.studies.restoration import STUDY, disagreement, restoring
from evaluation.study import Subject
from tests.evaluation.stand_ins import Items, chunks, smooth_images
from tests.evaluation.studies.stand_ins import network, subject

WEIGHTS = torch.tensor([[2.0, -1.0, 0.5], [-1.5, 1.0, 1.0]], dtype=torch.float64)
PAIRS = torch.tensor([[0.6, 0.1], [-0.3, 0.2], [0.5, 0.48]], dtype=torch.float64)[:, None, None]
ORBIT = [lambda image: image.flip(-1), lambda image: 0.5 * image]


def linear(image: torch.Tensor) -> torch.Tensor:
    """Of two pixels."""
    return image.flatten(1) @ WEIGHTS


def test_disagreement_is_the_mean_square_distance_to_what_is_said_of_the_image() -> None:
    (pair,) = PAIRS[:1].flatten(1).tolist()

    def said(pixels):
        powers = [math.exp(sum(x * w for x, w in zip(pixels, column, strict=True))) for column in WEIGHTS.T.tolist()]
        return [power / sum(powers) for power in powers]

    own = said(pair)
    others = [said(pair[::-1]), said([x / 2 for x in pair])]
    expected = sum((a - b) ** 2 for other in others for a, b in zip(other, own, strict=True)) / 2
    assert disagreement(linear, PAIRS[:1], ORBIT).item() == pytest.approx(expected)


def test_what_is_found_is_the_least_disagreement_of_the_whole_box() -> None:
    radius = 0.1
    line = torch.linspace(-radius, radius, 81, dtype=torch.float64)
    box = torch.cartesian_prod(line, line)[:, None, None]
    for pair in PAIRS:
        least = disagreement(linear, pair + box, ORBIT).min().item()
        added, left = restoring(linear, pair[None], ORBIT, radius, steps=40)
        before = disagreement(linear, pair[None], ORBIT).item()
        assert added.abs().max() <= radius
        assert left.item() == disagreement(linear, pair[None] + added, ORBIT).item()
        assert left.item() <= least + 0.02 * (before - least) + 1e-9


def test_with_a_radius_of_zero_nothing_is_added(monkeypatch) -> None:
    added, left = restoring(linear, PAIRS, ORBIT, 0.0, 3)
    assert torch.equal(added, torch.zeros_like(PAIRS)) and torch.equal(left, disagreement(linear, PAIRS, ORBIT))
    monkeypatch.setattr(restoration, "RADIUS", 0.0)
    monkeypatch.setattr(restoration, "SIDES", (17, 40))
    _, arrays = STUDY(network("standard"), subject(2))
    assert np.array_equal(arrays["correct"], arrays["restored_correct"])
    assert np.array_equal(arrays["disagreement"], arrays["restored_disagreement"])


def test_no_image_disagrees_more_than_before_and_each_is_restored_by_itself() -> None:
    for radius in (0.01, 0.5):
        added, left = restoring(linear, PAIRS, ORBIT, radius, 5)
        assert (left <= disagreement(linear, PAIRS, ORBIT)).all()
        alone = [restoring(linear, pair[None], ORBIT, radius, 5)[0] for pair in PAIRS]
        torch.testing.assert_close(added, torch.cat(alone))


def test_the_study_tells_what_is_known_at_every_size(monkeypatch) -> None:
    monkeypatch.setattr(restoration, "SIDES", (17, 40))
    model = network("standard")
    with torch.no_grad():
        model.backbone.fc.weight.mul_(30)  # untrained, it says the same of everything
    metrics, arrays = STUDY(model, subject(2))
    objects = subject(2).objects([17, 40])
    expected = model(objects.images.flatten(0, 1)).argmax(-1).unflatten(0, (2, 2)) == objects.labels[:, None]
    assert np.array_equal(arrays["correct"], expected.numpy())
    assert arrays["sides"].tolist() == [17, 40] and arrays["trained"].tolist() == [False, True]
    assert metrics["restored_disagreement"] < 0.5 * metrics["disagreement"]
    assert metrics["unrestored_accuracy"] == arrays["correct"].mean()
    assert all(value.grad is None for value in model.parameters())


def test_images_without_sizes_are_restored_too(monkeypatch) -> None:
    monkeypatch.setattr(restoration, "STEPS", 1)
    images = smooth_images(3, 64)
    part = Items(images, torch.arange(3), chunks(range(3), 2))
    _, arrays = STUDY(network("standard"), Subject({"test": part}, 2, 0, lambda: network("standard")))
    assert arrays["correct"].shape == (2, 1) and np.isnan(arrays["sides"]).all()
