"""Makes the networks known to timm, so that ``timm.create_model`` and all that is built on it take them."""

from __future__ import annotations

import sys
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models._registry import generate_default_cfgs
from torch import nn

from models.scale_zoo.network import ScaleNetwork
from models.scale_zoo.system import System


def register(
    name: str,
    network: type[ScaleNetwork],
    system: System,
    *,
    input_size: tuple[int, int, int],
    first_conv: str,
    mean: float | tuple[float, ...] = 0.0,
    std: float | tuple[float, ...] = 1.0,
    num_classes: int = 10,
    takes_any_size: bool = False,
    **fixed: Any,
) -> None:
    """Register a network with a system under a name; there are no weights to be had for it.

    Args:
        name: for ``timm.create_model``.
        network: of the module that calls this.
        system: whose layers it gets.
        input_size: (C, H, W) of the images that it is made for.
        first_conv: name of the layer that sees them.
        mean: of the images, which a loader takes off.
        std: of the images, which it divides by.
        num_classes: unless others are asked for.
        takes_any_size: whether it does not depend on the size of images.
        fixed: further arguments of the network.
    """
    module = sys.modules[network.__module__]
    channels = input_size[0]
    configuration = {
        "url": "",
        "num_classes": num_classes,
        "input_size": input_size,
        "fixed_input_size": not takes_any_size,
        "mean": mean if isinstance(mean, tuple) else (mean,) * channels,
        "std": std if isinstance(std, tuple) else (std,) * channels,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "first_conv": first_conv,
        "classifier": "fc",
    }
    known = module.__dict__.setdefault("default_cfgs", {})
    known.update(generate_default_cfgs({name: configuration}))

    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        options = {"in_chans": channels, "num_classes": num_classes, **fixed, **options}
        features = {"out_indices": tuple(range(len(network.stages))), "feature_cls": "getter"}
        return build_model_with_cfg(network, name, pretrained, feature_cfg=features, system=system, **options)

    create.__name__ = create.__qualname__ = name
    create.__module__ = module.__name__
    create.__doc__ = f"{network.__name__} with the layers of {name.partition('_')[2]}."
    setattr(module, name, create)  # for timm lists it among the module's names
    register_model(create)
