"""What is kept on disk helps, and never harms."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor

from layers.scale import kept as module
from layers.scale.kept import kept

NUMBERS = torch.arange(6, dtype=torch.float64).reshape(2, 3)


class Calls:
    def __init__(self, result: Tensor = NUMBERS):
        self.result, self.count = result, 0

    def __call__(self) -> Tensor:
        self.count += 1
        return self.result.clone()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "new" / "home"))
    return tmp_path / "new" / "home"


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def test_computed_once_and_read_again(home: Path) -> None:
    calls = Calls()
    assert torch.equal(kept("a", (2, 3), calls), NUMBERS) and torch.equal(kept("a", (2, 3), calls), NUMBERS)
    assert calls.count == 1 and [path.name for path in files(home)] == ["a.pt"]


def test_others_may_read_it(home: Path) -> None:
    before = os.umask(0o022)
    try:
        kept("a", (2, 3), Calls())
    finally:
        os.umask(before)
    assert stat.S_IMODE(files(home)[0].stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        torch.zeros(2, 2, dtype=torch.float64),
        torch.zeros(2, 3),
        torch.full((2, 3), torch.nan, dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.float64, device="meta"),
        {"a": 1},
        None,
    ],
    ids=["empty", "broken", "shape", "type", "nan", "meta", "foreign", "truncated"],
)
def test_a_wrong_file_is_replaced(home: Path, content: object) -> None:
    kept("a", (2, 3), Calls())
    (path,) = files(home)
    if content is None:
        path.write_bytes(path.read_bytes()[:-200])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    calls = Calls()
    assert torch.equal(kept("a", (2, 3), calls), NUMBERS) and torch.equal(kept("a", (2, 3), calls), NUMBERS)
    assert calls.count == 1


def test_it_is_computed_and_read_on_the_cpu(home: Path) -> None:
    for _ in range(2):
        with torch.device("meta"):
            found = kept("a", (2,), lambda: torch.zeros(2, dtype=torch.float64))
        assert found.device.type == "cpu"


@pytest.mark.parametrize("result", [NUMBERS.float(), NUMBERS.to("meta"), NUMBERS[:1]])
def test_what_is_wrong_is_not_kept(home: Path, result: Tensor) -> None:
    kept("a", (2, 3), Calls(result))
    assert not files(home)


def test_a_home_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for home in ("/proc/nope", str(tmp_path / "file")):
        monkeypatch.setenv("TORCH_HOME", home)
        assert torch.equal(kept("a", (2, 3), Calls()), NUMBERS)


def test_nothing_is_left_of_a_write_that_failed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(found: Tensor, file) -> None:
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(module.torch, "save", full)
    assert torch.equal(kept("a", (2, 3), Calls()), NUMBERS)
    assert not files(home)

    def interrupted(found: Tensor, file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept("a", (2, 3), Calls())
    assert not files(home)
