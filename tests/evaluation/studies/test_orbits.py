"""Scores over an orbit, and the consensus of its members."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.studies import orbits
from evaluation.studies.orbits import CENTRES, FACTORS, STUDY, consensus, principal, scored, zoomed
from layers.rescaling import rescale
from tests.evaluation.stand_ins import smooth_images
from tests.evaluation.studies.stand_ins import network, subject


def told_by(table):
    """A model of two images, each all of one value: the logits stand in a table by that value."""
    return lambda image: table[image[:, 0, 0, 0].round().long()]


def test_the_consensus_is_the_mean_over_the_orbit_and_each_member_is_scored_by_it() -> None:
    """By hand: an image, and the image turned into its negative."""
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], dtype=torch.float64)
    images = torch.tensor([0.0, 1.0])[:, None, None, None]
    orbit = [lambda image: image, lambda image: image + 1]
    found = scored(told_by(probabilities.log()), images, torch.tensor([1, 0]), orbit)
    assert torch.allclose(found.scores, torch.tensor([[0.1, 0.6], [0.4, 0.2]], dtype=torch.float64))
    agreed = consensus(found.probabilities)
    assert torch.allclose(agreed, torch.tensor([[0.65, 0.35], [0.3, 0.7]], dtype=torch.float64))


@pytest.fixture
def few(monkeypatch) -> None:
    """A smaller orbit."""
    monkeypatch.setattr(orbits, "FACTORS", FACTORS[::8])
    monkeypatch.setattr(orbits, "SHIFT_FACTORS", FACTORS[::8])
    monkeypatch.setattr(orbits, "CENTRES", CENTRES[:2])


def test_a_model_that_is_invariant_has_flat_curves(few) -> None:
    """It says whether there is anything in the image."""

    def model(image):
        return torch.stack([(image.amax((1, 2, 3)) > 0.15).float(), torch.zeros(len(image)), torch.ones(len(image))], 1)

    metrics, arrays = STUDY(model, subject(3))
    for name in ("scale", "consensus", "shift", "local"):
        assert metrics[f"{name}_orbit_deviation"] == 0
    assert np.ptp(arrays["scale_scores"], axis=1).max() < 1e-6
    assert metrics["scale_orbit_score"] == pytest.approx(arrays["scale_scores"].mean())


def test_the_study_scores_every_image_as_the_model_does(few) -> None:
    model = network("standard")
    metrics, arrays = STUDY(model, subject(3))
    images, labels = subject(3).images()
    said = model(rescale(images, 2.0)).detach().double().softmax(-1)
    assert arrays["scale_scores"].shape == (3, 3) and arrays["shift_scores"].shape == (3, 3, 5)
    assert arrays["local_scores"].shape == (3, 2, 5) and arrays["consensus"].shape == (3, 3)
    own = said[range(3), labels]
    np.testing.assert_allclose(arrays["scale_scores"][:, 2], own, rtol=1e-5)
    np.testing.assert_allclose(arrays["shift_scores"][:, 2, 2], own, rtol=1e-5)
    best = arrays["consensus"].argmax(1)
    np.testing.assert_allclose(arrays["scale_consensus"][:, 2], said[range(3), best], rtol=1e-5)
    np.testing.assert_allclose(arrays["local_scores"][:, 1, 2], arrays["scale_scores"][:, 1], rtol=1e-4)
    assert metrics["scale_orbit_deviation"] == pytest.approx(arrays["scale_scores"].std(1).mean())


def test_coordinates_are_those_of_principal_components() -> None:
    scores = torch.rand(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, vectors = np.linalg.eigh(np.cov(scores.numpy().T))
    expected = (scores - scores.mean(0)).numpy() @ vectors[:, ::-1][:, :2]
    found = principal(scores).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(found.var(0, ddof=1), values[::-1][:2])
    assert principal(scores[:1]).tolist() == [[0, 0]]


def test_scores_that_are_not_finite_have_no_place() -> None:
    scores = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    broken = torch.cat([scores[:2], torch.full((1, 4), torch.nan), scores[2:]])
    found = principal(broken)
    assert found[2].isnan().all() and torch.equal(found[[0, 1, 3, 4, 5]], principal(scores))


def test_a_shift_moves_to_the_right_by_whole_pixels() -> None:
    image = smooth_images(2)
    moved = zoomed(image, 1.0, 3)
    torch.testing.assert_close(moved[..., 3:], image[..., :-3])
    torch.testing.assert_close(zoomed(image, 0.7), rescale(image, 0.7))
    torch.testing.assert_close(zoomed(image, 0.7, 2)[..., 8:-8], rescale(image, 0.7)[..., 6:-10])
