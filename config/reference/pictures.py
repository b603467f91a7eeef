"""Reads the published flat format of the ImageNet entries; the flags of the published scripts, which it leaves out, are
those of the recipe ``base``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.reference.digits import SCORER_KEY, SWITCHED_OFF, read_scorer
from config.reference.keys import Entry
from config.renamed import PUBLISHED_TERMS
from config.schema import ConfigError
from config.words import shown, suggestion

BACKBONES = ("swin", "vit", "deit", "beit")  # the last word of an entry's name; the command line gave the model
COPIED = {  # keys that stand for one key of ours
    "equivariance_loss_weight": "loss.equivariance.weight",
    "dem_lr": "train.canonicalizer_lr",
    "dem_weight_decay": "train.canonicalizer_weight_decay",
    "outer_lr": "train.backbone_lr",
    "warping_resolution": "warp.grid_size",
    "warping_strength": "warp.strength",
    "unique_params_limit": "method.limit",
}
PHI_LOSSES = {
    "phi_diff_loss_weight": "loss.phi.difference",
    "phi_diff_increment_per_epoch": "loss.phi.difference_increment",
    "phi_diff_loss_weight_max": "loss.phi.difference_max",
    "phi_prior_loss_weight": "loss.phi.prior",
}
WITHOUT_EFFECT = {
    "surrogate_equivariance_loss_weight": "the published ImageNet code never read it",
    "surrogate_task_loss_weight": "the published ImageNet code never read it",
    "wandb_project": "set wandb.project",
    "wandb_log": "set wandb.mode",
}
MADE_OF = {
    "adapter_channels",
    "adapter_coarse_resolution",
    "adapter_filter_size",
    "adapter_num_layers",
    "adapter_pool_rate",
    "augment_layer_id",
    "deep_equlibrium_mode",
    "deform_resolution",
    "dem_image_scale",
    "do_adaptation",
    "do_cannonicalization",
    "do_data_augmentation",
    "eqloss_type",
    "equivariance_loss",
    "finetune_mode",
    "freeze_backbone_epochs",
    "inner_epochs",
    "interpolation_mode",
    "local_aug_prob",
    "num_phi_layers",
    "task",
    "unaugment_layer_id",
    "unique_optima_loss",
}
OURS = COPIED | PHI_LOSSES
KNOWN = OURS.keys() | WITHOUT_EFFECT.keys() | MADE_OF
PIXELS, NEVER = -1, -100  # published layer numbers


def to_imagenet_recipe(name: str, flat: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate an entry, over which the entry base has been laid already.

    Args:
        name: of the entry.
        flat: the published keys and values.

    Returns:
        The settings over those of our recipe ``base``, and the given keys that change nothing, each with the reason.
    """
    strange = [str(key) for key in flat if key not in KNOWN and not SCORER_KEY.fullmatch(str(key))]
    for key in strange:
        if hint := suggestion(key, KNOWN):
            raise ConfigError(f"{key}: unknown key of the published flat format. {hint}")
    entry = Entry(flat, OURS)
    entry.choice("task", "classification", {"classification": ""})
    entry.choice("interpolation_mode", "bilinear", {"bilinear": ""})
    if str(entry.get("deform_resolution")).lower() != "none":
        raise ConfigError("deform_resolution is set; expected none: stages warp at their own size")
    backbone = name.rpartition("_")[2]
    entry.copy(["outer_lr", "warping_resolution", "warping_strength"])
    augments = entry.is_on("do_data_augmentation")
    entry.set("warp.probability", entry.number("local_aug_prob", 0.5) if augments else 0.0)
    if entry.is_on("equivariance_loss"):
        entry.copy(["equivariance_loss_weight"])
        kinds = {"mse": "mse", "kl": "kl", "js": "js", "jd": "js"}
        entry.set("loss.equivariance.distance", entry.choice("eqloss_type", "mse", kinds))
    else:
        entry.set("loss.equivariance.weight", 0.0)
    modes = {mode: mode for mode in ("complete", "partial", "semi-partial", "head")}
    entry.set("train.finetune", entry.choice("finetune_mode", "complete", modes))
    frozen = entry.number("freeze_backbone_epochs", -1)
    if entry.is_on("do_cannonicalization"):
        entry.set("method.name", "candidates")
        entry.copy(["unique_params_limit"])
        read_scorer(entry)
    elif entry.is_on("do_adaptation"):
        _canonicalizer(entry, backbone)
        first = {"trains": ["canonicalizer"], "epochs": max(0, frozen), "terms": dict(PUBLISHED_TERMS)}
        entry.set("train.phases", [first, {}])
    reasons = dict.fromkeys(strange, "unknown here") | WITHOUT_EFFECT
    return entry.recipe, {key: reasons.get(key, SWITCHED_OFF) for key in flat if key not in entry.read}


def _canonicalizer(entry: Entry, backbone: str) -> None:
    if not entry.is_on("deep_equlibrium_mode", True):
        raise ConfigError("deep_equlibrium_mode is false; expected true, as in all published ImageNet entries")
    count, layers = entry.number("num_phi_layers", 2), entry.number("adapter_num_layers", 2)
    ids, undone = entry.get("augment_layer_id", []), entry.get("unaugment_layer_id", [NEVER])
    if not (isinstance(ids, list) and isinstance(undone, list)):
        raise ConfigError(f"augment_layer_id is {shown(ids)}; expected a list of layers, -1 for the pixels")
    if backbone == "beit":
        ids = [number for number in ids if number != PIXELS]  # the published BEiT did not know the pixels
    if len(ids) < count:
        raise ConfigError(f"augment_layer_id is {shown(ids)}; expected at least {count} layers, one per phi layer")
    sizes = entry.per_layer("adapter_coarse_resolution", count)
    entry.set("method.name", "dec")
    entry.set(
        "method.sites",
        [
            {"stage": "image" if number == PIXELS else number, "grid_size": size, "restore": number in undone}
            for number, size in zip(ids, sizes, strict=False)  # ids beyond the phi layers were ignored
        ],
    )
    entry.set("method.channels", entry.per_layer("adapter_channels", layers + 1))
    entry.set("method.kernel_sizes", entry.per_layer("adapter_filter_size", layers))
    entry.set("method.pools", entry.per_layer("adapter_pool_rate", layers))
    entry.set("method.solver", {"max_steps": entry.number("inner_epochs", 5)})
    entry.copy(["dem_lr", "dem_weight_decay"])
    entry.set("legacy_flat_groups", True)
    entry.set("legacy_double_normalization", entry.is_on("dem_image_scale", True))
    if not entry.is_on("dem_image_scale", True):
        entry.set("method.input_size", None)
    if entry.is_on("unique_optima_loss"):
        entry.set("loss.two_views", True)
        entry.copy(PHI_LOSSES)
