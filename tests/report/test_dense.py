"""The grid of what a segmenter says: its panels show what they are called."""

import numpy as np
import pytest
import torch
from PIL import Image

from layers.grid import random_warp_params
from report.dense import coloured, dense_figure

IMAGES = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 4, (2, 20, 24), generator=torch.Generator().manual_seed(1))
LOGITS = torch.nn.functional.one_hot(LABELS, 4).movedim(-1, 1).float()


def test_a_row_per_picture_and_two_panels_per_site(tmp_path):
    phi = random_warp_params(2, 4, 0.5)
    for name, phis, sites in (("plain", (), ()), ("dec", (phi, phi), ("image", "stage 0"))):
        dense_figure(tmp_path / f"{name}.png", IMAGES, LABELS, LOGITS, phis, sites)
    plain, dec = (Image.open(tmp_path / f"{name}.png") for name in ("plain", "dec"))
    assert dec.width == 2 * plain.width and dec.height == plain.height


def test_void_is_white_the_background_black_and_classes_differ():
    found = coloured(torch.tensor([[0, 255, 1, 2]]))
    assert (found[0, 0] == 0).all() and (found[0, 1] == 1).all()
    assert len(np.unique(found[0], axis=0)) == 4


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="phis are for 0 sites and names for 1"):
        dense_figure(tmp_path / "a.png", IMAGES, LABELS, LOGITS, (), ("image",))
    with pytest.raises(ValueError, match="expected maps of the pictures' size"):
        dense_figure(tmp_path / "a.png", IMAGES, LABELS[:, :10], LOGITS)
