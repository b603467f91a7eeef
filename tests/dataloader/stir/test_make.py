"""The command that makes containers: what it says, and that it stops before minutes are spent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataloader.stir.container import SIDES, Container, read
from dataloader.stir.make import MAKERS, main


def blank(seed: int, root: str) -> Container:
    """Two classes of black canvases, made in no time."""
    labels, sides = np.broadcast_arrays(np.arange(2)[:, None], np.array(SIDES)[:, None, None])
    labels, sides = (np.stack([part] * 3) for part in (labels, sides))
    images = np.zeros((*labels.shape, 64, 64), np.uint8)
    return Container(images, labels, sides, np.zeros((*labels.shape, 2), int), ("a", "b"), {})


def test_it_tells_the_name_of_the_file_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MAKERS, "digits", blank)
    for given, name in (("first.npz", "first.npz"), ("second", "second.npz"), ("third.v1", "third.v1.npz")):
        main(["digits", str(tmp_path / given), "--sheet", str(tmp_path / "sheet.png")])
        told = f"{tmp_path / name}: 288 images, 2 classes, {read(tmp_path / name).checksum()}\n"
        assert capsys.readouterr().out == told
    assert (tmp_path / "sheet.png").stat().st_size > 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.npz", "--seed", "-1"], "error: --seed is -1; expected at least 0"),
        (["none/a.npz"], "error: none/a.npz lies in no folder; make none first"),
        (["a.npz", "--sheet", "none/a.png"], "error: none/a.png lies in no folder; make none first"),
        (["a.npz", "--sheet", "a.sheet"], "error: --sheet is a.sheet; expected the name of a picture, NAME.png"),
        (["a.npz", "--sheet", "a"], "error: --sheet is a; expected the name of a picture, NAME.png"),
    ],
)
def test_what_would_fail_in_the_end_fails_first(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MAKERS, "digits", lambda seed, root: pytest.fail("it was made"))
    with pytest.raises(SystemExit, match=f"^{message}$"):
        main(["digits", *words])


def test_missing_digits_are_asked_for_by_the_options_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"^error: train-images.* with --root FOLDER, or use the name digits, which"
    ) as caught:
        main(["mnist", str(tmp_path / "a.npz"), "--root", str(tmp_path)])
    assert "data." not in str(caught.value).replace(str(tmp_path), "")
