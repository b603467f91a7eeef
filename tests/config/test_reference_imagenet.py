"""ImageNet files in the published flat format, as the notes on the published entries describe them."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import comparable, load_recipes
from config.schema import Config, ConfigError

BASE: dict[str, Any] = {
    "task": "classification",
    "freeze_backbone_epochs": -1,
    "finetune_mode": "complete",
    "do_data_augmentation": False,
    "equivariance_loss": False,
    "do_adaptation": False,
    "do_cannonicalization": False,
    "unique_optima_loss": False,
    "unique_params_limit": 5,
    "cannonicalization_num_layers": 2,
    "cannonicalization_channels": [3, 8, 1],
    "cannonicalization_kernels": [3, 3],
    "cannonicalization_values": [0.8, 1.0],
    "local_aug_prob": 0.5,
    "warping_resolution": 8,
    "warping_strength": 0.2,
    "deep_equlibrium_mode": True,
    "num_phi_layers": 2,
    "adapter_coarse_resolution": [4, 4],
    "deform_resolution": "None",
    "augment_layer_id": [0, 1, 2, 3, 4],
    "unaugment_layer_id": [0, 1, 2, 3, 4],
    "adapter_num_layers": 3,
    "adapter_channels": [3, 16, 32, 64],
    "adapter_filter_size": [3, 3, 3],
    "adapter_pool_rate": [2, 2, 2],
    "inner_epochs": 5,
    "dem_image_scale": True,
    "equivariance_loss_weight": 0.01,
    "surrogate_equivariance_loss_weight": 1,
    "surrogate_task_loss_weight": 0.1,
    "phi_diff_loss_weight": 0.0001,
    "phi_diff_increment_per_epoch": 0.0,
    "phi_diff_loss_weight_max": 0.0001,
    "phi_prior_loss_weight": 0.0,
    "dem_lr": 1e-4,
    "dem_weight_decay": 1e-7,
    "outer_lr": 2.5e-6,
    "interpolation_mode": "bilinear",
    "eqloss_type": "MSE",
}
AUGMENTED = {"outer_lr": 1e-7, "do_data_augmentation": True}
EQUIVARIANT = {**AUGMENTED, "equivariance_loss": True}
DEM = {
    **EQUIVARIANT,
    "do_adaptation": True,
    "dem_lr": 0.01,
    "dem_weight_decay": 1e-4,
    "adapter_num_layers": 2,
    "adapter_channels": [3, 64, 128],
    "adapter_filter_size": [5, 3],
    "adapter_pool_rate": [4, 2],
    "augment_layer_id": [-1, 0, 1],
    "unaugment_layer_id": [-100],
}
FLAT = {
    "base": BASE,
    "base_swin": {"outer_lr": 1e-7},
    "aug_deit": AUGMENTED,
    "equiv_vit": EQUIVARIANT,
    "cannon_beit": {**AUGMENTED, "outer_lr": 2e-6, "do_cannonicalization": True},
    "dem_swin": {**DEM, "adapter_coarse_resolution": [6, 4]},
    "dem_deit": {**DEM, "adapter_coarse_resolution": [10, 4]},
    "dem_beit": {**DEM, "adapter_coarse_resolution": [10, 4]},
    "dem1_beit": DEM,
}
FLAGS = {"batch_size", "clip"}  # of the published scripts, which differed between baselines and DEC runs


def load(folder: Path, name: str, entries: dict[str, Any] = FLAT) -> Config:
    path = folder / "flat.yaml"
    path.write_text(yaml.safe_dump(entries))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((_, config),) = load_recipes(path, name, kind="pictures")
    return config


@pytest.mark.parametrize("name", [name for name in FLAT if name != "base"])
def test_an_entry_becomes_our_recipe_of_its_name(tmp_path, name: str) -> None:
    ((_, ours),) = load_recipes("adapter_config.yaml", name, kind="pictures")
    ours, found = ours.resolved(), load(tmp_path, name).resolved()
    assert found.method == ours.method and found.warp == ours.warp
    assert found.model.backbone == ours.model.backbone and found.augmentation == ours.augmentation
    phi = replace(found.loss.phi, weight=ours.loss.phi.weight)
    assert replace(found.loss, phi=phi) == ours.loss
    kept = {key: getattr(ours.train, key) for key in FLAGS}
    found = replace(found, train=replace(found.train, **kept))
    assert comparable(found)["train"] == comparable(ours)["train"]  # in whatever words they name their phases


def test_a_file_of_the_published_name_in_the_current_folder_is_not_taken_for_ours(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = load(tmp_path, "dem_swin")
    (tmp_path / "flat.yaml").rename("adapter_config.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_recipes("adapter_config.yaml", "dem_swin", kind="pictures")[0][1] == expected


def test_keys_without_effect_are_named_once(tmp_path) -> None:
    path = tmp_path / "flat.yaml"
    path.write_text(yaml.safe_dump(FLAT))
    with pytest.warns(UserWarning, match="without effect") as caught:
        load_recipes(path, "aug_deit", kind="pictures")
    (text,) = [str(warning.message) for warning in caught]
    assert "surrogate_task_loss_weight" in text and "never read it" in text and "dem_lr" in text
    assert "outer_lr" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer_lrr": 1e-7}, r"outer_lrr: unknown key .* Did you mean 'outer_lr'\?"),
        ({"augment_layer_id": [-1]}, "augment_layer_id is .* expected at least 2 layers"),
        ({"finetune_mode": "haed"}, "finetune_mode is 'haed'; expected one of"),
        ({"deep_equlibrium_mode": False}, "deep_equlibrium_mode is false"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "dem_swin", {**FLAT, "dem_swin": {**FLAT["dem_swin"], **change}})
