"""What a page says: the numbers of the tables, what is missing, and no text of a run that a browser would run."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluation.studies import members as study
from report.__main__ import main
from report.page.explorer import explorer
from report.page.members import walks
from report.page.orbits import failures
from report.page.page import page, sections
from report.page.training import training
from report.runs import collect_all
from report.table import headline, render, table
from tests.evaluation.studies.stand_ins import network, subject
from tests.report.page.folders import STRENGTHS, write_run


class Cells(HTMLParser):
    """The rows of all tables, as lists of the texts of their cells."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.is_open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.is_open = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.is_open = self.is_open and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.is_open:
            self.rows[-1][-1] += data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path, "plain", 70, 0.5)
    write_run(tmp_path, "plain", 71, 0.6)
    write_run(tmp_path, "dec", 70, 0.9, ("image", "layer1"))
    return tmp_path


def named(root: Path, *places: str, **options: str):
    return {part.name: part for part in sections(collect_all([root / place for place in places or ("",)]), **options)}


def test_its_numbers_are_those_of_the_tables_to_the_digit(root: Path) -> None:
    runs = collect_all([root])
    shown = Cells(named(root)["results"].html()).rows
    lines = [line for line in render(table(runs, headline(runs)), "markdown").splitlines() if line.startswith("| ")]
    wanted = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    assert len(wanted) == 3 and all(row in shown for row in wanted)
    assert next(row for row in shown if row[0] == "plain")[:3] == ["plain", "2", "55.00 ± 7.07"]


def test_differences_have_intervals_against_the_baseline(root: Path) -> None:
    shown = Cells(named(root, baseline="plain")["results"].html()).rows
    (row,) = (row for row in shown if row[0] == "correct (%)")
    both = [np.load(root / name / "70" / "items.npz")["correct"].mean() for name in ("dec", "plain")]
    assert row[1:4] == [f"{100 * both[0]:.2f}", f"{100 * both[1]:.2f}", f"{100 * (both[0] - both[1]):+.2f}"]
    with pytest.raises(ValueError, match="baseline is 'base'; expected one of dec, plain"):
        sections(collect_all([root]), "base")


def test_settings_that_differ_are_told_and_others_counted(root: Path) -> None:
    shown = named(root)["settings"].html()
    assert Cells(shown).rows == [["setting", "dec", "plain"], ["train.backbone_lr", "0.9", "0.5"]]
    assert "2 others are the same." in shown


def test_curves_are_in_the_unit_of_their_tables(root: Path) -> None:
    part = named(root)["curves"]
    rows = part.charts["curves-warp_accuracy_at"]["data"]["values"]
    (one,) = (row for row in rows if row["recipe"] == "plain" and row["x"] == 0.25)
    assert one["y"] == pytest.approx(30) and one["high"] - one["y"] == pytest.approx(100 * 0.1 / 2**0.5)
    assert ["0.25", "65.00", "30.00 ± 7.07"] in Cells(part.body).rows
    assert {"steps-accuracy_after", "steps-residual_after"} == named(root)["steps"].charts.keys()


def test_training_has_every_logged_value_as_a_mean_over_seeds(root: Path) -> None:
    (root / "plain" / "71" / "metrics.jsonl").open("a").write('{"epoch": 4, "train_lo')  # cut off
    part = training(collect_all([root]), ["dec", "plain"])
    lines = part.data["training"]["lines"].splitlines()
    assert "0,1,2,0.275" in lines and "1,1,3,23.5" in lines and len(lines) == 1 + 2 * 2 * 3
    assert part.charts["training"]["params"][1]["value"] == ["train_loss", "train_task"]


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("summary.json", "dec: seeds unfinished 70."),
        ("items.npz", "dec and plain have no seed in common with items.npz"),
        ("metrics.jsonl", "Without metrics.jsonl a run lacks its training."),
        ("config.yaml", "There are no two recipes with a readable config.yaml"),
        ("members.npz", "Without members.npz a run lacks its orbits"),
    ],
)
def test_a_page_says_what_is_missing(root: Path, lost: str, told: str) -> None:
    shutil.rmtree(root / "plain" / "71")
    (root / "dec" / "70" / lost).unlink()
    text = page(sections(collect_all([root]), "plain"))
    assert told in text and [row[-1] for row in Cells(text).rows if row[:2] == ["dec", "70"]] == [lost]


@pytest.mark.parametrize("lost", ["summary.json", "items.npz", "metrics.jsonl", "config.yaml", "members.npz"])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_what_was_cut_off_is_told_as_what_is_missing(root: Path, lost: str, kept: float) -> None:
    shutil.rmtree(root / "plain" / "71")
    path = root / "dec" / "70" / lost
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))] if lost != "config.yaml" else b"dec: {train: [")
    text = page(sections(collect_all([root]), "plain"))
    known = lost == "metrics.jsonl" and kept  # the lines before the one that was cut off are shown
    assert [row[-1] for row in Cells(text).rows if row[:2] == ["dec", "70"]] == ["nothing" if known else lost]


@pytest.mark.parametrize("name", ["probabilities", "residuals", "grid_0", "form_0"])
def test_a_model_that_diverged_is_told_and_the_others_are_shown(root: Path, name: str) -> None:
    path = root / "dec" / "70" / "members.npz"
    arrays = {key: value.astype(float) if key == name else value for key, value in np.load(path).items()}
    arrays[name].flat[0] = np.nan
    np.savez(path, **arrays)
    found, notes = walks(collect_all([root]))
    assert [walk.recipe for walk in found] == ["plain"]
    assert notes == [f"{path} is left out: values of {name} are not finite, so the model has diverged."]
    np.savez(path, **arrays | {name: arrays[name][:1]})
    assert f"{name} has shape" in walks(collect_all([root]))[1][0]


def test_a_metric_that_is_no_number_is_shown_and_not_drawn(root: Path) -> None:
    path = root / "plain" / "70" / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"] |= {"accuracy": float("nan"), "warp_accuracy_at_0.25": float("inf")}
    path.write_text(json.dumps(summary))
    parts = named(root)
    assert next(row for row in Cells(parts["results"].html()).rows if row[0] == "plain")[2] == "nan ± nan"
    rows = parts["curves"].charts["curves-warp_accuracy_at"]["data"]["values"]
    assert not [row for row in rows if row["recipe"] == "plain" and row["x"] == 0.25]
    page(list(parts.values()))


def test_a_folder_with_nothing_but_settings_makes_a_page(root: Path) -> None:
    for name in ("summary.json", "items.npz", "metrics.jsonl", "members.npz"):
        (root / "dec" / "70" / name).unlink()
    text = page(sections(collect_all([root / "dec" / "70"])))
    for said in ("No run is finished", "No run has a metrics.jsonl", "No run kept members of orbits"):
        assert said in text


def test_folders_of_runs_recipes_and_above_are_taken(root: Path, tmp_path: Path) -> None:
    twice = Path(os.path.relpath(root / "plain" / "70"))
    runs = collect_all([root / "plain", root / "dec" / "70", twice])
    assert [(run.recipe, run.seed) for run in runs] == [("plain", 70), ("plain", 71), ("dec", 70)]
    elsewhere = root / "elsewhere"
    shutil.copytree(root / "dec" / "70", elsewhere)
    assert [(run.recipe, run.seed) for run in collect_all([elsewhere])] == [("dec", 70)]
    shutil.copytree(root / "dec", root / "dec_eval")  # as evaluation alone writes it, with the recipe's own name inside
    assert [run.recipe for run in collect_all([root / "dec", root / "dec_eval" / "70"])] == ["dec", "dec_eval"]
    with pytest.raises(ValueError, match="are both dec with seed 70; expected one of them"):
        collect_all([elsewhere, root / "dec"])
    (elsewhere / "summary.json").unlink()
    with pytest.raises(ValueError, match="that tells its seed, nor is it named"):
        collect_all([elsewhere])


def test_names_are_text_and_no_code(root: Path) -> None:
    evil = "<script>alert(1)<img>"
    (root / "dec").rename(root / evil)
    text = page(sections(collect_all([root / evil / "70", root / "plain"])))
    assert evil not in text and "&lt;script&gt;alert(1)" in text
    assert len(re.findall("<script", text)) - text.count('"<script') == 4


def test_models_that_saw_other_pictures_are_left_out(root: Path) -> None:
    path = root / "plain" / "70" / "members.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"pictures": 255 - arrays["pictures"]})
    found, notes = walks(collect_all([root]))
    assert [walk.recipe for walk in found] == ["dec"]
    assert notes == ["plain is left out: its pictures are not those of dec."]
    np.savez(path, **{name: value for name, value in arrays.items() if name != "labels"})
    assert "70/members.npz cannot be read: it has no labels." in walks(collect_all([root / "plain" / "70"]))[1][0]


def test_failures_are_wrong_and_the_surest(root: Path) -> None:
    found, _ = walks(collect_all([root / "plain" / "70"]))
    said, labels = found[0].arrays["probabilities"], found[0].arrays["labels"]
    said[...] = 0.1
    said[0, 4, 2, 0], said[0, 1, 1, 2], said[1, ..., labels[1]] = 0.8, 0.7, 0.9
    text = failures(found).html()
    assert "Image 1: class 3 is taken for 0 (80 %); warp about (0.5, 0.5), strength 2" in text
    assert "Image 2:" not in text
    said[1, 0, 0, 4], said[1, 0, 0, labels[1]] = 0.95, 0
    text = failures(found).html()
    assert 0 < text.index("Image 2: class 1 is taken for 4 (95 %)") < text.index("Image 1:")


def test_what_the_study_writes_is_what_the_page_reads(root: Path) -> None:
    _, arrays = study.STUDY(network("standard"), subject(2))
    np.savez(root / "plain" / "70" / "members.npz", **arrays)
    found, notes = walks(collect_all([root / "plain" / "70"]))
    data = explorer(found, notes, ["plain"]).data["explorer"]
    assert len(data["strengths"]) == len(study.STRENGTHS) > len(STRENGTHS) and len(data["pictures"]) == 2
    own = arrays["probabilities"][1, 2, 3, arrays["labels"][1]]
    assert data["models"][0]["scores"][1][2][3] == pytest.approx(own, abs=1e-4)


def test_a_summary_that_cannot_be_read_is_named(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "dec" / "70" / "summary.json"
    path.write_text("")
    assert main([str(root), "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().err == f"{path} cannot be read; its run counts as unfinished\n"


def test_wrong_input_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none'} is no folder; expected one of a run")
