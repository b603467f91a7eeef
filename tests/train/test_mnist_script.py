"""The MNIST script from its command line to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import models.build
import train_mnist
from config.load import load_recipes, recipe_names
from dataloader.build import count_classes
from layers.spec import Plain
from models.build import read_weights
from tests.train.runs import DEC, OWN_RATE, TINY, WITH_DEC, assert_same_run, joined, recipe, refusal, train
from train.loop import Trainer

NAMES = recipe_names("config_1.yaml")
SINGLE = [
    name for name in NAMES if [member for member, _ in load_recipes("config_1.yaml", name)] == [name]
]  # no suites
WITH_DEPTH = ("vit_", "beit_", "deit_")  # timm's names of the transformers whose number of blocks is an option
DIGITS = ["data.name=digits", "data.n_digits=2", "data.scales=[[0.4, 2.0], [0.4, 2.0]]"]
DIGITS += ["data.test_scales=[[0.4, 2.0], [0.4, 2.0]]", "data.workers=0", "model.pretrained=false", "train.device=cpu"]
FEW = ["evaluation.items=2", "evaluation.calibration_items=2", "evaluation.local_scale_items=1"]
FEW += ["evaluation.local_scale_draws=1", "warp.grid_size=3"]


def built(name: str, *overrides: str) -> Any:
    ((_, config),) = load_recipes("config_1.yaml", name, ["model.pretrained=false", *overrides])
    return train_mnist.build_model(config, count_classes(config)), config


def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones without memory, and so without the time to fill it; all shapes are real."""
    original = models.build._created

    def created(*arguments: Any) -> Any:
        with torch.device("meta"):
            return original(*arguments)

    monkeypatch.setattr(models.build, "_created", created)


@pytest.mark.parametrize("name", SINGLE)
def test_every_recipe_builds(monkeypatch, name: str) -> None:
    """Those with DEC are probed by a forward pass, so their transformers have memory, and only two blocks or so."""
    ((_, config),) = load_recipes("config_1.yaml", name)
    overrides = []
    if "equilibrium" not in config.method.gives:
        on_meta(monkeypatch)
    elif config.model.backbone.startswith(WITH_DEPTH):
        stages = [site.stage for site in config.method.sites if isinstance(site.stage, int)]
        overrides.append(f"model.options={{depth: {max(stages, default=1) + 1}}}")
    model, config = built(name, *overrides)
    assert model.num_classes == 10**config.data.n_digits
    own = {part.partition(".")[0] for part, _ in model.named_parameters()}
    has_own = not isinstance(config.method, Plain)
    assert (own - {"backbone"} and has_own) or own == {"backbone"}
    if has_own and config.method.sites:
        assert [site.name == "image" for site in model.sites] == [site.stage == "image" for site in config.method.sites]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ada_vit_dem", "ada_beit_dem", "ada_deit_dem", "ada_dino_dem"])
def test_the_large_recipes_build_in_full(name: str) -> None:
    model, _ = built(name)
    assert len(model.backbone.blocks) == 12


@pytest.mark.parametrize(
    "words",
    [
        [
            "--config",
            "ada_swin_dem",
            "model.backbone=test_vit",
            "model.image_size=32",
            "method.sites=[{stage: 0}]",
            "method.input_size=32",
        ],
        ["--config", "swin_cannonicalizion", "model.backbone=test_resnet", "model.image_size=32", "candidates.limit=2"],
        ["--config", "res_net_equiv", "model.backbone=test_resnet", "model.image_size=32", "model.resize=40"],
    ],
    ids=lambda words: words[1],
)
def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    train_mnist.main([*words, "--dry_run", *DIGITS, *FEW, "data.train_items=6", "train.batch_size=2"])
    out = capsys.readouterr().out
    assert f"{words[1]}: dry run" in out and "would start from weights/" in out
    assert out.rstrip().endswith("two steps of 2 items ran, nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_trains_two_steps(tmp_path, monkeypatch) -> None:
    steps = []
    original = train_mnist.build_trainer

    def build(*arguments: Any) -> Any:
        trainer = original(*arguments)
        step = trainer._step
        trainer._step = lambda *given: (steps.append(given), step(*given))
        return trainer

    monkeypatch.setattr(train_mnist, "build_trainer", build)
    train_mnist.main(["--config_file", str(recipe(tmp_path)), "--run_dir", str(tmp_path / "run"), "--dry_run"])
    assert len(steps) == 2 and not (tmp_path / "run").exists()


def test_the_published_swin_trains(tmp_path) -> None:
    """Swin-T at 224 pixels with DEC before two stages, on two images; only what the maps see is smaller, and faster."""
    folder = tmp_path / "run"
    words = ["--config", "ada_swin_dem", "--run_dir", str(folder), *DIGITS, *FEW, "warm_start=null"]
    words += ["data.train_items=2", "train.batch_size=2", "train.epochs=1", "train.phases=[{}]"]
    train_mnist.main([*words, "evaluation.before_training=false", "method.input_size=64"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["recipe"] == "ada_swin_dem"
    assert summary["metrics"].keys() >= {"accuracy", "warp_invariance_error", "local_scale_error", "residual"}
    assert summary["parameters"] > 27_000_000


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> tuple[Path, Path]:
    """A file with three recipes and their suite, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("suite")
    few = {"data": {"train_items": 32}, "train": {"epochs": 1}}
    recipes = {
        "all": {"suite": ["base", "augmented", "dem"]},
        "base": joined(TINY, few),
        "augmented": {"extends": "base", "warp": {"probability": 0.5}},
        "dem": {"extends": "augmented", "warm_start": "augmented", "method": DEC, "train": OWN_RATE},
    }
    file = folder / "recipes.yaml"
    file.write_text(yaml.safe_dump(recipes, sort_keys=False))
    train_mnist.main(["--config_file", str(file), "--config", "all", "--run_dir", str(folder / "runs")])
    return file, folder / "runs"


def test_a_suite_ends_with_a_table_and_a_figure(suite) -> None:
    _, root = suite
    assert sorted(path.name for path in root.iterdir()) == ["all", "augmented", "base", "dem"]
    assert sorted(path.name for path in (root / "all" / "42").iterdir()) == ["figure.png", "table.md"]
    rows = [
        line.split("|")[1].strip()
        for line in (root / "all" / "42" / "table.md").read_text().splitlines()
        if "|" in line
    ]
    assert rows[-3:] == ["base", "augmented", "dem"]
    assert (root / "all" / "42" / "figure.png").stat().st_size > 5000


def test_a_finished_suite_is_left_as_it_is(suite, capsys) -> None:
    file, root = suite
    before = {path: path.read_bytes() for path in root.glob("*/42/*") if path.parts[-3] != "all"}
    train_mnist.main(["--config_file", str(file), "--config", "all", "--run_dir", str(root), "--resume"])
    out = capsys.readouterr().out
    for name in ("base", "augmented", "dem"):
        assert f"{name}: finished already, see {root / name / '42'}" in out
    assert {path: path.read_bytes() for path in before} == before


def test_a_suite_whose_report_cannot_be_written(suite, monkeypatch, capsys) -> None:
    file, root = suite

    def forbid(*arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(train_mnist, "write_report", forbid)
    words = ["--config_file", str(file), "--config", "all", "--run_dir", str(root), "--resume"]
    assert "the table and the figure could not be written" in refusal(capsys, *words)


def test_a_run_starts_from_its_parents_weights(suite, tmp_path, monkeypatch) -> None:
    file, root = suite
    parent = read_weights(root / "augmented" / "42" / "model.safetensors")
    started = []
    original = train_mnist.build_trainer

    def build(config: Any, model: Any, *rest: Any) -> Any:
        started.append({name: value.clone() for name, value in model.state_dict().items()})
        return original(config, model, *rest)

    monkeypatch.setattr(train_mnist, "build_trainer", build)
    words = ["--config_file", str(file), "--config", "dem", "--run_dir", str(tmp_path / "run"), f"output_dir={root}"]
    train_mnist.main(words)
    (weights,) = started
    assert all(torch.equal(weights[name], value) for name, value in parent.items())
    assert weights.keys() > parent.keys()


def test_without_the_parent_the_message_says_what_to_do(suite, tmp_path, capsys) -> None:
    file, _ = suite
    words = ["--config_file", str(file), "--config", "dem", "--run_dir", str(tmp_path / "run")]
    message = refusal(capsys, *words, f"output_dir={tmp_path}")
    parent = tmp_path / "augmented" / "42" / "model.safetensors"
    assert f"this recipe starts from {parent}, which is not there. Train its parent with this seed" in message
    assert "warm_start=FILE.safetensors" in message


def test_evaluation_alone_finds_the_numbers_of_the_run_and_not_of_its_parent(suite, tmp_path) -> None:
    file, root = suite
    words = ["--config_file", str(file), "--config", "dem", "--eval_only", f"output_dir={root}"]
    train_mnist.main([*words, "--run_dir", str(tmp_path / "evaluated")])
    found, expected = (
        json.loads((folder / "summary.json").read_text())["metrics"]
        for folder in (tmp_path / "evaluated", root / "dem" / "42")
    )
    assert found == expected


def test_the_settings_of_a_run_run_again_as_they_stand(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"data": {"train_items": 32}}
    file = recipe(tmp_path, WITH_DEC, settings)
    train_mnist.main(["--config_file", str(file), "--random_seed", "5", "train.backbone_lr=2e-5"])
    folder = tmp_path / "weights" / "tiny" / "5"
    train(folder / "config.yaml", tmp_path / "again", "--random_seed", "5")
    assert_same_run(folder, tmp_path / "again")
    assert (folder / "config.yaml").read_bytes() == (tmp_path / "again" / "config.yaml").read_bytes()


def test_a_finished_run_is_left_as_it_is(tmp_path, capsys) -> None:
    file, folder = recipe(tmp_path, {"data": {"train_items": 8}}), tmp_path / "run"
    train(file, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    train(file, folder, "--resume")
    assert capsys.readouterr().out == f"tiny: finished already, see {folder}\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "swin_transformr"], "there is no recipe 'swin_transformr'. Did you mean 'swin_transformer'?"),
        (["--config_file", "config_2.yaml"], "config_2.yaml: no such file; expected a path, or a name in config/."),
        (["--config", "vit", "train.epoch=3"], "train.epoch: unknown key. Did you mean 'epochs'?"),
        (["--config", "vit", "train.epochs=many"], "train.epochs"),
        (["--config", "small_base", "data.root=ROOT", "data.download=false"], "is downloaded here: give a folder that"),
        (["--config", "small_base", "data.root=ROOT"], "empty, which is no folder; expected one with MNIST's files"),
        (["--config", "quickstart_base", "data.train_items=2000"], "the training split of digits has 1437"),
        (["--config", "quickstart_base", "model.backbone=resnet5O"], "which timm does not know"),
        (["--config", "quickstart_base", "model.options={dept: 3}"], "does not take model.options {'dept': 3}"),
        (["--config", "quickstart_base", "train.canonicalizer_lr=0.1"], "canonicalizer has no parameters"),
        (["--config", "quickstart_dem", "method.sites=[{stage: 9}]", "warm_start=null"], "there is no stage 9; valid"),
        (["--config", "quickstart_base", "train.device=cuda"], "torch sees no CUDA device"),
    ],
    ids=lambda value: value[-1].partition("=")[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_told_in_one_line(tmp_path, monkeypatch, capsys, words, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = [word.replace("ROOT", str(tmp_path / "empty")) for word in words]
    assert expected in refusal(capsys, *words, "--run_dir", str(tmp_path / "run"))


def test_an_unknown_option_is_told_with_what_it_might_be(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        train_mnist.main(["--train.epochs", "3"])
    assert end.value.code == 2
    assert "unknown option --train.epochs; a setting of the recipe is given as key=value" in capsys.readouterr().err


def test_a_user_who_stops_a_run_is_told_how_it_goes_on(tmp_path, monkeypatch, capsys) -> None:
    def stopped(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", stopped)
    with pytest.raises(SystemExit) as end:
        train(recipe(tmp_path), tmp_path / "run")
    assert end.value.code == "stopped; what was saved is still there, and --resume goes on from it"
    assert "Traceback" not in capsys.readouterr().err


def test_no_epochs_measure_what_the_recipe_starts_from(tmp_path: Path) -> None:
    """In every bit, also where batch norm's statistics would be estimated after training."""
    file = recipe(tmp_path, {"model": {"backbone": "test_resnet"}, "train": {"statistics_steps": 2}})
    trained = train(file, tmp_path / "run")
    as_it_is = train(file, tmp_path / "same", f"warm_start={tmp_path / 'run' / 'model.safetensors'}", "train.epochs=0")
    assert as_it_is["metrics"] == trained["metrics"] and as_it_is["epochs"] == 0
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model.safetensors"
    ).read_bytes()
