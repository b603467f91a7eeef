"""The learning rate is that of the larger median on validation objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from report.scale.rates import main
from tests.report.scale.folders import write_run


def write_rate(root: Path, rate: float, *best: float) -> None:
    """Runs of this rate whose best epochs are worth these values; the last epoch is worth less."""
    for seed, value in enumerate(best):
        folder = write_run(root / str(rate), "plain", seed, known=0.9)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["plain"]["train"] = {"backbone_lr": rate}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        lines = [{"epoch": 1, "watched_accuracy": value}, {"epoch": 2, "watched_accuracy": 0.0}, {"epoch": 2}]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.parametrize(
    ("small", "large", "wins"),
    [
        ((0.5, 0.6, 0.7), (0.1, 0.65, 0.99), "0.01"),  # the mean would have it otherwise
        ((0.5, 0.6, 0.7), (0.6, 0.6, 0.99), "0.001"),  # of equal medians, the smaller rate
    ],
)
def test_the_median_decides(tmp_path: Path, capsys, small, large, wins: str) -> None:
    write_rate(tmp_path, 0.001, *small)
    write_rate(tmp_path, 0.01, *large)
    assert main([str(tmp_path / "0.01"), str(tmp_path / "0.001")]) == 0
    heading, _, line = capsys.readouterr().out.splitlines()
    assert "median at 0.001 (%)" in heading and line.split()[0] == "plain" and line.split()[-1] == wins


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"epoch": 1}\n', "has no watched_accuracy; expected a run with train.patience"),  # without early stopping
        ('{"epoch": 1, "watched', "cannot be read"),
    ],
)
def test_a_log_that_does_not_tell_is_named(tmp_path: Path, capsys, content: str, words: str) -> None:
    write_rate(tmp_path, 0.001, 0.5)
    log = tmp_path / "0.001" / "plain" / "0" / "metrics.jsonl"
    log.write_text(content)
    assert main([str(tmp_path / "0.001")]) == 1
    assert f"{log} {words}" in capsys.readouterr().err


def test_where_there_is_nothing_to_compare_this_is_told(tmp_path: Path, capsys) -> None:
    write_rate(tmp_path, 0.001, 0.5)
    root = str(tmp_path / "0.001")
    assert main([root]) == 1
    assert f"error: there is nothing to compare: {root} has finished runs of 0.001 alone;" in capsys.readouterr().err
    path = tmp_path / "0.001" / "plain" / "0" / "summary.json"
    path.write_text("")
    assert main([root]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{path} cannot be read; its run counts as unfinished",
        f"error: there is nothing to compare: {root} has no finished runs; expected runs at several rates",
    ]


def test_rates_are_compared_of_one_protocol_and_of_equal_seeds(tmp_path: Path, capsys) -> None:
    write_rate(tmp_path, 0.001, 0.5, 0.6)
    write_rate(tmp_path, 0.01, 0.7)
    folders = [str(tmp_path / rate) for rate in ("0.001", "0.01")]
    assert main(folders) == 1
    assert "plain has the seeds [0, 1] at 0.001; [0] at 0.01; expected the same" in capsys.readouterr().err
    settings = tmp_path / "0.01" / "plain" / "0" / "config.yaml"
    settings.write_text(settings.read_text().replace("scenario: 2", "scenario: 3"))
    assert main(folders) == 1
    assert "data.scenario 2 and 3; only runs of one can be compared" in capsys.readouterr().err
