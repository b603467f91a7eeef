"""The fitted temperature is the one that the labels were drawn at."""

import math

import pytest
import torch
import torch.nn.functional as F

from evaluation.temperature import fit_temperature


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(true):
    generator = torch.Generator().manual_seed(0)
    calibrated = 2 * torch.randn(20000, 5, generator=generator)
    labels = torch.multinomial(calibrated.softmax(1), 1, generator=generator).squeeze(1)
    assert fit_temperature(calibrated * true, labels) == pytest.approx(true, rel=0.03)


def test_it_is_where_the_likelihood_peaks():
    generator = torch.Generator().manual_seed(1)
    logits, labels = 3 * torch.randn(200, 4, generator=generator), torch.arange(200) % 4
    labels = torch.where(torch.rand(200, generator=generator) < 0.6, logits.argmax(1), labels)
    found = fit_temperature(logits, labels)
    best = F.cross_entropy(logits.double() / found, labels)
    assert all(F.cross_entropy(logits.double() / (found * factor), labels) > best for factor in (0.99, 1.01))
    assert fit_temperature(0.5 * logits, labels) == pytest.approx(0.5 * found, rel=1e-5)


def test_bounds():
    labels = torch.arange(30) % 3
    right = F.one_hot(labels).float()
    assert fit_temperature(10 * right, labels) == 0.05  # perfectly separated
    assert fit_temperature(1e6 * right, labels) == 0.05
    assert fit_temperature(10 * right, (labels + 1) % 3) == 20
    assert fit_temperature(-1e30 * right, labels) == 20
    assert fit_temperature(torch.ones(4, 3), labels[:4]) == 1


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.rand(3, 2), torch.zeros(2), r"logits have shape \(3, 2\) and labels \(2,\)"),
        (torch.rand(0, 2), torch.zeros(0), "N of at least 1"),
        (torch.tensor([[1.0, math.nan]]), torch.zeros(1), "not finite"),
    ],
)
def test_what_cannot_be_fitted(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, labels)
