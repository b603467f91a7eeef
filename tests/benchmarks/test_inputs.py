"""Every benchmark explains itself, and says in one line what is wrong with what it is given."""

from __future__ import annotations

import re
import socket
import sys
from importlib import import_module
from pathlib import Path

import pytest

import demo
from hubconf import trained

FOLDER = Path(__file__).parents[2] / "benchmarks"
COMMANDS = [
    path.stem for path in sorted(FOLDER.glob("*.py")) if re.search(r"^def main", path.read_text(), re.MULTILINE)
]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs a benchmark that ends at once, and returns what it says."""

    def run(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *words])
        with pytest.raises(SystemExit) as end:
            import_module(f"benchmarks.{name}").main()
        shown = capsys.readouterr()
        return "\n".join([shown.out, shown.err, str(end.value.code)])

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_has_a_help(name: str, told) -> None:
    assert "usage: " in told(name, "--help")


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("throughput", ["--data_dir", "nowhere"], "there is no folder nowhere/train"),
        ("throughput", ["--data_dir", "nowhere", "--config", "dem_deitt"], "no recipe 'dem_deitt'. Did you mean"),
        ("data", ["--root", "nowhere"], "and nothing is downloaded here: --root FOLDER names one with the four .gz"),
        ("evaluation", ["--root", "nowhere"], "and nothing is downloaded here: --root FOLDER names one with the four"),
        ("stir_data", ["--root", "nowhere"], "and nothing is downloaded here: --root FOLDER names one with the four"),
        ("page", ["nowhere.html"], "there is no nowhere.html; expected a page that python -m report has written"),
        ("ablation", ["nowhere", "--recipes", "small_base"], "nowhere is no folder; expected one that holds <recipe>"),
        ("ablation", ["runs", "--recipes", "small_bas"], "there is no recipe 'small_bas'. Did you mean 'small_base'?"),
        ("epochs", ["--config", "mnist_cp"], "there is no recipe 'mnist_cp'. Did you mean 'mnist_cpu'?"),
        ("local_scale", ["nowhere", "--recipes", "a"], "nowhere is no folder; expected one that holds <recipe>"),
        ("local_scale", ["runs", "--recipes", "a", "b"], "runs has no finished run of b; it has a"),
        ("slider", [], "the following arguments are required: page"),
        ("slider", ["demo"], "no page answers at demo (unknown url type: 'demo'); python demo.py --port 7871 opens"),
    ],
    ids=str,
)
def test_a_wrong_input_is_told_in_one_line(
    name: str, words: list[str], expected: str, told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "a" / "0"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text('{"metrics": {}}')
    monkeypatch.chdir(tmp_path)
    (line,) = [line for line in told(name, *words).splitlines() if "error: " in line]
    assert expected in line and "data.root" not in line


def test_a_page_that_is_not_open_is_told_in_one_line(told) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert f"error: no page answers at {address} (" in told("slider", address)


def test_what_is_no_run_is_told_in_one_line(tmp_path: Path) -> None:
    expected = f"{tmp_path} holds no config.yaml; expected the folder of a finished run"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        trained(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: {re.escape(expected)}$"):
        demo.main(["--plain", str(tmp_path), "--dec", str(tmp_path)])


def test_a_mistyped_backbone_of_the_demo_is_told_in_one_line() -> None:
    with pytest.raises(
        SystemExit, match=r"^error: model.backbone is 'deit_tinny', which timm does not know; close ones"
    ):
        demo.main(["--backbone", "deit_tinny"])
