"""Figures of runs: what their tables of numbers hold, and that all their files are written."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from report.scale.__main__ import write
from report.scale.accuracy import costs, curves, scores
from report.scale.drawing import Drawing, legend_beside, mean_curve, panels, styles
from report.scale.protocol import scale_runs
from tests.report.scale.folders import write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two recipes, one of them with two seeds and in a second scenario too."""
    for seed, known in ((1, 0.8), (2, 0.6)):
        write_run(tmp_path, "plain", seed, known=known)
    write_run(tmp_path, "other", 1, known=0.4)
    write_run(tmp_path, "large", 1, known=0.5, data={"scenario": 3})
    return tmp_path


def test_a_curve_is_the_mean_over_seeds(root: Path) -> None:
    drawing = curves(scale_runs(root))
    assert drawing is not None
    plain = {row["side"]: row for row in drawing.rows if row["recipe"] == "plain"}
    assert plain[40]["accuracy"] == pytest.approx(0.7) and plain[64]["accuracy"] == pytest.approx(0.35)
    assert plain[40]["seeds"] == 2 and plain[40]["protocol"] == "mnist Mid2Rest" and len(plain) == 48
    assert [panel.get_title() for panel in drawing.figure.axes] == ["mnist Large2Small", "mnist Mid2Rest"]


def test_scores_have_a_row_per_run_and_costs_one_per_recipe(root: Path) -> None:
    runs = scale_runs(root)
    found, cost = scores(runs), costs(runs)
    assert found is not None and cost is not None
    assert sorted((row["recipe"], row["seed"], row["accuracy"]) for row in found.rows) == [
        ("large", 1, 0.25),
        ("other", 1, 0.2),
        ("plain", 1, 0.4),
        ("plain", 2, 0.3),
    ]
    (plain,) = (row for row in cost.rows if row["recipe"] == "plain")
    assert plain["accuracy"] == pytest.approx(0.35) and plain["parameters"] == 26250
    assert plain["seconds per epoch"] == pytest.approx((30 / 11 + 30 / 12) / 2)


def test_every_figure_is_written_as_pdf_and_png_with_its_numbers(root: Path, tmp_path: Path) -> None:
    written = write(scale_runs(root), tmp_path / "out")
    drawn = {path.stem for path in written if path.suffix == ".pdf"}
    assert {"sizes", "scores", "costs"} <= drawn
    for name in drawn:
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.width > 200
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        with (tmp_path / "out" / f"{name}.csv").open() as file:
            assert len([*csv.DictReader(file)]) > 0


def test_rows_may_lack_a_column(tmp_path: Path) -> None:
    Drawing("some", Figure(), [{"a": 1}, {"a": 2, "b": 3}]).write(tmp_path)
    assert (tmp_path / "some.csv").read_text() == "a,b\n1,\n2,3\n"


def test_seeds_are_averaged_where_all_have_a_value() -> None:
    places, means = mean_curve([{1.0: 0.2, 2.0: 0.4}, {2.0: 0.8, 3.0: 1.0}])
    assert places.tolist() == [2.0] and means == pytest.approx([0.6])


def test_no_two_lines_look_alike() -> None:
    looks = styles([str(number) for number in range(28)])
    assert len({tuple(look.values()) for look in looks.values()}) == 28


def test_panels_that_nothing_is_for_are_left_out() -> None:
    figure, axes = panels(5, columns=3)
    assert len(axes) == len(figure.axes) == 5


def test_a_legend_of_many_names_is_not_cut_off() -> None:
    figure, (panel,) = panels(1)
    for number in range(40):
        panel.plot([0, 1], [0, number], label=f"network {number}")
    legend_beside(figure, [panel])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height and panel.get_window_extent().width > 50


def test_the_names_of_many_networks_do_not_overlap(tmp_path: Path) -> None:
    for number in range(25):
        write_run(tmp_path, f"network{number:02}", 1, known=0.5)
    drawing = scores(scale_runs(tmp_path))
    assert drawing is not None
    drawing.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in drawing.figure.axes[0].get_yticklabels()]
    assert len(boxes) == 25 and all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
