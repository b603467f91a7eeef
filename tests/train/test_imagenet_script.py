"""The ImageNet script from its command line to its files, on a small multi-scale folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

import train_imagenet
from dataloader.pictures.shapes import draw
from tests.train.picture_runs import (
    BROKEN,
    DEM,
    METHODS,
    TINY,
    joined,
    recipe,
    refusal,
    train,
    trained_on,
    write_pictures,
)
from tests.train.runs import SEED, Stopped, assert_same_run, stop_after
from train.loop import Trainer

ONE_EPOCH: dict[str, Any] = {"train": {"epochs": 1}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The folder above the splits."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def own_data(data, tmp_path) -> Path:
    """One that may be spoiled."""
    return Path(shutil.copytree(data, tmp_path / "data"))


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> Path:
    """A finished run of every method, in METHOD/42, and its recipe file METHOD.yaml."""
    folder = tmp_path_factory.mktemp("methods")
    for name, settings in METHODS.items():
        file = recipe(folder, data, settings, {"output_dir": str(folder)}, name=name)
        train_imagenet.main(["--config_file", str(file)])
    return folder


def metrics_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "summary.json").read_text())["metrics"]


def items_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "items.npz") as items:
        return dict(items)


# The command line.


def test_without_arguments_one_screen_says_what_is_needed(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        train_imagenet.main([])
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert len(told.splitlines()) <= 24 and max(map(len, told.splitlines())) <= 120
    for word in ("--config NAME", "--data_dir DIR", "--multi_scale_dir", "smoke", "--help"):
        assert word in told, word


def test_help_names_every_option(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        train_imagenet.main(["--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0
    for word in ("--data_dir", "--multi_scale_dir", "--eval_only", "--dry_run", "--resume", "key=value", "torchrun"):
        assert word in told, word


def test_the_smoke_recipes_run_dry(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    train_imagenet.main(["--config", "smoke", "--dry_run", "data.workers=0", "train.batch_size=4", "train.device=cpu"])
    out = capsys.readouterr().out
    for method in METHODS:
        assert f"smoke_{method}: two steps of 4 items ran, nothing was written" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_folder_writes_nothing(data, tmp_path, monkeypatch, capsys) -> None:
    file = recipe(tmp_path, data, DEM)
    monkeypatch.chdir(tmp_path)
    train_imagenet.main(["--config_file", str(file), "--dry_run"])
    out = capsys.readouterr().out
    assert "training on 24 of 45 files, 3 classes" in out and "6 groups at scales 0.7, 1, 1.4" in out
    assert list(tmp_path.iterdir()) == [file]


def test_the_folders_of_the_command_line_are_those_of_the_recipe(data, own_data, tmp_path) -> None:
    """Plain pictures in one folder, groups in another."""
    for path in own_data.glob("val/*/*"):
        if path.stem.endswith("_scale_1"):
            path.rename(path.with_name(path.name.replace("_scale_1", "")))
        else:
            path.unlink()
    file = recipe(tmp_path, Path("nowhere"), ONE_EPOCH)
    folders = ["--data_dir", str(own_data), "--multi_scale_dir", str(data)]
    metrics = train(file, tmp_path / "run", *folders)["metrics"]
    assert {"top1", "multi_scale_top1", "top1_at_0.7", "consistency_error", "warp_invariance_error"} <= metrics.keys()
    assert metrics["nll"] != metrics["multi_scale_nll"]
    items = items_of(tmp_path / "run")
    assert len(items["index"]) == 6 and len(items["group_index"]) == 6
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["tiny"]["data"]
    assert (resolved["root"], resolved["multi_scale_root"]) == (str(own_data), str(data))


# Five methods.


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_writes_its_files(runs, method: str) -> None:
    folder = runs / method / str(SEED)
    names = {"config.yaml", "metrics.jsonl", "summary.json", "model.safetensors", "items.npz", "state.pt", "scales.png"}
    assert {path.name for path in folder.iterdir()} == names | {".lock"}
    assert (folder / "scales.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["recipe"] == method and summary["epochs"] == 2 and "broken" not in summary["metrics"]
    wanted = {"top1", "top5", "nll", "top1_at_0.7", "top1_at_1", "top1_at_1.4", "top5_at_1", "consistency_error"}
    wanted |= {"consistency_flips", "warp_invariance_error", "warp_invariance_floor", "temperature"}
    assert summary["metrics"].keys() >= wanted | ({"residual"} if method == "dem" else set())
    assert all(np.isfinite(value) for value in summary["metrics"].values())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 2]
    assert all("train_loss" in line for line in lines[:2]) and lines[0].keys() >= {"top1", "top1_at_1.4"}
    assert {name: value for name, value in lines[2].items() if name != "epoch"} == summary["metrics"]
    items = items_of(folder)
    assert items["index"].tolist() == list(range(18))
    assert items["nll"].mean() == pytest.approx(summary["metrics"]["nll"], rel=1e-12)
    assert items["at_0.7_index"].shape == items["group_index"].shape == (6,)


def test_the_methods_differ(runs) -> None:
    assert len({metrics_of(runs / method / str(SEED))["nll"] for method in METHODS}) == len(METHODS)
    weights = {method: load_file(runs / method / str(SEED) / "model.safetensors") for method in METHODS}
    backbones = [{name for name in found if name.startswith("backbone.")} for found in weights.values()]
    assert all(names == backbones[0] for names in backbones)
    for method in METHODS:
        assert (weights[method].keys() > backbones[0]) == (method in ("cannon", "dem"))


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_of_a_run_run_again_to_the_same_bytes(runs, tmp_path, method: str) -> None:
    folder = runs / method / str(SEED)
    train(folder / "config.yaml", tmp_path / "again")
    assert_same_run(tmp_path / "again", folder)
    for name in ("config.yaml", "scales.png"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_another_seed_and_workers(runs, tmp_path) -> None:
    """Another seed is another run; workers are not."""
    file, folder = runs / "base.yaml", runs / "base" / str(SEED)
    train(file, tmp_path / "seed", "--random_seed", "1")
    assert metrics_of(tmp_path / "seed")["nll"] != metrics_of(folder)["nll"]
    train(file, tmp_path / "workers", "data.workers=2")
    assert_same_run(tmp_path / "workers", folder)


def test_a_suite_ends_with_a_table(runs, data, tmp_path) -> None:
    few = joined(TINY, ONE_EPOCH, {"data": {"root": str(data)}})
    recipes = {"both": {"suite": ["base", "dem"]}, "base": few, "dem": {"extends": "base", **DEM}}
    file = tmp_path / "recipes.yaml"
    file.write_text(yaml.safe_dump(recipes))
    words = ["--config_file", str(file), "--config", "both", "--run_dir", str(tmp_path / "runs")]
    train_imagenet.main(words)
    written = tmp_path / "runs" / "both" / str(SEED)
    assert "| dem" in (written / "table.md").read_text() and (written / "scales.png").stat().st_size > 5000
    train_imagenet.main([*words, "--resume"])


# Pictures that cannot be read.


def spoil(path: Path) -> Path:
    """Half a JPEG in the place of a picture, under its own name but for the ending."""
    path.unlink()
    jpeg = path.with_suffix(".JPEG")
    draw("disc", 1.0, 0).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[: jpeg.stat().st_size // 2])
    return jpeg


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_replaced_in_training(own_data, tmp_path, capfd, workers: int) -> None:
    path = trained_on(own_data)
    path.write_bytes(BROKEN)
    file = recipe(tmp_path, own_data, {"data": {"train_samples": None, "workers": workers}})
    summary = train(file, tmp_path / "run")
    told = [line for line in capfd.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(told) == 1 and told[0].startswith(f"{path} cannot be read (")  # once, in two epochs
    assert summary["metrics"]["broken"] == 1
    assert len(items_of(tmp_path / "run")["index"]) == 18


@pytest.mark.parametrize("workers", [0, 2])
def test_half_a_jpeg_counts_as_broken(own_data, tmp_path, capfd, workers: int) -> None:
    path = spoil(trained_on(own_data))
    file = recipe(tmp_path, own_data, {"data": {"train_samples": None, "workers": workers, "broken_limit": 0}})
    message = refusal(capfd, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert f"1 pictures could not be read, {path} for instance; data.broken_limit allows 0" in message
    assert not (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_without_a_readable_picture_ends_the_run(own_data, tmp_path, capfd, workers: int) -> None:
    for path in own_data.glob("train/*/*"):
        path.write_bytes(BROKEN)
    file = recipe(tmp_path, own_data, {"data": {"workers": workers}})
    message = refusal(capfd, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert message == "error: none of 10 pictures in a row could be read; see the messages above"


def test_the_limit_counts_what_is_evaluated(own_data, tmp_path, capsys) -> None:
    path = spoil(next(own_data.glob("val/disc/*_scale_0.7.png")))
    settings = {"data": {"broken_limit": 0}, "evaluation": {"before_training": True}}
    file = recipe(tmp_path, own_data, settings)
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"))
    assert f"{path} for instance" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_left_out_of_evaluation(runs, own_data, tmp_path, capfd, workers: int) -> None:
    """The metrics are those of a folder without it."""
    path = next(own_data.glob("val/square/*_scale_0.7.png"))
    number = sorted(own_data.glob("val/*/*")).index(path)
    words = ["--eval_only", f"warm_start={runs / 'base' / str(SEED) / 'model.safetensors'}"]
    path.write_bytes(b"")
    file = recipe(tmp_path, own_data, {"data": {"workers": workers}})
    found = train(file, tmp_path / "broken", *words)["metrics"]
    assert f"{path} cannot be read" in capfd.readouterr().err
    path.unlink()
    expected = train(file, tmp_path / "without", *words)["metrics"]
    assert found.pop("broken") == 1 and found.keys() == expected.keys()
    items, others = items_of(tmp_path / "broken"), items_of(tmp_path / "without")
    assert set(range(18)) - {*items["index"].tolist()} == {number}
    np.testing.assert_allclose(items["nll"], others["nll"], rtol=1e-6)
    for name in found:
        if not name.startswith("warp_invariance"):  # whose warps are drawn by the numbers of the files
            assert found[name] == pytest.approx(expected[name], rel=1e-6), name


# What cannot be meant.


def head_of(folder: Path, classes: int) -> Path:
    """A timm model's weights with another classifier."""
    path = folder / f"{classes}.safetensors"
    save_file(timm.create_model("test_vit", num_classes=classes, img_size=32).state_dict(), path)
    return path


def spoiled(data: Path, what: str) -> None:
    """A folder of pictures with one fault."""
    if what == "empty class":
        (data / "train" / "star").mkdir()
    elif what == "empty val class":
        (data / "val" / "square" / "thumbs.txt").touch()
        for path in (data / "val" / "square").glob("*.png"):
            path.unlink()
    elif what == "empty val":
        shutil.rmtree(data / "val")
        (data / "val").mkdir()
    elif what == "map":
        (data / "map.txt").write_text("disc a disc\nsquare\n")
    elif what == "unknown val class":
        (data / "val" / "square").rename(data / "val" / "cube")
    elif what == "tiny":
        for path in data.glob("train/*/*"):
            if path.name != "00_scale_1.png":
                path.unlink()
        for name in ("square", "stripe"):
            (data / "train" / name).rmdir()


@pytest.mark.parametrize(
    "what, words, expected",
    [
        ("", ["data.root=null"], "data.root is null; expected the folder above the splits: --data_dir DIR"),
        ("", ["--data_dir", "DATA/nowhere"], "there is no folder DATA/nowhere/train; expected one with a folder per"),
        ("", ["--data_dir", "DATA/train/disc/00_scale_1.png"], "there is no folder|is a file"),
        ("", ["data.val_split=validation"], "there is no folder DATA/validation"),
        ("empty class", [], "DATA/train has 1 class folder (star) without pictures"),
        ("empty val class", [], "DATA/val has 1 class folder (square) without pictures"),
        ("empty val", [], "DATA/val has no class folders with pictures"),
        ("map", ["data.class_map=map.txt"], "DATA/train has 1 class folder (stripe) that the class map with its 2"),
        ("", ["data.class_map=imagenet"], "take the folders' names with data.class_map=null"),
        ("", ["data.class_map=none.txt"], "there is no class map at none.txt, DATA/none.txt"),
        ("unknown val class", [], "DATA/val has 1 class folder (cube) that the class map"),
        ("tiny", ["data.num_classes=1"], "the training split has 1 files; too few to hold a fifth out of them"),
        ("", ["data.num_classes=4"], "data.num_classes is 4; the class map has 3"),
        ("", ["data.name=tfds/imagenet"], "name is 'tfds/imagenet'; expected one of mnist, digits, folder, shapes"),
        ("", ["data.worker=1"], "data.worker: unknown key. Did you mean 'workers'?"),
        ("", ["augmentation.mixup=-1"], "mixup is -1"),
        ("", ["model.weights=nowhere.pth"], "there are no weights at nowhere.pth"),
        ("", ["model.weights=DATA/train/disc/00_scale_1.png"], "is no file of weights, or a broken one"),
        ("", ["warm_start=nowhere.safetensors"], "nowhere.safetensors, which is not there"),
        (
            "",
            ["--eval_only", "output_dir=nowhere"],
            "there are no weights to measure but random ones, as nowhere/tiny/42/",
        ),
        ("", ["--eval_only", "warm_start=nowhere.safetensors"], "there are no weights at nowhere.safetensors"),
        ("", ["--eval_only", "model.weights=HEAD"], "HEAD has 5 classes; expected 3, as the data has"),
        ("", ["train.device=cuda"], "torch sees no CUDA device"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_what_cannot_be_meant_is_told_in_one_line(
    own_data, tmp_path, monkeypatch, capsys, what: str, words: list[str], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Trainer, "fit", lambda *given, **options: pytest.fail("it trains"))
    spoiled(own_data, what)
    places = {"DATA": str(own_data), "HEAD": str(head_of(tmp_path, 5))}

    def placed(text: str) -> str:
        for name, path in places.items():
            text = text.replace(name, path)
        return text

    file = recipe(tmp_path, own_data)
    message = refusal(capsys, "--config_file", str(file), "--run_dir", str(tmp_path / "run"), *map(placed, words))
    assert any(placed(part) in message for part in expected.split("|")), message


@pytest.mark.parametrize(
    "words",
    [
        ["--data_dir", "nowhere"],
        ["--data_dir", "nowhere", "evaluation.split=held_out"],
        ["--data_dir", "nowhere", "--eval_only", "warm_start=HEAD"],
        [
            "--data_dir",
            "nowhere",
            "--eval_only",
            "warm_start=HEAD",
            "evaluation.split=held_out",
            "data.class_map=imagenet",
        ],
        ["--multi_scale_dir", "nowhere"],
    ],
    ids=str,
)
def test_absent_folders_are_told_before_a_model_is_built(data, tmp_path, monkeypatch, capsys, words: list[str]) -> None:
    """Its published weights may take a minute to be had, or not to be had."""
    monkeypatch.setattr(train_imagenet, "build_model", lambda *_: pytest.fail("it builds a model"))
    words = [word.replace("HEAD", str(head_of(tmp_path, 3))) for word in words]
    message = refusal(capsys, "--config_file", str(recipe(tmp_path, data)), "--run_dir", str(tmp_path / "run"), *words)
    assert "there is no folder nowhere/" in message


def test_a_run_does_not_go_on_with_other_settings(runs, data, tmp_path, monkeypatch, capsys) -> None:
    file = recipe(tmp_path, data, {"train": {"checkpoint_steps": 1}})
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stopped):
            train(file, tmp_path / "run")
    words = ["--config_file", str(file), "--run_dir", str(tmp_path / "run")]
    message = refusal(capsys, *words, "--resume", "augmentation.mixup=0.2")
    assert "begun with other settings: tiny.augmentation.mixup was 0.8, now 0.2" in message
    assert "holds a run that was broken off; go on with it by --resume" in refusal(capsys, *words)
    finished = ["--config_file", str(runs / "base.yaml")]
    assert "holds a finished run" in refusal(capsys, *finished)


# Evaluation alone.


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_of_a_finished_run_finds_its_numbers(runs, capsys, method: str) -> None:
    folder = runs / method / str(SEED)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    train_imagenet.main(["--config_file", str(runs / f"{method}.yaml"), "--eval_only"])
    evaluated = runs / f"{method}_eval" / str(SEED)
    assert f"evaluating {folder / 'model.safetensors'}" in capsys.readouterr().out
    assert_same_evaluation(evaluated, folder)
    assert (evaluated / "scales.png").read_bytes() == before["scales.png"]
    assert not (evaluated / "state.pt").exists() and not (evaluated / "model.safetensors").exists()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def assert_same_evaluation(folder: Path, other: Path) -> None:
    """The same metrics and values per item."""
    assert metrics_of(folder) == metrics_of(other)
    items, others = items_of(folder), items_of(other)
    assert items.keys() == others.keys()
    for name in items:
        np.testing.assert_array_equal(items[name], others[name], err_msg=name)


def test_evaluation_of_files(runs, data, tmp_path, capsys) -> None:
    """A run's weights by their path, and a plain timm model's, which are those of the run's backbone."""
    folder = runs / "base" / str(SEED)
    weights = folder / "model.safetensors"
    file = recipe(tmp_path, data, {"output_dir": str(tmp_path)})
    train_imagenet.main(["--config_file", str(file), "--eval_only", f"warm_start={weights}"])
    assert_same_evaluation(tmp_path / "tiny_eval" / str(SEED), folder)

    plain = tmp_path / "plain.safetensors"
    save_file({name.removeprefix("backbone."): value for name, value in load_file(weights).items()}, plain)
    train(file, tmp_path / "plain", "--eval_only", f"model.weights={plain}")
    assert_same_evaluation(tmp_path / "plain", folder)
    assert "evaluating the weights that the model was built with" in capsys.readouterr().out


def test_evaluation_of_a_run_in_a_folder_of_its_own(runs, data, tmp_path, capsys) -> None:
    """It is found, though the recipe says where the run began, and measured beside it."""
    plain = tmp_path / "plain.safetensors"
    save_file(load_file(runs / "base" / str(SEED) / "model.safetensors"), plain)
    file, folder = recipe(tmp_path, data, ONE_EPOCH, {"warm_start": str(plain)}), tmp_path / "run"
    train(file, folder)
    train_imagenet.main(["--config_file", str(file), "--run_dir", str(folder), "--eval_only"])
    assert_same_evaluation(tmp_path / "run_eval", folder)
    assert f"evaluating {folder / 'model.safetensors'}" in capsys.readouterr().out


def test_a_run_that_has_its_weights_needs_no_others(runs, data, tmp_path, monkeypatch) -> None:
    """Neither to be measured nor to go on: timm's published ones, which need a network, are not asked for."""
    published = {"model": {"pretrained": True}, "train": {"checkpoint_steps": 1}}
    file, folder = recipe(tmp_path, data, published), tmp_path / "run"
    asked = []
    original = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *given, **told: (asked.append(told.pop("pretrained")), original(*given, **told))[1]
    )
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            train(file, folder)
    train(file, folder, "--resume")
    train_imagenet.main(["--config_file", str(file), "--run_dir", str(folder), "--eval_only"])
    assert_same_evaluation(tmp_path / "run_eval", folder)
    assert asked == [True, False, False]


def test_evaluation_without_a_training_split_leaves_the_temperature_out(runs, own_data, tmp_path, capsys) -> None:
    shutil.rmtree(own_data / "train")
    map_of_classes = tmp_path / "classes.txt"
    map_of_classes.write_text("\n".join(sorted(path.name for path in (own_data / "val").iterdir())))
    words = [f"warm_start={runs / 'base' / str(SEED) / 'model.safetensors'}", f"data.class_map={map_of_classes}"]
    found = train(recipe(tmp_path, own_data), tmp_path / "run", "--eval_only", *words)["metrics"]
    whole = metrics_of(runs / "base" / str(SEED))
    assert found == {name: value for name, value in whole.items() if "temper" not in name}
    assert "there is no training split: nothing is tempered" in capsys.readouterr().out


def test_a_canonicalizer_without_weights_is_not_measured(runs, tmp_path, capsys) -> None:
    plain = tmp_path / "plain.safetensors"
    weights = load_file(runs / "base" / str(SEED) / "model.safetensors")
    save_file({name.removeprefix("backbone."): value for name, value in weights.items()}, plain)
    words = ["--config_file", str(runs / "dem.yaml"), "--eval_only", f"output_dir={tmp_path}"]
    assert "there are no weights of the canonicalizer" in refusal(capsys, *words, f"model.weights={plain}")


def test_weights_of_another_head_are_refused(runs, own_data, tmp_path, capsys) -> None:
    """In evaluation; to train, the classifier begins anew."""
    (own_data / "train" / "star").mkdir()
    draw("star", 1.0, 0).save(own_data / "train" / "star" / "00.png")
    weights = runs / "base" / str(SEED) / "model.safetensors"
    plain = tmp_path / "plain.safetensors"
    save_file({name.removeprefix("backbone."): value for name, value in load_file(weights).items()}, plain)
    words = ["--config_file", str(recipe(tmp_path, own_data, ONE_EPOCH)), "--run_dir", str(tmp_path / "run")]
    given = f"model.weights={plain}"
    assert f"{plain} has 3 classes; expected 4, as the data has" in refusal(capsys, *words, "--eval_only", given)
    message = refusal(capsys, *words, "--eval_only", f"warm_start={weights}")
    assert "does not fit the backbone" in message and "head" in message
    train_imagenet.main([*words, given])
