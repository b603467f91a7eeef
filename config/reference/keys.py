"""The keys of the published flat format: what each is here, why some have no effect, and an entry that counts reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from config.errors import ConfigError
from config.words import shown, suggestion

ALWAYS = {  # of every entry: what each is here
    "batch_size": "train.batch_size",
    "concat_type": "data.layout",
    "data_set": "data.name",
    "do_pre_training_eval": "evaluation.before_training",
    "epochs": "train.epochs",
    "image_channels": "data.channels",
    "image_size": "data.cell_size",
    "n_digits": "data.n_digits",
    "num_workers": "data.workers",
    "s": "data.scales",
    "test_s": "data.test_scales",
    "test_samples": "evaluation.local_scale_items",
    "test_scale_count": "evaluation.local_scale_draws",
    "use_pretrained": "model.pretrained",
    "wandb_project": "wandb.project",
    "warping_resolution": "warp.grid_size",
    "warping_strength": "warp.strength",
    "weight_saving_interval": "evaluation.every",
}
PHI_LOSSES = {  # of the deep equilibrium mode with unique_optima_loss
    "phi_loss_weight": "loss.phi.weight",
    "phi_diff_loss_weight": "loss.phi.difference",
    "phi_diff_increment_per_epoch": "loss.phi.difference_increment",
    "phi_diff_loss_weight_max": "loss.phi.difference_max",
    "phi_prior_loss_weight": "loss.phi.prior",
}
INNER_LOOP = {  # of the unrolled inner optimisation
    "adam_betas": "method.betas",
    "inner_lr": "method.learning_rate",
    "normalize_inner_grad": "method.normalize_gradient",
    "test_inner_epochs": "method.test_steps",
    "unroll_epochs": "method.unroll",
}
SWITCHED = {  # that other keys switch on or change
    "adapter_channels": "method.channels",
    "adapter_filter_size": "method.kernel_sizes",
    "adapter_pool_rate": "method.pools",
    "eqloss_type": "loss.equivariance.distance",
    "equivariance_loss_weight": "loss.equivariance.weight",
    "gradient_clip_value": "train.backbone_clip",
    "inner_optimizer": "method.optimizer",
    "outer_lr": "train.backbone_lr",
    "save_model_path": "output_dir",
    "surrogate_equivariance_loss_weight": "train.phases[0].terms.equivariance",
    "surrogate_gradient_clip_value": "train.canonicalizer_clip",
    "surrogate_lr": "train.canonicalizer_lr",
    "surrogate_task_loss_weight": "train.phases[0].terms.task",
    "unique_optima_loss": "loss.two_views",
    "unique_optima_loss_weight": "loss.uniqueness.weight",
    "unique_params_limit": "method.limit",
}
OURS = ALWAYS | PHI_LOSSES | INNER_LOOP | SWITCHED  # keys that stand for one key of ours

MADE_OF = {  # keys that decide together, or in other words; digits.py says how
    "adaptation_pause",
    "adapter_coarse_resolution",
    "adapter_num_layers",
    "alternate_interval",
    "alternate_training",
    "clip_gradient",
    "criterion",
    "deep_equlibrium_mode",
    "deform_resolution",
    "dem_image_scale",
    "device",
    "do_adaptation",
    "do_cannonicalization",
    "do_data_augmentation",
    "equivariance_loss",
    "fine_tune",
    "image_format",
    "inner_epochs",
    "inner_loss",
    "model",
    "num_classes",
    "num_phi_layers",
    "optimizer",
    "outer_optimizer_kwargs",
    "scheduler",
    "scheduler_kwargs",
    "skip_input_augmentation",
    "surrogate_model",
    "surrogate_optimizer_kwargs",
    "task",
    "train_surrogate_only",
    "val_ratio",
    "wandb_log",
}

NEVER_READ = "the published code never read them"
STORED = "runs train, and find their weights in the run folder"
DENSE = "they belong to dense prediction"
WITHOUT_EFFECT = {  # why a key changes nothing
    "calculate_warping_equiv": "the warp invariance error is always measured",
    "evaluate_trained_model": STORED,
    "inner_random_noise": NEVER_READ,
    "learn_phi_intialization": NEVER_READ,
    "load_pretrained": STORED,
    "model_weights_path": STORED,
    "multiscale_fine_tune": DENSE,
    "phi_x_list_path": STORED,
    "phi_y_list_path": STORED,
    "random_logit_mode": NEVER_READ,
    "random_seed": "the command line's --random_seed always won",
    "save_model": NEVER_READ,
    "sep_optimization": NEVER_READ,
    "surrogate_optim": NEVER_READ,
    "surrogate_weights_path": STORED,
    "train_augmentation_limit": NEVER_READ,
    "trouble_shoot": NEVER_READ,
    "wandb_entity": "the published code never read it; set wandb.entity",
    "weight_decay": "it was never read, and AdamW's default of 0.01 acted; set train.weight_decay",
    "segmentation_head": DENSE,
    "dpt_feature_channels": DENSE,
    "dpt_fusion_hidden_size": DENSE,
    "ignore_index": DENSE,
    "test_augmentation_limit": DENSE,
}

KNOWN = OURS.keys() | MADE_OF | WITHOUT_EFFECT.keys()


class Entry:
    """An entry that remembers which of its keys were read, and the recipe that is made of it."""

    def __init__(self, flat: Mapping[str, Any], ours: Mapping[str, str] = OURS):
        self.flat, self.ours = flat, ours
        self.read: set[str] = set()
        self.recipe: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return self.flat.get(key, default)

    def is_on(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{key} is {shown(value)}; expected true or false")
        return value

    def number(self, key: str, default: float) -> Any:
        value = self.get(key, default)
        kind = int if isinstance(default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ConfigError(f"{key} is {shown(value)}; expected a {'whole ' * (kind is int)}number")
        return value

    def choice(self, key: str, default: str, known: Mapping[str, str]) -> str:
        """One of some names, in whatever letters."""
        value = self.get(key, default)
        if str(value).lower() not in known:
            hint = suggestion(str(value).lower(), known)
            raise ConfigError(f"{key} is {shown(value)}; expected one of {', '.join(known)}. {hint}".rstrip(". "))
        return known[str(value).lower()]

    def per_layer(self, key: str, count: int) -> list:
        """The first ``count`` items of a list, or one value for all."""
        value = self.get(key)
        values = value if isinstance(value, list) else [value] * count
        if value is None or len(values) < count:
            raise ConfigError(f"{key} is {shown(value)}; expected a list of {count}")
        return values[:count]

    def set(self, dotted: str, value: Any) -> None:
        *sections, name = dotted.split(".")
        at = self.recipe
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value

    def copy(self, keys: Iterable[str]) -> None:
        """Take over values that are one of ours, where the entry has them."""
        for key in keys:
            if key in self.flat:
                self.set(self.ours[key], self.get(key))
