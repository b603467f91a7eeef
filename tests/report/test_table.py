"""Tables over run folders that are written here, against numbers worked out by hand."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from report.bootstrap import paired_bootstrap
from report.table import Cell, collect, main, render, table

ROOT = Path(__file__).parents[2]


def write_run(root, recipe, seed, items=None, **metrics):
    folder = root / recipe / str(seed)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("written when a run begins")
    if metrics:
        summary = {"recipe": recipe, "seed": seed, "metrics": metrics, "seconds": 60 + seed, "commit": "abc"}
        (folder / "summary.json").write_text(json.dumps(summary))
    if items:
        np.savez(folder / "items.npz", **items)
    return folder


@pytest.fixture
def root(tmp_path):
    write_run(tmp_path, "vit_b&w", 70, accuracy=0.90, warp_invariance_error=0.2, local_scale_flips=0.5)
    write_run(tmp_path, "vit_b&w", 71, accuracy=0.94, warp_invariance_error=0.3)
    write_run(tmp_path, "vit_b&w", 9)
    write_run(tmp_path, "dem_vit", 70, accuracy=0.97, warp_invariance_error=0.1234567, residual=0.25)
    (write_run(tmp_path, "dem_vit", 72) / "summary.json").write_text('{"metrics": {"accur')
    write_run(tmp_path, "broken", 1)
    (tmp_path / "suite" / "figures").mkdir(parents=True)
    (tmp_path / "suite" / "70").mkdir()
    (tmp_path / "suite" / "70" / "table.md").write_text("of all recipes")
    (tmp_path / "table.md").write_text("nothing")
    return tmp_path


def test_runs_are_collected(root):
    found = [(run.recipe, run.seed, run.metrics is not None) for run in collect(root)]
    assert found == [
        ("broken", 1, False),
        ("dem_vit", 70, True),
        ("dem_vit", 72, False),
        ("vit_b&w", 9, False),
        ("vit_b&w", 70, True),
        ("vit_b&w", 71, True),
    ]


def test_rows_by_hand(root):
    broken, dem, vit = table(collect(root), ["accuracy", "local_scale_flips", "seconds"])
    assert vit.cells["accuracy"] == Cell(pytest.approx(0.92), pytest.approx(0.04 / 2**0.5), 2)
    assert vit.cells["local_scale_flips"] == Cell(0.5, None, 1)
    assert vit.cells["seconds"] == Cell(130.5, pytest.approx(0.5**0.5), 2)
    assert dem.cells["accuracy"] == Cell(0.97, None, 1) and dem.cells["local_scale_flips"] is None
    assert (vit.seeds, vit.unfinished, vit.missing) == ((70, 71), (9,), ())
    assert (dem.seeds, dem.unfinished, dem.missing) == ((70,), (72,), (71,))
    assert (broken.seeds, broken.unfinished, broken.missing) == ((), (1,), (70, 71))
    ordered = table(collect(root), ["accuracy"], ["vit_b&w", "dem_vit"])
    assert [row.recipe for row in ordered] == ["vit_b&w", "dem_vit"]


NOTES = """Mean ± sample standard deviation over seeds.
vit_b&w: seeds unfinished 9.
dem_vit: seeds unfinished 72; missing 71."""


def test_text(root):
    rows = table(collect(root), ["accuracy", "local_scale_flips", "warp_invariance_error"], ["vit_b&w", "dem_vit"])
    assert (
        render(rows)
        == f"""\
recipe   seeds  accuracy (%)  local_scale_flips (%)  warp_invariance_error
-------  -----  ------------  ---------------------  ---------------------
vit_b&w      2  92.00 ± 2.83          50.00 (n = 1)        0.2500 ± 0.0707
dem_vit      1         97.00                      -                 0.1235

{NOTES}
"""
    )


def test_markdown(root):
    rows = table(collect(root), ["accuracy", "warp_invariance_error"], ["vit_b&w", "dem_vit"])
    body, _, notes = render(rows, "markdown").partition("\n\n")
    assert body.splitlines() == [
        "| recipe | seeds | accuracy (%) | warp_invariance_error |",
        "| --- | ---: | ---: | ---: |",
        "| vit_b&w | 2 | 92.00 ± 2.83 | 0.2500 ± 0.0707 |",
        "| dem_vit | 1 | 97.00 | 0.1235 |",
    ]
    assert notes.split("\n\n") == [*NOTES.splitlines()[:2], NOTES.splitlines()[2] + "\n"]


def test_latex(root):
    rows = table(collect(root), ["accuracy", "warp_invariance_error"], ["vit_b&w", "dem_vit"])
    lines = render(rows, "latex").splitlines()
    assert lines[:7] == [
        r"\begin{tabular}{lrrr}",
        r"\hline",
        r"recipe & seeds & accuracy (\%) & warp\_invariance\_error \\",
        r"\hline",
        r"vit\_b\&w & 2 & 92.00 $\pm$ 2.83 & 0.2500 $\pm$ 0.0707 \\",
        r"dem\_vit & 1 & 97.00 & 0.1235 \\",
        r"\hline",
    ]
    assert lines[7] == r"\end{tabular}" and r"\par vit\_b\&w: seeds unfinished 9." in lines


def test_csv_holds_plain_numbers(root):
    rows = table(collect(root), ["accuracy", "local_scale_flips"], ["vit_b&w", "dem_vit"])
    vit, dem = csv.DictReader(io.StringIO(render(rows, "csv")))
    assert vit["recipe"] == "vit_b&w" and vit["seeds"] == "70 71" and vit["unfinished"] == "9"
    assert float(vit["accuracy_mean"]) == pytest.approx(0.92)
    assert float(vit["accuracy_std"]) == pytest.approx(0.0282843, rel=1e-5)
    assert vit["accuracy_n"] == "2" and vit["local_scale_flips_n"] == "1" and vit["local_scale_flips_std"] == ""
    assert dem["local_scale_flips_mean"] == "" and dem["local_scale_flips_n"] == "0"


def test_the_command(root, capsys):
    assert main([str(root), "--recipes", "dem_vit, vit_b&w"]) == 0
    text, told = capsys.readouterr()
    path = root / "dem_vit" / "72" / "summary.json"  # of those that count as unfinished, the one that has a file
    assert told == f"{path} cannot be read; its run counts as unfinished\n"
    assert text.splitlines()[0].split() == [
        *("recipe", "seeds", "accuracy", "(%)", "warp_invariance_error", "local_scale_flips", "(%)"),
        *("residual", "seconds"),
    ]
    file = root / "out.csv"
    assert main([str(root), "--metrics", "residual", "--format", "csv", "--output", str(file)]) == 0
    assert capsys.readouterr().out == "" and file.read_text().splitlines()[2] == "dem_vit,70,72,0.25,,1"


def test_metrics_that_nobody_described_are_shown_and_minor_ones_are_not(tmp_path, capsys):
    write_run(tmp_path, "a", 1, loss=0.5, nll=0.25)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.split()[:4] == ["recipe", "seeds", "seconds", "loss"]
    assert main([str(tmp_path), "--metrics", "nll"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["recipe", "seeds", "nll"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{root}/none"], "none is no folder"),
        (["{root}/suite"], "suite holds no runs; expected <recipe>/<seed>/summary.json below it"),
        (["{root}/table.md"], "table.md is no folder"),
        (["{root}", "--metrics", "acuracy"], "no run has the metric 'acuracy'; there are accuracy, local_scale_flips"),
        (["{root}", "--recipes", "vit"], "no run has the recipe 'vit'; there are broken, dem_vit, vit_b&w"),
        (["{root}", "--compare", "vit", "dem_vit"], "no run has the recipe 'vit'"),
        (["{root}", "--compare", "vit_b&w", "dem_vit"], "no seed in common with items.npz: none and none"),
        (["{root}", "--output", "{root}/none/file"], "No such file"),
    ],
)
def test_what_cannot_be_shown_is_one_line(root, capsys, words, message):
    (root / "dem_vit" / "72" / "summary.json").unlink()  # which would have a line of its own
    assert main([word.format(root=root) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "error: " in err and message in err


def test_the_module_runs(tmp_path):
    command = [sys.executable, "-m", "report.table", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr.count("\n") == 1 and "holds no runs" in found.stderr


def test_objects_of_other_sizes_are_not_compared_though_their_numbers_agree(tmp_path, capsys):
    for recipe, scenario in (("plain", 1), ("dem", 3)):
        write_run(tmp_path, recipe, 70, {"index": np.arange(4), "correct": np.ones(4)}, accuracy=0.5)
        config = {"data": {"name": "stir/mnist", "scenario": scenario}, "model": {"backbone": "stir2_standard"}}
        (tmp_path / recipe / "70" / "config.yaml").write_text(yaml.safe_dump({recipe: config}))
    assert main([str(tmp_path), "--compare", "dem", "plain"]) == 2
    assert "were not evaluated on the same items: data.scenario 3 and 1" in capsys.readouterr().err


def test_two_recipes_are_compared_on_the_seeds_of_both(tmp_path, capsys):
    generator = np.random.default_rng(0)
    values = {}
    for recipe, seeds in (("plain", (70, 71, 72)), ("dem", (70, 71, 73))):
        for seed in seeds:
            correct = (generator.random(60) < (0.9 if recipe == "dem" else 0.6)).astype(float)
            values[recipe, seed] = correct
            scaled = {"local_scale_error": generator.random(8), "local_scale_index": np.arange(8)}
            write_run(tmp_path, recipe, seed, {"index": np.arange(60), "correct": correct, **scaled}, accuracy=0.5)
    assert main([str(tmp_path), "--compare", "dem", "plain", "--format", "csv"]) == 0
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    expected = paired_bootstrap(*([values[recipe, seed] for seed in (70, 71)] for recipe in ("dem", "plain")))
    assert first["metric"] == "correct" and first["items"] == "60" and first["seeds"] == "70 71"
    assert {name: float(first[name]) for name in expected} == expected
    assert float(first["dem"]) - float(first["plain"]) == pytest.approx(expected["difference"])
    assert second["metric"] == "local_scale_error" and second["items"] == "8"

    assert main([str(tmp_path), "--compare", "dem", "plain", "--metrics", "correct"]) == 0
    text = capsys.readouterr().out
    low, high = (f"{100 * expected[end]:+.2f}" for end in ("low", "high"))
    assert f"{100 * expected['difference']:+.2f}  {low} to {high}" in text
    assert text.endswith("Paired bootstrap over items; mean of seeds 70, 71.\n") and "local_scale" not in text

    np.savez(tmp_path / "dem" / "71" / "items.npz", index=np.arange(1, 61), correct=np.ones(60))
    assert main([str(tmp_path), "--compare", "dem", "plain"]) == 2
    assert "dem and plain were not evaluated on the same items: their index differ" in capsys.readouterr().err
    (tmp_path / "dem" / "71" / "items.npz").write_bytes(b"PK\x03\x04 cut off")
    assert main([str(tmp_path), "--compare", "dem", "plain"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
