"""Local warps enlarge or shrink their centre, and fold nowhere."""

from __future__ import annotations

import pytest
import torch

from layers.bump import bump, bumped
from layers.grid import warp_grid
from layers.inverse import fold_mask
from tests.evaluation.stand_ins import smooth_images

CENTRES = tuple((x, y) for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75))


@pytest.mark.parametrize("centre", CENTRES)
def test_a_bump_enlarges_its_centre_and_nothing_folds(centre) -> None:
    size = (65, 65)
    x, y = (round(64 * part) for part in centre)
    growths = []
    for strength in (0.5, 1.0, 2.0):
        grid = warp_grid(bump(centre, strength), size)[0] * 64
        steps = grid[0, y, x + 1] - grid[0, y, x - 1], grid[1, y + 1, x] - grid[1, y - 1, x]
        growths.append([2 / step.item() for step in steps])
        assert not fold_mask(bump(centre, strength), size).any()
    assert max(growths[0]) < 0.8 and growths[1] == pytest.approx([1, 1], abs=1e-4) and min(growths[2]) > 1.3
    image = smooth_images(1, 64)
    torch.testing.assert_close(bumped(image, centre, 1.0), image, atol=1e-5, rtol=0)


def test_other_knots_stand_for_the_same_bump() -> None:
    """More of them draw it more finely; the places that are read hardly move."""
    coarse, fine = (warp_grid(bump((0.4, 0.6), 1.5, knots), (33, 33)) for knots in (9, 17))
    assert bump((0.4, 0.6), 1.5, 17).x.shape == (1, 17, 16)
    moved = (fine - warp_grid(bump((0.4, 0.6), 1.0), (33, 33))).abs().max()
    assert (coarse - fine).abs().max() < 0.2 * moved


@pytest.mark.parametrize(("strength", "knots", "message"), [(0.0, 9, "strength is 0.0"), (2.0, 1, "grid_size is 1")])
def test_what_is_no_bump_is_refused(strength: float, knots: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bumped(torch.zeros(1, 1, 8, 8), (0.5, 0.5), strength, knots)
