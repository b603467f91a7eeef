"""The members of an orbit: what is shown of them is what the model was given, and what it found and said."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from evaluation.studies import members
from evaluation.studies.members import LINES, STRENGTHS, STUDY, reading
from evaluation.studies.orbits import CENTRES
from layers.bump import bumped
from layers.frame import Frame
from layers.grid import WarpParams, random_warp_params, warp_grid
from layers.monotone import monotone_warp
from models.dec import DEC, Site, with_dec
from tests.evaluation.studies.stand_ins import network, subject


@pytest.fixture(scope="module")
def canonicalized():
    """A DEC with two sites, and maps that are not at their start."""
    torch.manual_seed(0)
    backbone = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    spec = DEC(sites=(Site("image", 4), Site(0, 3)), channels=(1, 4), kernel_sizes=(3,), pools=(2,), normalize=False)
    return with_dec(backbone, spec, image_size=64).eval()


@pytest.fixture
def few(monkeypatch) -> None:
    """A smaller orbit."""
    monkeypatch.setattr(members, "CENTRES", CENTRES[3:5])


def test_members_are_what_the_model_was_given_and_what_it_found_and_said(few, canonicalized) -> None:
    metrics, arrays = STUDY(canonicalized, subject(2))
    images, labels = subject(2).images()
    assert arrays["sites"].tolist() == [site.name for site in canonicalized.sites] and len(arrays["sites"]) == 2
    given = bumped(images[1:], CENTRES[4], STRENGTHS[-1])
    with torch.no_grad():
        output = canonicalized(given, return_output=True)
    np.testing.assert_allclose(arrays["probabilities"][1, 1, -1], output.logits.softmax(-1)[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(arrays["residuals"][1, 1, -1], output.residual[0], rtol=1e-3, atol=1e-6)
    low, high = images[1].min(), images[1].max()
    as_bytes = [(picture - low) / (high - low) * 255 for picture in (given, monotone_warp(given, output.phis[0]))]
    for name, expected in zip(("pictures", "form_0"), as_bytes, strict=True):
        assert arrays[name].dtype == np.uint8
        np.testing.assert_allclose(arrays[name][1, 1, -1].astype(float), expected[0], atol=0.51)
    own = arrays["probabilities"][[0, 1], :, :, labels]
    assert metrics["member_score"] == pytest.approx(own.mean())


def test_the_middle_strength_leaves_the_image_as_it_is(few) -> None:
    _, arrays = STUDY(network("standard"), subject(2))
    assert arrays["strengths"][len(STRENGTHS) // 2] == 1
    still = arrays["pictures"][:, :, len(STRENGTHS) // 2]
    np.testing.assert_array_equal(still[:, 0], still[:, 1])
    assert still.min() == 0 and still.max() == 255
    assert arrays["sites"].tolist() == [] and arrays["residuals"].shape == (2, 2, len(STRENGTHS), 0)


def test_pictures_are_small_and_keep_their_shape(few) -> None:
    images = 0.3 + 0.2 * torch.arange(256).div(255).expand(1, 3, 128, 256)
    found = members.members(lambda image: image.mean((2, 3)), images[0])
    assert found["pictures"].shape == (2, len(STRENGTHS), 3, 48, 96)
    assert found["pictures"].min() <= 1 and found["pictures"].max() >= 254  # in the image's own range


def test_a_site_reads_where_its_warp_does_within_its_frame() -> None:
    phi = random_warp_params(2, 5, 0.6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reading(phi, Frame(), (7, 9)), warp_grid(phi, (7, 9)))
    cut = reading(WarpParams.identity(1, 3), Frame((0.5, 0.25), (0.25, 0.5)), (LINES, LINES))[0]
    torch.testing.assert_close(cut[0, 0], torch.linspace(0.25, 0.75, LINES))
    torch.testing.assert_close(cut[1, :, 0], torch.linspace(0.5, 0.75, LINES))
