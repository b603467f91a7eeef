"""Reads the published flat format: one mapping of plain keys per entry, the entry base_config under all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import fields
from pathlib import PurePath
from typing import Any, NamedTuple

from config.reference.keys import ALWAYS, INNER_LOOP, KNOWN, PHI_LOSSES, WITHOUT_EFFECT, Entry
from config.reference.schedule import read_schedule
from config.renamed import METHODS, PUBLISHED_TERMS
from config.schema import Config, ConfigError
from config.words import shown, suggestion

SWITCHED_OFF = "not used with the entry's other settings"
MNIST_TRAIN_ITEMS = 60000
# The published notes give the sizes of the canonicalisation baseline's network, not the spelling of their keys.
SCORER_KEY = re.compile(
    r"can{1,2}on\w*_(?P<what>num_layers|layers|channels|filter_sizes?|kernels?|kernel_sizes?|values)"
)


class Backbone(NamedTuple):
    """What the key ``model`` chooses.

    Args:
        recipes: how names of its recipes begin.
        settings: of our model section.
        restores: whether the published wrapper undid warps after the block in classification.
    """

    recipes: str
    settings: dict[str, Any]
    restores: bool = False


BACKBONES = {
    "swin": Backbone("swin", {"backbone": "swin_tiny_patch4_window7_224.ms_in1k"}),
    "resnet": Backbone("res_net", {"backbone": "resnet50.a1_in1k", "resize": 256}),
    "vit": Backbone("vit", {"backbone": "vit_base_patch16_224.orig_in21k"}, restores=True),
    "deit": Backbone("deit", {"backbone": "deit_base_distilled_patch16_224.fb_in1k"}, restores=True),
    "beit": Backbone("beit", {"backbone": "beit_base_patch16_224.in22k_ft_in22k_in1k"}, restores=True),
    "dino": Backbone("dino", {"backbone": "vit_base_patch14_dinov2.lvd142m", "resize": 256}),
}
SPELLINGS = {"swintransformer": "swin", "resnet50": "resnet", "dinov2": "dino"}


def is_flat(recipes: Mapping[str, Any], known: Set[str] = KNOWN) -> bool:
    """Whether a file's entries hold keys of the published flat format and none of ours."""
    ours = {entry.name for entry in fields(Config)} | {*METHODS, "extends", "suite"}
    entries = [content for content in recipes.values() if isinstance(content, dict)]
    # the key `model` is known to both, and says nothing
    keys = {key for content in entries for key in content} - {"model"}
    return bool(keys & known) and not keys & ours


def to_recipe(flat: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate an entry of the published flat format, over which base_config has been laid already.

    Args:
        flat: the published keys and values.

    Returns:
        The settings as a recipe of ours states them, and the given keys that change nothing, each with the reason.

    Raises:
        ConfigError: for an unknown key, and for what the project does not do.
    """
    strange = [str(key) for key in flat if key not in KNOWN and not SCORER_KEY.fullmatch(str(key))]
    for key in strange:
        if hint := suggestion(key, KNOWN):  # a slip of the pen, where others may come from another version
            raise ConfigError(f"{key}: unknown key of the published flat format. {hint}")
    entry = Entry(flat)
    _refuse_what_is_missing_here(entry)
    entry.copy(ALWAYS)
    _data(entry)
    backbone = _backbone(entry)
    _training(entry)
    if entry.is_on("fine_tune"):
        entry.recipe["warm_start"] = f"{backbone.recipes}_data_augmentation"
    if entry.is_on("do_adaptation"):
        _adaptation(entry, backbone)
    if entry.is_on("do_cannonicalization"):
        _candidates(entry)
    _losses(entry)
    unread = [key for key in flat if key not in entry.read]
    reasons = dict.fromkeys(strange, "unknown here") | WITHOUT_EFFECT
    return entry.recipe, {key: reasons.get(key, SWITCHED_OFF) for key in unread}


def _refuse_what_is_missing_here(entry: Entry) -> None:
    entry.choice("task", "classification", {"classification": ""})
    entry.choice("criterion", "cross_entropy", {"cross_entropy": ""})
    entry.choice("optimizer", "adam", {"adam": "", "adamw": ""})
    resolution = entry.get("deform_resolution")
    if str(resolution).lower() != "none":
        raise ConfigError(f"deform_resolution is {shown(resolution)}; expected null: stages warp at their own size")
    pause = entry.number("adaptation_pause", -1)
    if pause > 0:
        raise ConfigError(f"adaptation_pause is {pause}; expected -1: the canonicalizer acts from the first epoch")
    digits, classes = entry.number("n_digits", 3), entry.get("num_classes")
    if classes is not None and str(classes) != f"1{'0' * digits}":
        raise ConfigError(f"num_classes is {shown(classes)}; expected 10 to the power of n_digits, {digits}")
    if entry.is_on("unique_optima_loss") and not entry.is_on("do_adaptation"):
        raise ConfigError("unique_optima_loss is true; expected do_adaptation true with it, which makes its warps")


def _data(entry: Entry) -> None:
    entry.set("data.standardize", entry.choice("image_format", "PIL", {"pil": "pil", "tensor": "tensor"}) == "tensor")
    if "val_ratio" in entry.flat:
        share = entry.number("val_ratio", 0.9)
        if not 0 <= share < 1:
            raise ConfigError(f"val_ratio is {share}; expected at least 0 and below 1")
        entry.set("data.train_items", MNIST_TRAIN_ITEMS - int(MNIST_TRAIN_ITEMS * share))


def _backbone(entry: Entry) -> Backbone:
    given = entry.get("model")
    name = str(given).lower().removeprefix("ada_").replace("_", "").replace("-", "")
    name = SPELLINGS.get(name, name)
    if name not in BACKBONES:
        raise ConfigError(f"model is {shown(given)}; expected one of {', '.join(BACKBONES)}")
    for key, value in BACKBONES[name].settings.items():
        entry.set(f"model.{key}", value)
    return BACKBONES[name]


def _training(entry: Entry) -> None:
    schedule, rate = read_schedule(entry)
    entry.set("train.schedule", schedule)
    if rate is None:
        entry.copy(["outer_lr"])
    else:
        entry.set("train.backbone_lr", rate)
    if entry.is_on("clip_gradient", True):
        entry.copy(["gradient_clip_value"])
    else:
        entry.set("train.backbone_clip", None)
    if kwargs := _only_weight_decay(entry, "outer_optimizer_kwargs"):
        entry.set("train.weight_decay", kwargs["weight_decay"])
    device = str(entry.get("device", "auto"))
    if device not in ("auto", "cpu", "cuda", "cuda:0"):
        raise ConfigError(f"device is {device!r}; expected cpu or cuda:0. CUDA_VISIBLE_DEVICES chooses a card")
    entry.set("train.device", "cpu" if device == "cpu" else "auto")
    entry.set("warp.probability", 0.5 if entry.is_on("do_data_augmentation") else 0.0)
    entry.set("evaluation.full_every", 2 * entry.number("weight_saving_interval", 20))
    entry.set("wandb.mode", "online" if entry.is_on("wandb_log") else "disabled")
    if "save_model_path" in entry.flat:
        entry.set("output_dir", str(PurePath(str(entry.get("save_model_path")))))


def _only_weight_decay(entry: Entry, key: str) -> dict[str, Any]:
    kwargs = entry.get(key) or {}
    if not isinstance(kwargs, dict) or kwargs.keys() - {"weight_decay"}:
        raise ConfigError(f"{key} is {shown(kwargs)}; expected nothing but weight_decay in it")
    return kwargs


def _adaptation(entry: Entry, backbone: Backbone) -> None:
    """The canonicalizer: deep equilibrium, or the unrolled inner optimisation."""
    is_equilibrium = entry.is_on("deep_equlibrium_mode")
    count, layers = entry.number("num_phi_layers", 1), entry.number("adapter_num_layers", 2)
    if min(count, layers) < 1:
        raise ConfigError(f"num_phi_layers is {count}, adapter_num_layers {layers}; expected both at least 1")
    stages = [*range(count)] if entry.is_on("skip_input_augmentation") else ["image", *range(count - 1)]
    sizes = entry.per_layer("adapter_coarse_resolution", count)
    section: dict[str, Any] = {
        "sites": [
            {"stage": stage, "grid_size": size, "restore": backbone.restores}
            for stage, size in zip(stages, sizes, strict=True)
        ],
        "kernel_sizes": entry.per_layer("adapter_filter_size", layers),
    }
    channels = entry.get("adapter_channels")
    section["channels"] = entry.per_layer("adapter_channels", layers + 1)
    if not isinstance(channels, list) or channels[-1] != channels[layers]:
        raise ConfigError(f"adapter_channels is {shown(channels)}; expected a list that ends with block {layers}'s")
    if is_equilibrium:
        section["pools"] = entry.per_layer("adapter_pool_rate", layers)
        section["solver"] = {"max_steps": entry.number("inner_epochs", 5)}
        if not entry.is_on("dem_image_scale", True):
            section |= {"input_size": None, "normalize": False}
    else:
        is_surrogate = entry.is_on("surrogate_model")
        entropies = {"shannon": "shannon", "renyi": "renyi"}
        section["objective"] = "surrogate" if is_surrogate else entry.choice("inner_loss", "shannon", entropies)
        names = {"adam": "adam", "gd": "descent", "sgd": "descent", "gradient_descent": "descent"}
        section["optimizer"] = entry.choice("inner_optimizer", "adam", names)
        section["steps"] = entry.number("inner_epochs", 5)
        entry.copy(INNER_LOOP)
    entry.recipe.setdefault("method", {}).update({"name": "dec" if is_equilibrium else "energy", **section})
    _alternation(entry)


def _alternation(entry: Entry) -> None:
    """The canonicalizer's own epochs and optimizer."""
    epochs, alone = entry.number("epochs", 60), 0
    if entry.is_on("train_surrogate_only"):
        alone = epochs
    elif entry.is_on("alternate_training"):
        alone = min(entry.number("alternate_interval", 2) + 1, epochs)  # joint as soon as epoch > interval
    first = {"trains": ["canonicalizer"], "epochs": alone, "terms": dict(PUBLISHED_TERMS)}
    entry.set("train.phases", [first, {}])
    scheduled = entry.recipe["train"]["schedule"]["name"] == "cyclic"
    rate = entry.recipe["train"]["backbone_lr"] if scheduled else entry.number("surrogate_lr", 0.001)
    entry.set("train.canonicalizer_lr", rate)
    if entry.is_on("clip_gradient", True):
        entry.copy(["surrogate_gradient_clip_value"])
    else:
        entry.set("train.canonicalizer_clip", None)
    if kwargs := _only_weight_decay(entry, "surrogate_optimizer_kwargs"):
        entry.set("train.canonicalizer_weight_decay", kwargs["weight_decay"])


def _candidates(entry: Entry) -> None:
    if "method" in entry.recipe:
        raise ConfigError("do_adaptation and do_cannonicalization are both true; expected one of them")
    entry.recipe["method"] = {"name": "candidates"}
    entry.copy(["unique_params_limit"])
    read_scorer(entry)


def read_scorer(entry: Entry) -> None:
    """The network that chooses among candidate warps."""
    layers = None
    for key in entry.flat:
        if (match := SCORER_KEY.fullmatch(key)) is None:
            continue
        value, what = entry.get(key), match["what"]
        if what.endswith("layers"):
            layers = value
        else:
            name = what if what in ("channels", "values") else "kernel_sizes"
            entry.set(f"method.{name}", value)
    kernels = entry.recipe["method"].get("kernel_sizes")
    if layers is not None and isinstance(kernels, list) and layers != len(kernels):
        raise ConfigError(
            f"the canonicalisation network has {layers} layers; expected {len(kernels)}, as many as kernels"
        )


def _losses(entry: Entry) -> None:
    adapts = entry.is_on("do_adaptation")
    alone = (
        entry.recipe["train"]["phases"][0]["terms"] if adapts else {}
    )  # weights while the canonicalizer trains alone
    if entry.is_on("equivariance_loss"):
        needed = ["equivariance_loss_weight", *["surrogate_equivariance_loss_weight"] * adapts]
        missing = [key for key in needed if key not in entry.flat]
        if missing:
            raise ConfigError(f"{missing[0]}: missing; expected a number, since equivariance_loss is true")
        entry.copy(["equivariance_loss_weight"])
        kinds = {"kl": "kl", "mse": "mse", "js": "js", "jd": "js"}
        entry.set("loss.equivariance.distance", entry.choice("eqloss_type", "kl", kinds))
        if adapts:
            alone["equivariance"] = entry.number("surrogate_equivariance_loss_weight", 0.0)
    if not adapts:
        return
    alone["task"] = entry.number("surrogate_task_loss_weight", alone["task"])
    if entry.is_on("unique_optima_loss"):
        entry.set("loss.two_views", True)
        if entry.is_on("deep_equlibrium_mode"):
            entry.copy(PHI_LOSSES)
        else:
            entry.set("loss.uniqueness.weight", entry.number("unique_optima_loss_weight", 0.5))
