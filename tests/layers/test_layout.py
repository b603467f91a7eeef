"""Layouts: to the grid and back, with prefix tokens untouched."""

from pathlib import Path

import numpy as np
import pytest
import torch

from layers.grid import WarpParams
from layers.layout import Layout
from layers.monotone import inverse_monotone_warp, monotone_warp

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("NCHW"), (2, 5, 3, 4)),
        (Layout("NHWC"), (2, 3, 4, 5)),
        (Layout("tokens"), (2, 12, 5)),
        (Layout("tokens", 5), (2, 17, 5)),
    ],
)
def test_every_layout_holds_the_same_grid(layout, shape):
    feature = torch.randn(shape)
    grid = layout.to_grid(feature, (3, 4))
    assert grid.shape == (2, 5, 3, 4)
    row, column = 2, 1
    at = {
        "NCHW": lambda: feature[:, :, row, column],
        "NHWC": lambda: feature[:, row, column],
        "tokens": lambda: feature[:, layout.num_prefix_tokens + row * 4 + column],
    }[layout.order]()
    assert torch.equal(grid[:, :, row, column], at)
    flipped = layout.on_grid(lambda image: image.flip(2), feature, (3, 4))
    assert torch.equal(layout.to_grid(flipped, (3, 4)), grid.flip(2))
    assert flipped.is_contiguous() or layout.order == "NCHW"
    if layout.order == "tokens":
        assert torch.equal(flipped[:, : layout.num_prefix_tokens], feature[:, : layout.num_prefix_tokens])


def test_reference_tokens():
    golden = {key: torch.tensor(value) for key, value in np.load(GOLDEN / "tokens.npz").items()}
    phi = WarpParams(golden["phi_x"], golden["phi_y"])
    layout = Layout("tokens", int(golden["num_prefix_tokens"]))
    for warp, expected in ((monotone_warp, "warped"), (inverse_monotone_warp, "unwarped")):
        found = layout.on_grid(lambda image, warp=warp: warp(image, phi), golden["tokens"], (7, 7))
        torch.testing.assert_close(found, golden[expected], rtol=0, atol=5e-4)


def test_tokens_that_do_not_fill_the_grid():
    with pytest.raises(ValueError, match=r"\(2, 16, 5\) does not hold 1 prefix tokens and a grid of 4 x 4"):
        Layout("tokens", 1).size_of(torch.rand(2, 16, 5), (4, 4))
    with pytest.raises(ValueError, match="is no NHWC map"):
        Layout("NHWC").size_of(torch.rand(2, 16, 5), (4, 4))
