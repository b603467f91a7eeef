"""The published flat format: its entries become the recipes of the same names, and nothing is dropped in silence."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import comparable, load_recipes
from config.reference.digits import is_flat, to_recipe
from config.reference.keys import INNER_LOOP, KNOWN, MADE_OF, OURS, WITHOUT_EFFECT
from config.schema import Config, ConfigError, ScheduleConfig
from layers.spec import Candidates, Energy, Site
from tests.config.flat_entries import BASE, DEM, ENTRIES

SCORER = ("cannonicalizer_num_layers", "cannonicalizer_channels", "cannonicalizer_filter_size")

PUBLISHED = """
    random_seed model wandb_log wandb_project wandb_entity device image_format trouble_shoot warping_strength
    warping_resolution data_set task batch_size num_workers val_ratio image_size num_classes n_digits s test_s
    test_scale_count concat_type image_channels optimizer outer_optimizer_kwargs surrogate_optimizer_kwargs
    surrogate_optim outer_lr surrogate_lr weight_decay epochs scheduler clip_gradient gradient_clip_value criterion
    adaptation_pause save_model save_model_path weight_saving_interval do_adaptation skip_input_augmentation
    random_logit_mode inner_random_noise calculate_warping_equiv test_samples unique_params_limit surrogate_model
    unique_optima_loss unique_optima_loss_weight train_surrogate_only alternate_training alternate_interval
    deep_equlibrium_mode do_pre_training_eval fine_tune use_pretrained do_cannonicalization inner_loss
    test_inner_epochs do_data_augmentation adam_betas deform_resolution equivariance_loss equivariance_loss_weight
    surrogate_equivariance_loss_weight surrogate_task_loss_weight eqloss_type phi_loss_weight phi_diff_loss_weight
    phi_diff_increment_per_epoch phi_diff_loss_weight_max phi_prior_loss_weight inner_epochs inner_lr
    surrogate_gradient_clip_value num_phi_layers adapter_coarse_resolution adapter_num_layers adapter_channels
    adapter_filter_size adapter_pool_rate evaluate_trained_model load_pretrained model_weights_path phi_x_list_path
    phi_y_list_path surrogate_weights_path dem_image_scale inner_optimizer normalize_inner_grad unroll_epochs
    learn_phi_intialization sep_optimization train_augmentation_limit multiscale_fine_tune segmentation_head
    dpt_feature_channels dpt_fusion_hidden_size ignore_index test_augmentation_limit
"""


def translated(**changes: Any) -> dict[str, Any]:
    """The recipe of a plain ViT entry with some keys changed."""
    return to_recipe({**BASE, "model": "vit", **changes})[0]


def of_flat(flat: dict[str, Any], folder: Path, name: str = "entry", *overrides: str) -> Config:
    """What a file in the flat format gives for an entry; warnings are not looked at."""
    file = folder / "flat.yaml"
    file.write_text(yaml.safe_dump({"base_config": BASE, name: flat}), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((_, config),) = load_recipes(file, name, overrides)
    return config


@pytest.mark.parametrize("name", ENTRIES)
def test_a_published_entry_is_the_recipe_of_its_name(name: str, tmp_path: Path) -> None:
    config = of_flat(ENTRIES[name], tmp_path, name)
    ((_, recipe),) = load_recipes("config_1.yaml", name)
    if name == "ada_swin_dem":  # as published, it loads stored weights instead of the augmentation checkpoint
        assert config.warm_start is None and not config.evaluation.before_training
        config = replace(config, warm_start=recipe.warm_start, evaluation=recipe.evaluation)
    assert comparable(config) == comparable(recipe)  # in whatever words they name their phases


def test_the_base_alone_is_the_base_recipe(tmp_path: Path) -> None:
    ((_, recipe),) = load_recipes("config_1.yaml", "base_config")
    config = of_flat({"model": "resnet"}, tmp_path)
    assert comparable(replace(config, model=recipe.model)) == comparable(recipe)


def test_the_base_itself_names_no_model(tmp_path: Path) -> None:
    file = tmp_path / "flat.yaml"
    file.write_text(yaml.safe_dump({"base_config": BASE}), "utf-8")
    with pytest.raises(ConfigError, match=r"flat.yaml: base_config: model is 'cnn'; expected one of swin, resnet, vit"):
        load_recipes(file)


@pytest.mark.parametrize("name", ENTRIES)
def test_one_warning_names_all_keys_without_effect(name: str, tmp_path: Path) -> None:
    file = tmp_path / "flat.yaml"
    file.write_text(yaml.safe_dump({"base_config": BASE, **ENTRIES}), "utf-8")
    with pytest.warns(UserWarning) as caught:
        load_recipes(file, name)
    (text,) = [str(warning.message) for warning in caught]
    assert text.startswith(f"{file}: {name}: without effect: ")
    _, ignored = to_recipe({**BASE, **ENTRIES[name]})
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").replace(";", " ").split()
    assert all(words.count(key) == 1 for key in ignored if key not in ("s", "weight_decay"))
    assert "random_seed (the command line's --random_seed always won)" in text
    assert "weight_decay (it was never read, and AdamW's default of 0.01 acted; set train.weight_decay)" in text
    assert ("inner_lr" in ignored) == ("inner_lr" in ENTRIES[name])  # the deep equilibrium mode has no inner steps


@pytest.mark.parametrize("name", ENTRIES)
def test_every_key_is_mapped_or_named(name: str) -> None:
    """A key that is not named as ignored changes the recipe, or its value is refused where it cannot be honoured."""
    flat = {**BASE, **ENTRIES[name]}
    recipe, ignored = to_recipe(flat)
    for key in flat.keys() - ignored.keys():
        for other in (True, False, 0.123, 7, "text", [1, 2], None):
            try:
                if to_recipe({**flat, key: other}) != (recipe, ignored):
                    break
            except ConfigError:
                break
        else:
            raise AssertionError(f"{key} is neither used nor named")


def test_all_published_keys_are_known() -> None:
    assert [key for key in PUBLISHED.split() if key not in KNOWN] == []
    tables = [set(OURS), MADE_OF, set(WITHOUT_EFFECT)]
    assert sum(map(len, tables)) == len(KNOWN)  # no key in two tables
    assert {key for key in BASE} | {key for entry in ENTRIES.values() for key in entry} <= {*KNOWN, *SCORER}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outer_rl": 0.1}, "outer_rl: unknown key of the published flat format. Did you mean 'outer_lr'?"),
        ({"task": "segmentation"}, "task is 'segmentation'; expected one of classification"),
        ({"criterion": "mse"}, "criterion is 'mse'; expected one of cross_entropy"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; expected one of adam, adamw"),
        ({"deform_resolution": [28, 28]}, r"deform_resolution is \[28, 28\]; expected null"),
        ({"adaptation_pause": 3}, "adaptation_pause is 3; expected -1"),
        ({"num_classes": 10}, "num_classes is 10; expected 10 to the power of n_digits, 3"),
        ({"unique_optima_loss": True}, "unique_optima_loss is true; expected do_adaptation true with it"),
        ({"model": "cnn"}, "model is 'cnn'; expected one of swin, resnet, vit, deit, beit, dino"),
        ({"do_adaptation": "yes"}, "do_adaptation is 'yes'; expected true or false"),
        ({"device": "cuda:1"}, "device is 'cuda:1'; expected cpu or cuda:0. CUDA_VISIBLE_DEVICES chooses a card"),
        ({"scheduler": "exponential"}, "scheduler is 'exponential'; expected step, ReduceLROnPlateau or CyclicLR"),
        ({"scheduler": {"name": "step", "last_epoch": 3}}, "scheduler has last_epoch; expected only step"),
        ({"scheduler": {"name": "ReduceLROnPlateau", "mode": "max"}}, "scheduler has mode; expected only patience"),
        ({"scheduler": "cyclic"}, "CyclicLR needs base_lr and max_lr"),
        ({"outer_optimizer_kwargs": {"betas": [0.1, 0.2]}}, "expected nothing but weight_decay in it"),
        ({"image_format": "NUMPY"}, "image_format is 'NUMPY'; expected one of pil, tensor"),
        ({"val_ratio": 1.0}, "val_ratio is 1.0; expected at least 0 and below 1"),
        ({"scheduler": {"step": 3}}, "scheduler is {'step': 3}; expected its values as a mapping"),
        ({**DEM, "num_phi_layers": 0}, "num_phi_layers is 0, adapter_num_layers 2; expected both at least 1"),
        ({"val_ratio": "most"}, "val_ratio is 'most'; expected a number"),
        ({"equivariance_loss": True}, "equivariance_loss_weight: missing; expected a number, since equivariance_loss"),
        ({**DEM, "eqloss_type": "l1"}, "eqloss_type is 'l1'; expected one of kl, mse, js, jd"),
        ({**DEM, "alternate_interval": 2.5}, "alternate_interval is 2.5; expected a whole number"),
        ({**DEM, "adapter_coarse_resolution": [4]}, r"adapter_coarse_resolution is \[4\]; expected a list of 2"),
        ({**DEM, "adapter_channels": [3, 8, 16, 32]}, "expected a list that ends with block 2's"),
        ({**DEM, "adapter_channels": None}, "adapter_channels is null; expected a list of 3"),
        (
            {"do_cannonicalization": True, SCORER[0]: 3, SCORER[2]: [3, 3]},
            "the canonicalisation network has 3 layers; expected 2",
        ),
    ],
)
def test_what_is_not_done_here_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        translated(**changes)


def test_messages_name_the_published_key_too(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"flat.yaml: entry: train.backbone_lr \(the file's outer_lr\) is 'fast'; exp"
    ):
        of_flat({"model": "vit", "outer_lr": "fast"}, tmp_path)
    with pytest.raises(ConfigError, match=r"entry: data.scales\[1\] \(the file's s\[1\]\) is 3; expected a list of 2"):
        of_flat({"model": "vit", "s": [[1, 2], 3, [1, 2]]}, tmp_path)
    with pytest.raises(ConfigError, match=r"entry: train.epochs \(the file's epochs\) is -1; expected at least 0"):
        of_flat({"model": "vit", "epochs": -1}, tmp_path)
    with pytest.raises(ConfigError, match="entry: outer_rl: unknown key of the published flat format"):
        of_flat({"model": "vit", "outer_rl": 0}, tmp_path)


def test_overrides_of_a_flat_entry_have_our_names(tmp_path: Path) -> None:
    assert of_flat({"model": "vit"}, tmp_path, "entry", "train.epochs=3").train.epochs == 3
    with pytest.raises(ConfigError, match=r"command line: entry: epochs: unknown key. Did you mean 'train.epochs'"):
        of_flat({"model": "vit"}, tmp_path, "entry", "epochs=3")


def test_files_are_told_apart() -> None:
    assert is_flat({"base_config": BASE, "a": {"model": "vit"}})
    assert is_flat({"a": {"outer_lr": 1}, "b": {}})
    assert not is_flat({"a": {"model": {"backbone": "vit"}}})
    assert not is_flat({"a": {"model": "vit"}})
    assert not is_flat({"a": {"train": {}, "outer_lr": 1}})
    assert not is_flat({"a": {"suite": ["b"]}, "b": None})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"scheduler": {"step": {"step": 2, "gamma": 0.7}}}, {"name": "step", "step_size": 2, "factor": 0.7}),
        ({"scheduler": {"name": "StepLR", "step_size": 3}}, {"name": "step", "step_size": 3, "factor": 0.1}),
        ({"scheduler": {"type": "step", "kwargs": {"step": 2}}}, {"name": "step", "step_size": 2, "factor": 0.1}),
        (
            {"scheduler": "ReduceLROnPlateau", "scheduler_kwargs": {"patience": 2, "mode": "min"}},
            {"name": "plateau", "patience": 2, "factor": 0.1},
        ),
        ({"scheduler": {"ReduceLROnPlateau": None}}, {"name": "plateau", "patience": 10, "factor": 0.1}),
        ({"scheduler": None}, {"name": "constant"}),
    ],
)
def test_schedules_come_in_any_shape(given: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = translated(**given)
    assert recipe["train"]["schedule"] == expected
    ScheduleConfig(**recipe["train"]["schedule"])


def test_a_cyclic_schedule_sets_both_rates() -> None:
    cyclic = {"name": "CyclicLR", "base_lr": 0.001, "max_lr": 0.004, "step_size_up": 5}
    train = translated(**DEM, scheduler=cyclic)["train"]
    assert train["schedule"] == {"name": "cyclic", "step_size": 5, "floor": 0.25}
    assert train["backbone_lr"] == train["canonicalizer_lr"] == 0.004
    assert {"outer_lr", "surrogate_lr"} <= to_recipe({**BASE, **DEM, "model": "vit", "scheduler": cyclic})[1].keys()


def epochs_alone(recipe: dict[str, Any]) -> int:
    """In which the canonicalizer trains alone."""
    return sum(phase["epochs"] for phase in recipe["train"]["phases"] if phase.get("trains") == ["canonicalizer"])


def test_switches_decide_together() -> None:
    assert translated(clip_gradient=False)["train"]["backbone_clip"] is None
    assert translated(**DEM, clip_gradient=False)["train"]["canonicalizer_clip"] is None
    assert epochs_alone(translated(**{**DEM, "train_surrogate_only": True})) == 60
    assert epochs_alone(translated(**{**DEM, "alternate_training": False})) == 0
    assert epochs_alone(translated(**{**DEM, "alternate_interval": 99})) == 60
    stages = [site["stage"] for site in translated(**{**DEM, "skip_input_augmentation": False})["method"]["sites"]]
    assert stages == ["image", 0]
    dec = translated(**DEM, dem_image_scale=False)["method"]
    assert (dec["input_size"], dec["normalize"]) == (None, False)
    kwargs = {"outer_optimizer_kwargs": {"weight_decay": 0.0}, "surrogate_optimizer_kwargs": {"weight_decay": 0.1}}
    train = translated(**DEM, **kwargs)["train"]
    assert (train["weight_decay"], train["canonicalizer_weight_decay"]) == (0.0, 0.1)
    assert translated(device="cpu")["train"]["device"] == "cpu"
    assert translated(wandb_log=True)["wandb"]["mode"] == "online"
    often = translated(weight_saving_interval=5)["evaluation"]
    assert (often["every"], often["full_every"]) == (5, 10)
    assert translated(**{**DEM, "eqloss_type": "MSE"})["loss"]["equivariance"]["distance"] == "mse"
    assert translated(val_ratio=0.5)["data"]["train_items"] == 30000


def test_the_unrolled_mode_is_the_energy_canonicalizer(tmp_path: Path) -> None:
    inner = {
        "deep_equlibrium_mode": False,
        "inner_optimizer": "adam",
        "normalize_inner_grad": True,
        "unroll_epochs": 3,
        "inner_epochs": 4,
        "test_inner_epochs": 6,
        "equivariance_loss": False,
    }
    flat = {"model": "vit", **DEM, **inner}
    config = of_flat(flat, tmp_path)
    assert config.method == Energy(
        sites=tuple(Site(stage=k, grid_size=4, restore=True) for k in range(2)),
        learning_rate=(0.05, 0.05),
        betas=(0.2, 0.6),
        steps=4,
        test_steps=6,
        unroll=3,
        normalize_gradient=True,
    )
    assert (config.loss.two_views, config.loss.uniqueness.weight) == (True, 0.1)
    entropy = of_flat(
        {**flat, "surrogate_model": False, "inner_loss": "renyi", "inner_optimizer": "GD"}, tmp_path
    ).method
    assert isinstance(entropy, Energy) and (entropy.objective, entropy.optimizer) == ("renyi", "descent")
    assert not set(INNER_LOOP) & to_recipe({**BASE, **flat})[1].keys()


def test_sizes_of_the_canonicalisation_network_are_taken(tmp_path: Path) -> None:
    sizes = {SCORER[0]: 3, SCORER[1]: [3, 4, 5, 1], SCORER[2]: [3, 5, 3], "unique_params_limit": 5}
    config = of_flat(
        {"model": "swin", "do_cannonicalization": True, **sizes, "cannonicalizer_values": [0.8, 1]}, tmp_path
    )
    assert config.method == Candidates(values=(0.8, 1.0), limit=5, channels=(3, 4, 5, 1), kernel_sizes=(3, 5, 3))
