"""The table of a protocol: medians, spread, costs and collapsed runs, of runs that are comparable."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import yaml

from report.scale.__main__ import main
from report.scale.protocol import scale_runs
from report.scale.table import scale_table
from tests.report.scale.folders import write_run


def rows_of(root: Path) -> dict[str, dict[str, str]]:
    return {row["recipe"]: row for row in csv.DictReader(io.StringIO(scale_table(scale_runs(root), "csv")))}


def test_a_row_tells_costs_median_and_spread(tmp_path: Path) -> None:
    for seed, known in ((1, 0.9), (2, 0.5), (3, 0.8)):
        write_run(tmp_path, "plain", seed, known=known)
    row = rows_of(tmp_path)["plain"]
    assert (row["seeds"], row["parameters"], row["multiply-adds (millions)"]) == ("3", "26,250", "25")
    assert row["accuracy, median (%)"] == "40.0" and row["accuracy, mean (%)"] == "36.7 ± 10.4"
    assert row["lowest to highest (%)"] == "25.0 to 45.0"
    assert row["seconds per epoch"] == "2.50" and row["epochs"] == "12"  # 30 seconds, and the medians of 11, 12 and 13


def test_a_run_has_collapsed_that_knows_less_than_twice_chance_at_the_sizes_of_training(tmp_path: Path) -> None:
    """One that knows nothing elsewhere has not: it fails to generalize, and did learn."""
    for seed, known in ((1, 0.21), (2, 0.19), (3, 0.1)):
        write_run(tmp_path, "plain", seed, known=known)
    assert rows_of(tmp_path)["plain"]["collapsed"] == "2"


@pytest.mark.parametrize(("chance", "known", "collapsed"), [(0.5, 0.8, "0"), (0.5, 0.7, "1"), (0.1, 0.21, "0")])
def test_of_two_classes_half_of_what_chance_leaves_must_be_known(
    tmp_path: Path, chance: float, known: float, collapsed: str
) -> None:
    path = write_run(tmp_path, "plain", 1, known=known) / "summary.json"
    path.write_text(path.read_text().replace('"chance": 0.1', f'"chance": {chance}'))
    assert rows_of(tmp_path)["plain"]["collapsed"] == collapsed


def test_a_data_set_of_one_class_says_nothing_of_collapse(tmp_path: Path) -> None:
    path = write_run(tmp_path, "plain", 1, known=1.0) / "summary.json"
    path.write_text(path.read_text().replace('"chance": 0.1', '"chance": 1.0'))
    assert "collapsed" not in rows_of(tmp_path)["plain"]


def test_the_order_of_settings_and_those_that_are_null_make_no_other_protocol(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    path = write_run(tmp_path, "b", 1, known=0.9) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["b"]["data"] = {key: value for key, value in reversed(config["b"]["data"].items()) if value is not None}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    assert [*rows_of(tmp_path)] == ["a", "b"]


def test_a_setting_that_one_protocol_lacks_is_named(tmp_path: Path) -> None:
    first = write_run(tmp_path, "a", 1, known=0.9)
    write_run(tmp_path, "b", 1, known=0.9, data={"draw": "first"})
    with pytest.raises(ValueError, match=f"{first} and .* data.draw None and first"):
        rows_of(tmp_path)


def test_a_recipe_that_is_named_twice_has_its_seeds_once(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    assert [run.recipe for run in scale_runs(tmp_path, ["a", "a"])] == ["a"]


def test_runs_of_different_protocols_are_in_no_table(tmp_path: Path, capsys) -> None:
    first = write_run(tmp_path, "a", 1, known=0.9)
    other = write_run(tmp_path, "b", 1, known=0.9, data={"scenario": 3})
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--recipes", "a,b"]) == 1
    message = capsys.readouterr().err
    assert f"{first} and {other} have different protocols, data.scenario 2 and 3" in message and "--recipes" in message
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0  # a table each
    names = [path.name for path in sorted((tmp_path / "out").glob("table_*.md"))]
    assert names == ["table_mnist_Large2Small.md", "table_mnist_Mid2Rest.md"]


def test_protocols_of_one_title_have_files_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    write_run(tmp_path, "b", 1, known=0.9, data={"seed": 7})
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    names = [path.name for path in sorted((tmp_path / "out").glob("table_*.md"))]
    assert names == ["table_mnist_Mid2Rest.md", "table_mnist_Mid2Rest_2.md"]


def test_augmentation_and_places_of_files_are_no_part_of_the_protocol(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    write_run(tmp_path, "b", 1, known=0.9, data={"rescale": [0.5, 2.0], "workers": 4})
    assert [*rows_of(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("content", ["", "a: 3", "- 1", "a: {data: {}}", "a: {data: null, model: {backbone: b}}"])
def test_settings_that_are_none_are_named(tmp_path: Path, capsys, content: str) -> None:
    (write_run(tmp_path, "a", 1, known=0.9) / "config.yaml").write_text(content)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'a' / '1' / 'config.yaml'} cannot be read as a run's settings" in capsys.readouterr().err


def test_recipes_that_were_not_run_are_named(tmp_path: Path, capsys) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--recipes", "a,c"]) == 1
    assert "no finished run has the recipe 'c'; there are a" in capsys.readouterr().err
    (tmp_path / "a" / "1" / "summary.json").unlink()
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "there are no finished runs" in capsys.readouterr().err


def test_what_was_judged_by_other_items_is_in_no_common_table(tmp_path: Path, capsys) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    write_run(tmp_path, "b", 1, known=0.8, split="validation")
    write_run(tmp_path, "c", 1, known=0.7, items=20)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    names = [path.name for path in sorted((tmp_path / "out").glob("table_*.md"))]
    assert names == ["table_mnist_Mid2Rest.md", "table_mnist_Mid2Rest_2.md", "table_mnist_Mid2Rest_validation.md"]
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--recipes", "a,b"]) == 1
    assert "evaluation.split test and validation" in capsys.readouterr().err


def test_runs_about_something_else_are_left_out_and_named(tmp_path: Path, capsys) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    pixels = write_run(tmp_path, "pixels", 1, known=0.9)
    (pixels / "summary.json").write_text('{"metrics": {"mean_iou": 0.7}}')
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "no accuracy of objects: pixels\n" in capsys.readouterr().out
    assert [*rows_of(tmp_path)] == ["a"]


def test_a_run_that_was_evaluated_again_is_no_second_network(tmp_path: Path) -> None:
    """What the second evaluation studied belongs to the run whose weights it took."""
    write_run(tmp_path, "a", 1, known=0.9)
    again = write_run(tmp_path, "a_eval", 1, known=0.9)
    write_run(tmp_path, "a_eval", 2, known=0.9)  # of a run that lies elsewhere
    np.savez(again / "index.npz", sides=np.arange(3))
    first, other = scale_runs(tmp_path)
    assert (first.recipe, first.seed, other.recipe, other.seed) == ("a", 1, "a_eval", 2)
    study = first.study("index")
    assert study is not None and study["sides"].tolist() == [0, 1, 2] and other.study("index") is None
    (chosen,) = scale_runs(tmp_path, ["a"])
    assert chosen.study("index") is not None
    assert [(run.recipe, run.seed) for run in scale_runs(tmp_path, ["a_eval", "a"])] == [("a_eval", 2), ("a", 1)]


def test_an_evaluation_that_is_asked_for_by_its_name_is_a_row(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    write_run(tmp_path, "a_eval", 1, known=0.9)
    assert [run.recipe for run in scale_runs(tmp_path)] == ["a"]
    assert [run.recipe for run in scale_runs(tmp_path, ["a_eval", "a"])] == ["a_eval", "a"]


def test_nothing_is_said_to_have_collapsed_where_chance_is_not_known(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "a", 1, known=0.9)
    (folder / "summary.json").write_text('{"metrics": {"accuracy": 0.01}}')
    assert "collapsed" not in rows_of(tmp_path)["a"]
