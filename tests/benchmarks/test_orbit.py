"""The spread of canonical forms over an orbit, of runs of a second and of stand-ins that are known to be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.image import imread

from benchmarks.orbit import Forms, finished, forms_of, images_of, main, orbit_of
from config.schema import WarpConfig
from layers.grid import WarpParams
from layers.monotone import monotone_warp
from tests.train import picture_runs
from tests.train.runs import WITH_DEC, recipe, train

CANDIDATES: dict[str, Any] = {"method": {"name": "candidates", "limit": 2, "channels": [1, 4, 1]}}
WARP = WarpConfig(grid_size=3, strength=0.8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of finished runs on the same data, by three methods, and of one on other data."""
    root = tmp_path_factory.mktemp("runs")
    one, other = "train.epochs=1", "data.cell_size=57"
    for name, settings, words in (
        ("plain", {}, [one]),
        ("dec", WITH_DEC, [one]),
        ("candidates", CANDIDATES, [one]),
        ("other", WITH_DEC, [one, other]),
    ):
        train(recipe(root, settings, name=name), root / name / "42", *words)
    return root


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return str(end.value.code) + capsys.readouterr().err


def spreads(told: str) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in told.splitlines() if ": spread " in line]


def test_a_row_per_run_and_the_spread_of_each(root: Path, tmp_path: Path, capsys) -> None:
    runs = [str(root / name / "42") for name in ("dec", "candidates")]
    found = []
    for items in ("1", "3"):
        file = tmp_path / f"{items}.png"
        main([*runs, "--items", items, "--members", "3", "--strength", "0.8", "--output", str(file)])
        assert imread(file).std() > 0.05
        told = capsys.readouterr().out
        assert told.splitlines()[0].startswith("dec/42: spread ") and told.splitlines()[-1] == str(file)
        found.append(spreads(told))
    dec = finished(root / "dec" / "42")
    images = images_of(dec, 42, 3)
    by_hand = [forms_of(dec, orbit_of(image, 3, WARP, item)).spread() for item, image in enumerate(images)]
    assert found[0][0] == pytest.approx(by_hand[0], abs=1e-3)
    assert found[1][0] == pytest.approx(sum(by_hand) / 3, abs=1e-3)
    assert len(set(found[0])) == 2  # the methods differ


def test_runs_on_pictures_are_drawn_too(tmp_path: Path, capsys) -> None:
    data = picture_runs.write_pictures(tmp_path / "data")
    file = picture_runs.recipe(tmp_path, data, picture_runs.DEM)
    picture_runs.train(file, tmp_path / "dem" / "7", "train.epochs=1", "data.side=40")
    main([str(tmp_path / "dem" / "7"), "--members", "2", "--output", str(tmp_path / "orbit.png")])
    assert (tmp_path / "orbit.png").exists() and len(spreads(capsys.readouterr().out)) == 1
    run = finished(tmp_path / "dem" / "7")
    assert images_of(run, run.seed, 1).shape == (1, 3, 40, 40)
    assert forms_of(run, images_of(run, run.seed, 1)).canonical.shape == (1, 3, 32, 32)  # a site on the image


def test_the_spread_is_none_of_equal_forms_and_one_of_what_is_left_as_it_is() -> None:
    members = orbit_of(torch.rand(1, 12, 14), 4, WARP, 0)
    assert Forms(members, members).spread() == 1
    assert Forms(members, members[:1].expand(4, -1, -1, -1)).spread() == 0
    assert Forms(members, 0.5 * members + 3).spread() == pytest.approx(0.5)


def test_forms_are_the_members_under_the_warps_that_the_model_chose(root: Path) -> None:
    run = finished(root / "candidates" / "42")
    members = orbit_of(images_of(run, run.seed, 1)[0], 3, WARP, 0)
    seen, canonical = forms_of(run, members)
    with torch.no_grad():
        phi = run.model(members, return_output=True).phi
        for place in range(3):
            own = WarpParams(phi.x[place : place + 1], phi.y[place : place + 1])
            torch.testing.assert_close(canonical[place : place + 1], monotone_warp(members[place : place + 1], own))
    assert torch.equal(seen, members)


def test_an_orbit_is_an_image_and_warps_of_it_that_belong_to_the_item() -> None:
    image = torch.rand(1, 12, 14)
    members = orbit_of(image, 4, WARP, 5)
    assert members.shape == (4, 1, 12, 14) and torch.equal(members[0], image)
    assert torch.equal(members[:3], orbit_of(image, 3, WARP, 5))
    assert not any(torch.equal(member, image) for member in members[1:])
    assert not torch.equal(members[1], orbit_of(image, 2, WARP, 6)[1])


def test_what_cannot_be_drawn_is_told_in_one_line(root: Path, tmp_path: Path, capsys) -> None:
    dec = root / "dec" / "42"
    assert "plain/42 has method.name none; expected dec, energy or candidates" in refused(capsys, root / "plain" / "42")
    assert "other/42 sees other images than dec/42" in refused(capsys, dec, root / "other" / "42")
    assert "the runs are dec/42, dec/42; expected folders that end" in refused(capsys, dec, dec)
    assert f"{tmp_path} holds no summary.json; expected the folder of a finished run" in refused(capsys, tmp_path)
    assert "--items is 10, but dec/42 is evaluated by 9; expected no more" in refused(capsys, dec, "--items", 10)
    assert "is 1; expected a whole number of at least 2" in refused(capsys, dec, "--members", 1)
    assert "strength is 0; expected above 0" in refused(capsys, dec, "--strength", 0)
    assert "strength is -1.0; expected at least 0" in refused(capsys, dec, "--strength", -1)
