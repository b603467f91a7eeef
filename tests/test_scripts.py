"""The shell scripts: which runs they start, in which order, and when they stop."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from config.load import load_recipes, recipe_names

VARIABLES = {
    "CONFIGS_TO_RUN",
    "SEEDS",
    "DATA_DIR",
    "MULTI_SCALE_DIR",
    "NPROC",
    "TORCHRUN_ARGS",
    "MODELS",
    "METHODS",
    "EPOCHS",
}
ROOT = Path(__file__).parents[1]
GROUPS = {"base_configs": 6, "data_aug_configs": 6, "equiv_configs": 6, "canon_configs": 6, "ada_dem_configs": 6}


@pytest.fixture
def start(tmp_path):
    """Starts a script with a python that notes its words, and fails at the recipe named by FAIL_AT."""
    python, notes = tmp_path / "python", tmp_path / "notes"
    python.write_text(f'#!/bin/sh\necho "$@" >> {notes}\ncase "$*" in *"--config $FAIL_AT "*) exit 7 ;; esac\n')
    python.chmod(0o755)

    def run(*words: str, **variables: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        environment |= {"PYTHON": str(python), "FAIL_AT": "none", **variables}
        done = subprocess.run(
            ["bash", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done, notes.read_text().splitlines() if notes.exists() else []

    return run


def recipes_of(calls: list[str]) -> list[str]:
    return [call.split("--config ")[1].split()[0] for call in calls]


def test_run_mnist_passes_its_words_on(start) -> None:
    done, calls = start(str(ROOT / "run_mnist.sh"), "config_1.yaml", "ada_swin_dem", "42", "train.epochs=3", "--resume")
    assert done.returncode == 0
    assert calls == [
        "train_mnist.py --config_file config_1.yaml --config ada_swin_dem --random_seed 42 train.epochs=3 --resume"
    ]


def test_run_mnist_says_how_it_is_used(start) -> None:
    done, calls = start(str(ROOT / "run_mnist.sh"), "config_1.yaml")
    assert done.returncode == 2 and "usage: bash run_mnist.sh FILE RECIPE SEED" in done.stderr and not calls


@pytest.mark.parametrize("variables", [{}, {"CONFIGS_TO_RUN": ""}, {"CONFIGS_TO_RUN": "all"}])
def test_empty_unset_and_all_run_everything_parents_first(start, variables) -> None:
    done, calls = start(str(ROOT / "run_all_mnist.sh"), SEEDS="70 71", **variables)
    assert done.returncode == 0
    assert ("running all groups" in done.stdout) == (variables.get("CONFIGS_TO_RUN") != "all")
    names = recipes_of(calls)
    assert len(names) == 2 * sum(GROUPS.values()) and names[:30] == names[30:]
    assert set(names) <= set(recipe_names("config_1.yaml"))
    assert all("--random_seed 70" in call for call in calls[:30]) and all("--random_seed 71" in c for c in calls[30:])
    for place, name in enumerate(names[:30]):
        ((_, config),) = load_recipes("config_1.yaml", name)
        assert config.warm_start is None or config.warm_start in names[:place]


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_runs_alone_with_the_published_seeds(start, group) -> None:
    done, calls = start(str(ROOT / "run_all_mnist.sh"), "train.epochs=1", CONFIGS_TO_RUN=group)
    assert done.returncode == 0 and len(calls) == 3 * GROUPS[group]
    assert {call.split("--random_seed ")[1].split()[0] for call in calls} == {"70", "71", "72"}
    assert all(call.endswith("--resume train.epochs=1") for call in calls)  # finished runs are left as they are


def test_an_unknown_group_is_refused(start) -> None:
    done, calls = start(str(ROOT / "run_all_mnist.sh"), CONFIGS_TO_RUN="dem")
    assert done.returncode == 2 and "expected base_configs" in done.stderr and not calls


def test_a_failed_run_stops_with_its_exit_code(start) -> None:
    done, calls = start(str(ROOT / "run_all_mnist.sh"), CONFIGS_TO_RUN="base_configs", FAIL_AT="vit")
    assert done.returncode == 7
    assert recipes_of(calls) == ["swin_transformer", "res_net", "vit"]


def test_imagenet_scripts_pass_their_words_on(start, tmp_path) -> None:
    done, calls = start(
        str(ROOT / "imagenet_dem.sh"), "swin", "dem_swin", "3", "--resume", "train.amp=off", DATA_DIR="a b"
    )
    assert done.returncode == 0
    assert calls == [
        f"train_imagenet.py --config dem_swin --data_dir {tmp_path}/a b "
        "model.backbone=swin_tiny_patch4_window7_224.ms_in1k train.epochs=3 --resume train.amp=off"
    ]


def test_imagenet_scripts_start_processes_and_find_other_groups(start) -> None:
    words = str(ROOT / "imagenet_baselines.sh"), "test_vit", "base", "1"
    done, (call,) = start(*words, NPROC="2", MULTI_SCALE_DIR="/groups")
    assert done.returncode == 0
    assert call.startswith("-m torch.distributed.run --standalone --nproc_per_node 2 train_imagenet.py --config base ")
    assert f"--data_dir {ROOT}/data/multi_scale_imagenet --multi_scale_dir /groups model.backbone=test_vit" in call


@pytest.mark.parametrize("script", ["imagenet_dem.sh", "imagenet_baselines.sh"])
def test_imagenet_scripts_say_how_they_are_used(start, script: str) -> None:
    done, calls = start(str(ROOT / script), "swin")
    assert done.returncode == 2 and "MODEL RECIPE EPOCHS" in done.stderr and not calls


@pytest.mark.parametrize(("script", "methods"), [("imnet_all_dem.sh", 1), ("imnet_all_baselines.sh", 4)])
def test_all_published_imagenet_runs_start(start, script: str, methods: int) -> None:
    done, calls = start(str(ROOT / script), "train.amp=fp16")
    names = recipes_of(calls)
    assert done.returncode == 0 and len(names) == len(set(names)) == 4 * methods
    assert set(names) <= set(recipe_names("adapter_config.yaml"))
    for call, name in zip(calls, names, strict=True):
        ((_, config),) = load_recipes("adapter_config.yaml", name, kind="pictures")
        assert f"model.backbone={config.model.backbone} train.epochs=20 --resume train.amp=fp16" in call


def test_a_failed_imagenet_run_stops_with_its_exit_code(start) -> None:
    done, calls = start(str(ROOT / "imnet_all_dem.sh"), FAIL_AT="dem_swin")
    assert done.returncode == 7 and recipes_of(calls) == ["dem_vit", "dem_swin"]
