"""Small adapted models, and what tests of them share."""

import copy
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from layers.grid import WarpParams, random_warp_params
from layers.layout import Layout
from models.dec import DECModel, Site, with_dec
from tests.models.architectures import ARCHITECTURES, build, random_images

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
SMALL = {"channels": (3, 6, 8), "kernel_sizes": (3, 3), "pools": (1, 2), "input_size": 32}
SITES = (Site("image", 4), Site(0, 5), Site(1, 4))
SWIN = "swin_tiny_patch4_window7_224"
LAYOUTS = {"test_vit": Layout("tokens", 1), SWIN: Layout("NHWC"), "test_convnext": Layout("NCHW")}

every_layout = pytest.mark.parametrize("name", LAYOUTS)


@lru_cache
def built(name: str) -> nn.Module:
    return build(BY_NAME[name])


def plain(name: str = "test_vit") -> nn.Module:
    return copy.deepcopy(built(name))


def adapted(name: str = "test_vit", sites=SITES, *, backbone: nn.Module | None = None, **options) -> DECModel:
    torch.manual_seed(0)
    image_size = BY_NAME[name].image_size
    return with_dec(backbone or plain(name), sites, image_size=image_size, **{**SMALL, **options})


def images(count: int = 2, size: tuple[int, int] = (96, 96)) -> Tensor:
    return random_images(count, size, torch.Generator().manual_seed(1))


def random_phis(count: int, *grid_sizes: int) -> list[WarpParams]:
    generator = torch.Generator().manual_seed(2)
    return [random_warp_params(count, R, 0.7, generator=generator) for R in grid_sizes]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Of a model in double precision; what the next norm cancels has a gradient of rounding alone."""
    assert found.keys() == expected.keys()
    scale = max(part.abs().max() for part in expected.values())
    for name, part in expected.items():
        assert (found[name] - part).abs().max() <= 1e-6 * part.abs().max() + 1e-11 * scale, name


def hooks_of(model: nn.Module) -> int:
    return sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in model.modules())
