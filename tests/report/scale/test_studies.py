"""Figures of studies: their numbers are those of the arrays, averaged as they say."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report.scale import maps, orbits
from report.scale.__main__ import main, write
from report.scale.figures import OF_ALL, OF_STUDIES
from report.scale.protocol import scale_runs
from tests.report.scale.folders import write_run

SIDES = np.arange(17, 65)


def findings(generator: np.random.Generator) -> dict[str, dict[str, Any]]:
    """What all studies leave of four images, in the shapes that they document."""
    error = generator.random((2, 4, 3, 4))
    error[0, 0, 0, 0] = np.nan  # could not be compared
    scale = SIDES[None, :, None] ** np.array([1.0, 0.5, 0.0])[None, None] * np.ones((4, 1, 1))
    return {
        "equivariance": {
            "layers": np.array(["stage1", "stage2"]),
            "operators": np.array(["bicubic", "area", "subsample", "ideal"]),
            "scales": np.array([0.5, 0.71, 0.84]),
            **{f"{weights}_{name}": error for weights in ("trained", "random") for name in ("error", "reference")},
            "compared": np.full((2, 4, 3), 9),
        },
        "crops": {
            "layers": np.array(["stage1", "stage2"]),
            "pairs": np.zeros((6, 2)),
            "error": np.arange(48.0).reshape(2, 6, 4) + 1,
            "counted": np.array([False, True, False, True, False, False]),
        },
        "index": {
            "sides": SIDES,
            "labels": np.arange(4),
            "stage1_scale": scale,
            "stage1_correlation": np.tile([1.0, 0.9, 0.0], (4, 1)),
            "stage1_slope": np.tile([1.0, 0.5, 0.0], (4, 1)),
            "mapped": np.array([17, 64]),
            "stage1_places": scale[0, [0, 47]][..., None, None] * np.ones((8, 9)),
        },
        "orbits": {
            "labels": np.arange(4),
            "consensus": np.full((4, 5), 0.2),
            "factors": np.array([0.5, 1.0, 2.0]),
            "scale_scores": generator.random((4, 3)),
            "scale_consensus": generator.random((4, 3)),
            "coordinates": generator.random((4, 2)),
            "shift_factors": np.array([0.5, 2.0]),
            "shifts": np.array([-4.0, 0.0, 4.0]),
            "shift_scores": generator.random((4, 2, 3)),
            "centres": np.array([[0.25, 0.5], [0.75, 0.5]]),
            "strengths": np.array([0.5, 1.0, 2.0]),
            "local_scores": generator.random((4, 2, 3)),
        },
        "explanations": {
            "explanations": np.array(["gradient", "integrated"]),
            "factors": np.array([0.5, 2.0]),
            **{name: generator.random((2, 4, 2)) for name in ("invariance", "equivariance", "adjoint")},
        },
        "restoration": {
            "sides": np.array([17.0, 40.0]),
            "correct": np.array([[1, 0], [0, 0], [1, 1], [0, 1]]),
            "restored_correct": np.ones((4, 2)),
        },
    }


@pytest.fixture
def found(tmp_path: Path) -> list[dict[str, dict[str, Any]]]:
    """Of two seeds of a recipe; their folder is below "runs"."""
    seeds = [findings(np.random.default_rng(seed)) for seed in (1, 2)]
    for seed, studies in enumerate(seeds):
        folder = write_run(tmp_path / "runs", "plain", seed, known=0.8)
        for name, arrays in studies.items():
            np.savez(folder / f"{name}.npz", **arrays)
    return seeds


def test_all_figures_are_drawn(found, tmp_path: Path) -> None:
    written = write(scale_runs(tmp_path / "runs"), tmp_path / "out")
    assert len([path for path in written if path.suffix == ".pdf"]) == len(OF_ALL) + len(OF_STUDIES) == 15
    assert all(path.stat().st_size > 40 for path in written)


def test_figures_of_studies_take_the_runs_of_one_protocol(found, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "plain", 7, known=0.8, data={"scenario": 3})
    arrays = findings(np.random.default_rng(7))["equivariance"]
    np.savez(folder / "equivariance.npz", **arrays | {"trained_error": np.full((2, 4, 3, 4), 9.0)})
    write(scale_runs(tmp_path / "runs"), tmp_path / "out")
    rows = {}
    for name in ("mnist_Mid2Rest", "mnist_Large2Small"):
        with (tmp_path / "out" / f"equivariance_{name}.csv").open() as file:
            rows[name] = [float(row["error"]) for row in csv.DictReader(file) if row["weights"] == "trained"]
    assert set(rows["mnist_Large2Small"]) == {9.0} and max(rows["mnist_Mid2Rest"]) < 1


def test_what_could_not_be_compared_is_left_out_of_the_error_of_crops(tmp_path: Path) -> None:
    folder, arrays = write_run(tmp_path, "plain", 1, known=0.8), findings(np.random.default_rng(1))["crops"]
    arrays["error"][-1, 1, 0] = np.nan
    np.savez(folder / "crops.npz", **arrays)
    drawing = maps.crops(scale_runs(tmp_path))
    assert drawing is not None
    assert drawing.rows[0]["error"] == pytest.approx(np.nanmean(arrays["error"][-1, [1, 3]]))


def test_runs_without_studies_have_no_figures_of_them(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "plain", 1, known=0.8)
    written = write(scale_runs(tmp_path / "runs"), tmp_path / "out")
    assert {path.stem for path in written if path.suffix == ".pdf"} == {"sizes", "scores", "costs"}


def test_what_could_not_be_compared_is_left_out_of_the_mean(found, tmp_path: Path) -> None:
    drawing = maps.equivariance(scale_runs(tmp_path / "runs"))
    assert drawing is not None and len(drawing.rows) == 2 * 2 * 4 * 3 * 2  # seeds, stages, operators, scales, weights
    (row,) = (
        row
        for row in drawing.rows
        if (row["seed"], row["layer"], row["operator"], row["scale"], row["weights"])
        == (0, "stage1", "bicubic", 0.5, "trained")
    )
    assert row["error"] == pytest.approx(found[0]["equivariance"]["trained_error"][0, 0, 0, 1:].mean())


def test_crops_count_the_pairs_that_were_not_trained_on(found, tmp_path: Path) -> None:
    """Of the last stage, pairs 1 and 3: 29 to 32 and 37 to 40."""
    drawing = maps.crops(scale_runs(tmp_path / "runs"))
    assert drawing is not None and [row["error"] for row in drawing.rows] == [34.5, 34.5]
    assert drawing.rows[0]["accuracy"] == 0.4 and drawing.rows[0]["layer"] == "stage2"


def test_the_index_is_the_geometric_mean_over_channels(found, tmp_path: Path) -> None:
    """Powers 1, 1/2 and 0 of the side have a mean power of 1/2, relative to the mean over sizes."""
    drawing = maps.index(scale_runs(tmp_path / "runs"))
    assert drawing is not None
    at = {row["side"]: row["relative scale"] for row in drawing.rows if row["seed"] == 0}
    assert at[64] / at[17] == pytest.approx((64 / 17) ** 0.5) and drawing.rows[0]["slope"] == pytest.approx(0.5)
    assert np.exp(np.mean(np.log([*at.values()]))) == pytest.approx(1)


def test_a_channel_that_falls_silent_is_left_out_of_the_index(tmp_path: Path) -> None:
    """Of the first object channel 1 says nothing at one size, and so is left out for it; channel 2 never does."""
    folder, arrays = write_run(tmp_path, "plain", 1, known=0.8), findings(np.random.default_rng(1))["index"]
    arrays["stage1_scale"][0, 3, 1] = arrays["stage1_scale"][:, :, 2] = np.nan
    arrays["stage1_correlation"][0, 1] = arrays["stage1_correlation"][:, 2] = np.nan
    np.savez(folder / "index.npz", **arrays)
    drawing = maps.index(scale_runs(tmp_path))
    assert drawing is not None
    at = {row["side"]: row["relative scale"] for row in drawing.rows}
    assert at[64] / at[17] == pytest.approx((64 / 17) ** ((4 * 1 + 3 * 0.5) / 7))
    assert drawing.rows[0]["correlation"] == pytest.approx((4 * 1 + 3 * 0.9) / 7)


def test_a_network_whose_channels_all_fall_silent_has_no_line(tmp_path: Path) -> None:
    folder, arrays = write_run(tmp_path, "plain", 1, known=0.8), findings(np.random.default_rng(1))["index"]
    np.savez(folder / "index.npz", **arrays | {"stage1_scale": np.full((4, 48, 3), np.nan)})
    drawing = maps.index(scale_runs(tmp_path))
    assert drawing is not None and all(np.isnan(row["relative scale"]) for row in drawing.rows)


def test_a_study_that_was_cut_off_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path / "runs", "plain", 1, known=0.8) / "index.npz"
    np.savez(path, **findings(np.random.default_rng(1))["index"])
    path.write_bytes(path.read_bytes()[:200])
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path} cannot be read")


def test_channels_are_in_the_order_of_their_correlation(found, tmp_path: Path) -> None:
    drawing = maps.channels(scale_runs(tmp_path / "runs"))
    assert drawing is not None and list(dict.fromkeys(row["channel"] for row in drawing.rows)) == [2, 1, 0]
    assert [row["scale"] for row in drawing.rows if row["channel"] == 0] == pytest.approx(SIDES)


def test_maps_of_channels_stand_side_by_side(found, tmp_path: Path) -> None:
    """Of two sizes of an object, of the first seed: powers 1, 1/2 and 0 of the side, of 8 x 9 places each."""
    drawing = maps.places(scale_runs(tmp_path / "runs"))
    assert drawing is not None and {row["seed"] for row in drawing.rows} == {0}
    assert [row["scale in the box"] for row in drawing.rows] == pytest.approx([17, 17**0.5, 1, 64, 8, 1])
    small, large = (panel.images[0].get_array() for panel in drawing.figure.axes if "pixels" in panel.get_title())
    assert small.shape == large.shape == (2 * 10, 2 * 11)
    assert (large[1:9, 1:10] == 64).all() and (large[1:9, 12:21] == 8).all() and (large[11:19, 1:10] == 1).all()
    assert small.mask[:, 10:12].all() and small.mask[10:, 11:].all()  # between channels, and where there is none


def test_orbits_are_averaged_over_images_and_seeds(found, tmp_path: Path) -> None:
    runs = scale_runs(tmp_path / "runs")
    both = np.concatenate([seed["orbits"]["scale_scores"] for seed in found])
    curve, shift, warp = orbits.aggregate(runs), orbits.shifted(runs), orbits.local(runs)
    assert curve is not None and shift is not None and warp is not None
    assert [row["mean"] for row in curve.rows] == pytest.approx(both.mean(0))
    assert [row["deviation"] for row in curve.rows] == pytest.approx(both.std(0))
    (row,) = (row for row in shift.rows if (row["factor"], row["shift"]) == (2.0, -4.0))
    assert row["mean"] == pytest.approx(np.mean([seed["orbits"]["shift_scores"][:, 1, 0] for seed in found]))
    (row,) = (row for row in warp.rows if (row["x"], row["strength"]) == (0.75, 2.0))
    assert row["mean"] == pytest.approx(np.mean([seed["orbits"]["local_scores"][:, 1, 2] for seed in found]))


def test_individual_curves_are_those_of_the_first_seed(found, tmp_path: Path) -> None:
    runs = scale_runs(tmp_path / "runs")
    curves, dots = orbits.individual(runs), orbits.overview(runs)
    assert curves is not None and dots is not None
    scores = found[0]["orbits"]["scale_scores"]
    assert [row["score"] for row in curves.rows if row["image"] == 3] == pytest.approx(scores[3])
    assert [row["mean"] for row in dots.rows] == pytest.approx(scores.mean(1))


def test_explanations_and_restoration_tell_their_means(found, tmp_path: Path) -> None:
    runs = scale_runs(tmp_path / "runs")
    likeness, accuracy = orbits.explanations(runs), orbits.restoration(runs)
    assert likeness is not None and accuracy is not None and len(likeness.rows) == 3 * 2 * 2
    (row,) = (
        row
        for row in likeness.rows
        if (row["similarity"], row["explanation"], row["factor"]) == ("adjoint", "integrated", 0.5)
    )
    assert row["mean"] == pytest.approx(np.mean([seed["explanations"]["adjoint"][1, :, 0] for seed in found]))
    assert [(row["side"], row["accuracy"], row["restored"]) for row in accuracy.rows] == [(17, 0.5, 1), (40, 0.5, 1)]
