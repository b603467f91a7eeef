"""The command says in one line where it cannot write."""

from __future__ import annotations

from pathlib import Path

import pytest

from report.scale.__main__ import main
from tests.report.scale.folders import write_run


def test_a_summary_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    path = write_run(tmp_path, "a", 2, known=0.9) / "summary.json"
    path.write_text("")
    assert main([str(tmp_path), "--out", str(tmp_path / "figures")]) == 0
    assert capsys.readouterr().err == f"{path} cannot be read; its run counts as unfinished\n"


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "a", 1, known=0.9)
    (taken := tmp_path / "taken").write_text("mine")
    assert main([str(tmp_path), "--out", str(taken)]) == 1
    assert capsys.readouterr().err == f"error: --out is {taken}, which is a file; expected a folder\n"
    assert main([str(tmp_path), "--out", str(taken / "below")]) == 1
    assert capsys.readouterr().err.startswith("error: ") and taken.read_text() == "mine"
