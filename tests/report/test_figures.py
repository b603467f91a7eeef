"""The figure is written, its lines lie where the warp reads, and no global state of matplotlib is touched."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.image import imread

from layers.monotone import WarpParams, monotone_warp, random_warp_params, warp_grid
from report.figures import canonical_figure, lines_of, orbit_figure, scale_curve, scale_figure
from tests.evaluation.stand_ins import smooth_images


def test_a_row_per_image_and_two_columns_per_site(tmp_path):
    images = 40 * smooth_images(3, channels=3) - 20
    phis = [random_warp_params(3, size, 0.5, generator=torch.Generator().manual_seed(size)) for size in (4, 6)]
    phis[0].x.requires_grad_()
    canonical = [monotone_warp(images, phi) for phi in phis]
    canonical_figure(tmp_path / "two.png", images, phis, canonical, titles=["image", "stage 0"], row_titles="abc")
    canonical_figure(tmp_path / "one.png", images[:, :1], phis[1], canonical[1][:, :1])
    two, one = imread(tmp_path / "two.png"), imread(tmp_path / "one.png")
    assert two.shape[1] > 1.7 * one.shape[1] and two.std() > 0.05
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_lines_are_the_grid_in_pixels():
    (grid,) = warp_grid(random_warp_params(1, 5, 0.5, generator=torch.Generator().manual_seed(0)), (9, 13))
    rows_and_columns = lines_of(grid, 5).get_segments()
    assert len(rows_and_columns) == 10
    np.testing.assert_allclose(rows_and_columns[1][:, 0], grid[0, 2] * 12, rtol=1e-6)  # the second of rows 0, 2, ..., 8
    np.testing.assert_allclose(rows_and_columns[6][:, 1], grid[1, :, 3] * 8, rtol=1e-6)
    (straight,) = warp_grid(WarpParams.identity(1, 5), (9, 13))
    np.testing.assert_allclose(lines_of(straight, 5).get_segments()[2], [(x, 4) for x in range(13)], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phis": []}, "phis are for 0 sites and canonical_images for 1"),
        ({"images": torch.rand(2, 2, 8, 8)}, r"\(2, 2, 8, 8\); expected \(B, 1 or 3, H, W\)"),
        ({"images": torch.rand(3, 1, 8, 8)}, "must be for 3 images"),
        ({"titles": ["a", "b"]}, "titles has 2 entries; expected 1"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, change, message):
    options = {
        "images": torch.rand(2, 1, 8, 8),
        "phis": WarpParams.identity(2, 4),
        "canonical_images": torch.rand(2, 1, 8, 8),
    }
    with pytest.raises(ValueError, match=message):
        canonical_figure(tmp_path / "figure.png", **(options | change))


def test_the_figure_has_a_line_per_model(tmp_path):
    metrics = {"top1_at_1.3": 0.5, "top1_at_0.7": 0.25, "top5_at_1.3": 1.0, "top1_at_1": 0.75, "top1": 0.5}
    curve = scale_curve(metrics)
    assert list(curve.items()) == [(0.7, 0.25), (1.0, 0.75), (1.3, 0.5)]
    assert scale_curve(metrics, "top5") == {1.3: 1.0} and scale_curve({"top1": 0.5}) == {}
    for count in (1, 2):
        scale_figure(
            tmp_path / f"{count}.png", dict(list({"base": curve, "dem": {0.7: 0.5, 1.0: 0.5}}.items())[:count])
        )
    digits = {"accuracy_at_0.4": 0.5, "accuracy_at_2": 0.25, "warp_accuracy_at_0.1": 1.0, "accuracy_over_scales": 0.4}
    assert scale_curve(digits, "accuracy") == {0.4: 0.5, 2.0: 0.25} and scale_curve(digits, "warp_accuracy") == {0.1: 1}
    one, two = imread(tmp_path / "1.png"), imread(tmp_path / "2.png")
    assert one.shape[1] > 600 and one.std() > 0.05
    assert one.shape != two.shape or (one != two).any()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_an_orbit_has_a_row_of_members_and_one_per_method(tmp_path):
    members = 3 * smooth_images(4, channels=3)
    forms = {"still\nspread 0": members[:1].expand(4, -1, -1, -1), "plain": members[:, :1, :12, :12]}
    orbit_figure(tmp_path / "two.png", members, forms)
    orbit_figure(tmp_path / "one.png", members[:2].requires_grad_(), {"plain": members[:2]})
    two, one = imread(tmp_path / "two.png"), imread(tmp_path / "one.png")
    assert two.shape[1] > 1.7 * one.shape[1] and two.shape[0] > 1.3 * one.shape[0] and two.std() > 0.05
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_panels_of_an_orbit_show_its_images(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "imshow", lambda axes, image, **_: drawn.append((axes.get_subplotspec().num1, image)))
    members, forms = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 2, 2)
    orbit_figure(tmp_path / "figure.png", members, {"a": forms})
    assert [number for number, _ in drawn] == list(range(6))  # row by row
    for (_, shown), image in zip(drawn, [*members, *forms], strict=True):
        np.testing.assert_allclose(shown, ((image - image.min()) / (image.max() - image.min()))[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("members", "rows", "message"),
    [
        (torch.rand(2, 3, 8, 8), {}, "rows is empty; expected the canonical forms of at least one method"),
        (torch.rand(2, 3, 8, 8), {"members": torch.rand(2, 3, 8, 8)}, "rows has a row that is called members"),
        (
            torch.rand(2, 4, 8, 8),
            {"a": torch.rand(2, 3, 8, 8)},
            r"members has shape \(2, 4, 8, 8\); expected \(M, 1 or 3",
        ),
        (torch.rand(2, 3, 8, 8), {"a": torch.rand(3, 3, 8, 8)}, r"a has shape \(3, 3, 8, 8\); .* M the same in all"),
        (torch.rand(2, 3, 8, 8), {"a": torch.rand(3, 8, 8)}, r"a has shape \(3, 8, 8\); expected"),
    ],
)
def test_what_is_no_orbit(tmp_path, members, rows, message):
    with pytest.raises(ValueError, match=message):
        orbit_figure(tmp_path / "figure.png", members, rows)


def test_the_band_of_training_is_shaded(tmp_path):
    """Over its width: one of 1 has twice the pixels of one of 0.5."""
    curves = {"base": {0.5: 0.25, 1.0: 0.75, 2.0: 0.5}}
    pictures = []
    for number, band in enumerate((None, (0.5, 1.0), (1.0, 2.0))):
        scale_figure(tmp_path / f"{number}.png", curves, axis="scale of all digits", band=band)
        pictures.append(imread(tmp_path / f"{number}.png")[..., :3].min(-1))
    narrow, wide = (((pictures[0] == 1) & (shaded < 1)).sum() for shaded in pictures[1:])
    assert 1.8 < wide / narrow < 2.2
    with pytest.raises(ValueError, match=r"band is \(2.0, 1.0\); expected \(low, high\) with low <= high"):
        scale_figure(tmp_path / "never.png", curves, band=(2.0, 1.0))
