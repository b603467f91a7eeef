"""What of a backbone trains in fine-tuning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from models.sites import Size, sites_of


def freeze_but(
    backbone: nn.Module, part: str, stages: Collection[int] = (), image_size: Size | int | None = None
) -> None:
    """Freeze a bare timm backbone, except a part of it.

    Args:
        backbone: before it is adapted.
        part: ``complete`` freezes nothing; ``partial`` leaves these stages, ``semi-partial`` all stages, but nothing
            before or after them, and ``head`` the classifier.
        stages: numbers as in ``sites_of``.
        image_size: that the backbone takes, where it does not tell.
    """
    if part == "complete":
        return
    if part == "head":
        head: Any = backbone.get_classifier()  # type: ignore[operator]
        modules = list(head) if isinstance(head, tuple | list) else [head]
    else:
        found = sites_of(backbone, image_size)
        modules = [
            backbone.get_submodule(stage.module) for stage in found if part == "semi-partial" or stage.stage in stages
        ]
        if part == "semi-partial" and not modules:
            raise ValueError(f"train.finetune is {part}, but {type(backbone).__name__} has no stage that would train")
    backbone.requires_grad_(False)
    for module in modules:
        module.requires_grad_(True)
