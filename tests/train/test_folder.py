"""A run's folder: who may write there, and with which settings a run goes on."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import dump, load_recipes
from tests.train.runs import (
    ALONE,
    DEC,
    OWN_RATE,
    TINY,
    WITH_DEC,
    Stopped,
    assert_same_run,
    config_of,
    joined,
    phases,
    recipe,
    refusal,
    stop_after,
    train,
)
from train.runs.errors import RunError
from train.runs.folder import claim, locked, refuse_foreign

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from train.runs.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_kept_out_while_the_first_lives(tmp_path, capsys) -> None:
    file, folder = recipe(tmp_path), tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            message = refusal(capsys, "--config_file", str(file), "--run_dir", str(folder))
            assert f"another run is writing to {folder}" in message
        finally:
            holder.kill()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    with locked(folder):
        pass


def test_half_written_files_of_a_killed_run_go_and_no_others(tmp_path) -> None:
    for name in (".state.pt.part", ".members.npz.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "mine.part").write_bytes(b"kept")
    (tmp_path / ".mine.part").write_bytes(b"kept")
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".mine.part", "mine.part"]


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "metrics.jsonl", "notes.txt", ".hidden.part"])
@pytest.mark.parametrize("words", [[], ["--resume"], ["--eval_only", "warm_start=some.safetensors"]])
def test_a_folder_that_no_run_made_is_left_as_it_is(tmp_path, capsys, name: str, words: list[str]) -> None:
    if name == "model.safetensors" and "--eval_only" in words:
        pytest.skip("weights are measured where they are, and nothing is written beside them")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("model: {size: 3}\ntrain: {}\n")
    message = refusal(capsys, "--config_file", str(recipe(tmp_path)), "--run_dir", str(folder), *words)
    assert f"{folder} holds {name}, but no config.yaml of a run; expected a folder that is new, empty" in message
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "model: {size: 3}\ntrain: {}\n"


def test_a_folder_of_a_run_is_known_by_its_settings(broken_off, tmp_path) -> None:
    """Also where hidden files got lost on the way from another machine; what a killed run left first is ours too."""
    _, folder = broken_off
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    refuse_foreign(tmp_path)
    (tmp_path / "began").mkdir()
    (tmp_path / "began" / ".lock").touch()
    (tmp_path / "began" / ".config.yaml.part").touch()
    refuse_foreign(tmp_path / "began")
    refuse_foreign(tmp_path / "new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lock").write_text("of another program")
    with pytest.raises(RunError, match=r"holds \.lock, but no config\.yaml"):
        refuse_foreign(tmp_path / "other")
    (tmp_path / "began" / "model.safetensors").touch()
    with pytest.raises(RunError, match=r"holds model\.safetensors, but no config\.yaml"):
        refuse_foreign(tmp_path / "began")


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, capsys) -> None:
    file = recipe(tmp_path)
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refusal(capsys, "--config_file", str(file), "--run_dir", str(folder))
        assert f"the run folder {folder} cannot be written to" in message

    def forbid(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbid)
        message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert "cannot be written to (Permission denied)" in message
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_written_over(tmp_path, capsys) -> None:
    file, folder = recipe(tmp_path), tmp_path / "run"
    words = ["--config_file", str(file), "--run_dir", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "holds a run that was broken off; go on with it by --resume" in refusal(capsys, *words)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    train(file, folder, "--resume")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "holds a finished run" in refusal(capsys, *words)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_saved_nothing_is_no_run_yet(tmp_path) -> None:
    file, folder = recipe(tmp_path), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stopped):
            train(file, folder)
    train(file, folder)
    train(file, tmp_path / "whole")
    assert_same_run(folder, tmp_path / "whole")


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory) -> tuple[Path, Path]:
    """A file, and a run of it with DEC that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("broken_off")
    file = recipe(folder, WITH_DEC)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder / "run")
    return file, folder / "run"


def test_changed_settings_are_named(broken_off, capsys) -> None:
    file, folder = broken_off
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    changes = ["train.epochs=5", "method.strength=0.25", "data.scales=[[0.5, 1.0], [0.5, 1.0]]"]
    words = ["--config_file", str(file), "--run_dir", str(folder), "--resume", *changes]
    message = refusal(capsys, *words)
    assert "was begun with other settings" in message
    assert "tiny.train.epochs was 2, now 5" in message and "tiny.method.strength was 0.5, now 0.25" in message
    assert "tiny.data.scales was [[0.5, 1.5], [0.5, 1.5]], now [[0.5, 1.0], [0.5, 1.0]]" in message
    assert "train.batch_size" not in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_free_settings_may_change(broken_off) -> None:
    file, folder = broken_off
    changes = ["data.workers=1", "wandb.project=other", "train.device=auto", "evaluation.batch_size=16"]
    train(file, folder, "--resume", *changes, "data.root=elsewhere", "output_dir=elsewhere")
    assert "project: other" in (folder / "config.yaml").read_text()


def begun(folder: Path, *settings: dict[str, Any]) -> Path:
    """A folder with the state of a run of these settings, which are today's."""
    folder.mkdir(exist_ok=True)
    claim(folder, "tiny", config_of(folder, *settings), resume=False)
    (folder / "tiny.yaml").unlink()
    (folder / "state.pt").touch()
    return folder


def test_another_method_and_another_recipe_are_named(tmp_path) -> None:
    folder = begun(tmp_path / "run", WITH_DEC)
    other = config_of(tmp_path, {"method": {"name": "candidates"}, "train": OWN_RATE})
    with pytest.raises(RunError) as caught:
        claim(folder, "tiny", other, resume=True)
    assert "begun with other settings: tiny.method.name was 'dec', now 'candidates', tiny.method." in str(caught.value)
    with pytest.raises(RunError, match=r"tiny\.method\.name was 'dec', now 'none'"):
        claim(folder, "tiny", config_of(tmp_path, {"method": {"name": "none"}, "train": OWN_RATE}), resume=True)
    with pytest.raises(RunError, match=r"big\.\S+ was None, now |tiny\.\S+ was \S+, now None"):
        claim(folder, "big", config_of(tmp_path, WITH_DEC), resume=True)


def test_phases_in_other_words_are_the_same_run_and_other_phases_are_not(tmp_path) -> None:
    folder = begun(tmp_path / "run", WITH_DEC, phases({**ALONE, "epochs": 0}, {"epochs": 2, "terms": {"task": 1.0}}))
    claim(folder, "tiny", config_of(tmp_path, WITH_DEC), resume=True)
    for other in (
        phases({"terms": {"task": 0.5}}),
        phases({**ALONE, "epochs": 1}, {}),
        phases({"rates": {"backbone": 1}}),
    ):
        with pytest.raises(
            RunError, match=r"begun with other settings: tiny\.train\.phases\[0\]\.[a-z.]+ was .*, now "
        ):
            claim(folder, "tiny", config_of(tmp_path, WITH_DEC, other), resume=True)


BEFORE: dict[str, Any] = {  # every setting of a run of before, as it wrote them; what is left out has its default
    "dec": {name: value for name, value in DEC.items() if name != "name"},
    "candidates": None,
    "energy": None,
    "loss": {
        "two_views": True,
        "equivariance": "js",
        "equivariance_weight": 0.2,
        "canonicalizer_equivariance_weight": 0.3,
        "canonicalizer_task_weight": 0.5,
        "phi_weight": 0.1,
        "phi_difference": 0.5,
        "phi_difference_increment": 0.0,
        "phi_difference_max": 3.0,
        "phi_prior": 0.0,
        "consistency_weight": 0.0,
        "uniqueness_weight": 0.1,
    },
    "train": {"canonicalizer_epochs": 1, "canonicalizer_lr": 0.01},
    "evaluation": {"local_scale_every": 40},
    "wandb": {},
    "warm_start": None,
    "output_dir": "weights",
}
TODAY: dict[str, Any] = {
    "method": DEC,
    "loss": {"two_views": True, "equivariance": {"distance": "js", "weight": 0.2}, "phi": {"difference": 0.5}},
    "train": {
        "canonicalizer_lr": 0.01,
        **phases({**ALONE, "epochs": 1, "terms": {"task": 0.5, "equivariance": 0.3}}, {})["train"],
    },
}


def test_a_folder_that_was_begun_under_the_keys_of_before_goes_on(tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"tiny": joined(TINY, BEFORE)}))
    (tmp_path / "state.pt").touch()
    refuse_foreign(tmp_path)
    config = config_of(tmp_path, TODAY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody is told of keys that he did not write
        with pytest.raises(RunError, match=r"tiny\.loss\.equivariance\.weight was 0\.2, now 0\.4"):
            claim(
                tmp_path, "tiny", config_of(tmp_path, TODAY, {"loss": {"equivariance": {"weight": 0.4}}}), resume=True
            )
        claim(tmp_path, "tiny", config, resume=True)
    assert (tmp_path / "config.yaml").read_text() == dump("tiny", config)  # under those of today, from here on
    assert load_recipes(tmp_path / "config.yaml") == [("tiny", config)]


def test_a_run_that_was_begun_under_the_keys_of_before_ends_as_it_would_have(tmp_path) -> None:
    file, folder = recipe(tmp_path, TODAY), tmp_path / "run"
    train(file, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(file, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({"tiny": joined(TINY, BEFORE)}))
    train(file, folder, "--resume")
    assert_same_run(folder, tmp_path / "whole")
