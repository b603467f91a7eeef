"""Where warps read: against loops over single points, and what must be so."""

from __future__ import annotations

import math

import pytest
import torch

from evaluation.positions import POINTS, contrast, displacement, undone
from layers.frame import Frame
from layers.grid import WarpParams, evaluate_grid, random_warp_params

WHOLE = Frame()
FRAME = Frame(scale=(0.5, 0.8), offset=(0.3, 0.1))


def drawn(seed: int, grid_size: int = 4, strength: float = 0.6, count: int = 3) -> WarpParams:
    return random_warp_params(count, grid_size, strength, generator=torch.Generator().manual_seed(seed))


def read(phi: WarpParams, item: int, point: tuple[float, float]) -> tuple[float, float]:
    one = WarpParams(phi.x[[item]].double(), phi.y[[item]].double())
    x, y = evaluate_grid(one, torch.tensor([[point]], dtype=torch.float64))[0, 0].tolist()
    return x, y


def in_image(point: tuple[float, float], frame: Frame) -> tuple[float, float]:
    return frame.scale[0] * point[0] + frame.offset[0], frame.scale[1] * point[1] + frame.offset[1]


def lattice() -> list[tuple[float, float]]:
    along = [(k + 0.5) / POINTS for k in range(POINTS)]
    return [(x, y) for x in along for y in along]


def test_displacement_is_the_mean_distance_over_points_in_pixels() -> None:
    phi, (height, width) = drawn(0), (21, 41)
    found = displacement(phi, FRAME, (height, width)).tolist()
    for item in range(3):
        distances = []
        for point in lattice():
            (x, y), (at_x, at_y) = in_image(read(phi, item, point), FRAME), in_image(point, FRAME)
            distances.append(math.hypot((x - at_x) * (width - 1), (y - at_y) * (height - 1)))
        assert found[item] == pytest.approx(sum(distances) / POINTS**2, rel=1e-9)


@pytest.mark.parametrize("frame", [WHOLE, FRAME])
def test_what_is_undone_is_a_ratio_of_sums_over_points(frame: Frame) -> None:
    own, other, warp = drawn(1), drawn(2, 5), drawn(3, 8)
    found = undone(own, other, warp, frame).tolist()
    for item in range(3):
        left = moved = 0.0
        for point in lattice():
            canonical, before = (in_image(read(phi, item, point), frame) for phi in (own, other))
            after = read(warp, item, before)
            left += math.dist(canonical, after) ** 2
            moved += math.dist(after, before) ** 2
        assert found[item] == pytest.approx(1 - left / moved, rel=1e-9)


def test_a_point_counts_by_the_contrast_where_its_form_reads() -> None:
    own, other, warp = drawn(1), drawn(2, 5), drawn(3, 8)
    image = torch.zeros(3, 2, 64, 64)
    image[:, :, 40:50, 10:30] = torch.rand(3, 2, 10, 20, generator=torch.Generator().manual_seed(9))
    shades = contrast(image)
    for item, row, column in ((0, 10, 4), (2, 11, 3)):
        part = image[item, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double()
        expected = part.var((1, 2), correction=0).sum().sqrt()
        assert shades[item, 0, row, column].item() == pytest.approx(expected.item(), rel=1e-6)
    found = undone(own, other, warp, FRAME, shades).tolist()
    for item in range(3):
        left = moved = 0.0
        for point in lattice():
            canonical, before = (in_image(read(phi, item, point), FRAME) for phi in (own, other))
            after = read(warp, item, before)
            x, y = (min(max(value * (POINTS - 1), 0), POINTS - 1 - 1e-12) for value in canonical)
            (row, down), (column, right) = (divmod(value, 1) for value in (y, x))
            corners = shades[item, 0, int(row) : int(row) + 2, int(column) : int(column) + 2]
            weight = (
                torch.tensor([1 - down, down], dtype=torch.float64)
                @ corners
                @ torch.tensor([1 - right, right], dtype=torch.float64)
            ).item()
            left += weight * math.dist(canonical, after) ** 2
            moved += weight * math.dist(after, before) ** 2
        assert found[item] == pytest.approx(1 - left / moved, rel=1e-5)


def test_a_flat_image_has_a_share_too() -> None:
    own, other, warp = drawn(1), drawn(2, 5), drawn(3, 8)
    flat = contrast(torch.ones(3, 1, 32, 32))
    torch.testing.assert_close(undone(own, other, warp, WHOLE, flat), undone(own, other, warp, WHOLE))


def test_one_warp_for_every_image_undoes_nothing() -> None:
    """Whichever it is, and however far it reads."""
    for same in (WarpParams.identity(3, 4), drawn(4)):
        assert undone(same, same, drawn(5, 8), FRAME).tolist() == [0, 0, 0]


def test_one_form_of_an_image_and_its_warped_version_undoes_all() -> None:
    """Where the warped image stays as it is and the image is warped alike, both forms are the warped image."""
    warp = drawn(6, 8)
    assert undone(warp, WarpParams.identity(3, 4), warp, WHOLE).tolist() == pytest.approx([1, 1, 1])
    assert (undone(drawn(7), WarpParams.identity(3, 4), warp, WHOLE) < 1).all()


@pytest.mark.parametrize("separable", [False, True])
def test_the_identity_moves_nothing(separable: bool) -> None:
    still = WarpParams.identity(2, 4, separable=separable)
    assert displacement(still, FRAME, (9, 9)).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_what_is_no_number_stays_none_and_spoils_no_other_image() -> None:
    own = drawn(1)
    own.x[1, 0, 0] = torch.nan
    for values in (displacement(own, WHOLE, (9, 9)), undone(own, drawn(2), drawn(3), WHOLE)):
        assert values.isnan().tolist() == [False, True, False]
