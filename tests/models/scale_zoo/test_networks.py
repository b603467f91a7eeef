"""What must be true of every network of the zoo: timm takes it, its maps lie where they say, and tools bear it."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)
from layers.scale.functions import settle
from layers.scale.pool import ScalePool
from models.scale_zoo import stir2
from tests.layers.scale.trials import bears_tools

SMALL = 26  # side of the images: SiConv then has ten sides in its first layer, and seven in the second
WIDE = {"conv3d": 28, "hermite": 32, "disco": 32, "learned_scales": 40, "dss_v2": 56}  # their layers leave less of it
KINDS = ("slice_pool", "conv3d_coarse", "ensemble", "spatial_transform", "xu", "kanazawa", "hermite", "disco", "dss")
OTHERS = ("dss_v2", "deformable_dss", "deformable", "c8")
MNIST3 = ("standard", "hermite", "hermite_scalar_56_plus", "disco_56", "xu", "dss", "dss_scalar", "learned_scales")
ROAMING = ("spatial_transform", "spatial_transform_scale", "kanazawa")  # they look at the image as a whole


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(f"stir2_{name}", img_size=side_of(name))


def side_of(name: str) -> int:
    return WIDE.get(name, 64 if name.endswith("coarse") else SMALL)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", stir2.SYSTEMS)
def test_stir2_is_a_timm_model(name: str) -> None:
    side = side_of(name)
    model = timm.create_model(f"stir2_{name}", img_size=side, in_chans=3, num_classes=5).eval()
    x = random(2, 3, side, side)
    assert model(x).shape == (2, 5) and model.num_features == 32
    assert torch.equal(
        model.get_classifier()(model.forward_head(model.forward_features(x), pre_logits=True)), model(x)
    ) or (name == "ensemble")
    maps = model.feature_maps(x)
    for info, (stage, found) in zip(model.feature_info, maps.items(), strict=True):
        assert info["module"] == stage and info["num_chs"] == found.value.shape[1]
    twin = timm.create_model(f"stir2_{name}", img_size=side, in_chans=3, num_classes=5).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x)) and torch.equal(copy.deepcopy(model)(x), model(x))
    model.reset_classifier(0)
    assert model(x).shape == (2, 32)
    assert model.pretrained_cfg["input_size"] == (1, 64, 64) and model.pretrained_cfg["classifier"] == "fc"


@pytest.mark.parametrize("name", [name for name in stir2.SYSTEMS if name not in ROAMING])
@torch.no_grad()
def test_maps_lie_where_they_say(name: str) -> None:
    """A part of an image makes the same map as the whole image does there, but for places that have seen the border."""
    torch.manual_seed(0)
    side, start = side_of(name), 8
    model = small(name).double().eval()
    whole = random(1, 1, side + 24, side + 24).double()
    part = whole[..., start : start + side, start : start + side]
    of_part = model.feature_maps(part)
    for stage, inner in model.feature_maps(whole).items():
        small_map = of_part[stage]
        shift = round(start / small_map.stride)
        assert small_map.stride * shift == start and small_map.start == inner.start
        levels = range(small_map.value.shape[2]) if small_map.is_lifted else [0]
        compared = 0
        for level in levels:
            rows, columns = small_map.valid(level)
            found, wanted = (m.value[:, :, level] if m.is_lifted else m.value for m in (small_map, inner))
            wanted = wanted[..., shift : shift + found.shape[-2], shift : shift + found.shape[-1]]
            if "pool" in name:  # their larger kernels know of the border, and win or not
                continue
            torch.testing.assert_close(found[..., rows, columns], wanted[..., rows, columns])
            compared += found[..., rows, columns].numel()
        assert compared or "pool" in name or name in ("conv3d", "conv3d_coarse"), "nothing was compared"


@torch.no_grad()
def test_stride_and_start_are_those_of_the_pixels() -> None:
    """An impulse answers at the place that stride and start say, in a network whose kernels are symmetric."""
    model = timm.create_model("mnist3_standard_56").eval()
    for stage in (model.layer1, model.layer2):
        stage.conv.weight.copy_(torch.ones_like(stage.conv.weight))
    x = torch.zeros(1, 1, 28, 28)
    x[..., 12, 16] = 1
    for name, found in list(model.feature_maps(x).items())[:2]:
        answer = found.value.abs().sum(1)[0]
        answer = answer - answer.median()
        total = answer.sum()
        for axis, pixel in ((1, 12), (0, 16)):
            place = (answer.sum(axis) * torch.arange(len(answer))).sum() / total
            assert abs(float(found.start + found.stride * place) - pixel) < 0.3, name


@pytest.mark.parametrize("name", ["pixel_pool", "slice_pool_coarse", "hermite", "xu", "dss_v2", "learned_scales"])
def test_indices_say_which_scale_was_taken(name: str) -> None:
    model = small(name).eval()
    x = random(2, 1, side_of(name), side_of(name))
    found = model.scale_indices(x)
    assert list(found)[-1] == "layer2"
    for index in found.values():
        assert all(before < after for before, after in pairwise(index.scales))
        assert int(index.level.max()) < len(index.scales)
    if isinstance(model.layer1.pool, ScalePool):
        lifted = model.layer1.conv(x)
        level = found["layer1"].level
        level = level if level.ndim == 4 else level[..., None, None].expand(-1, -1, *lifted.shape[-2:])
        taken = lifted.gather(2, level[:, :, None])[:, :, 0]
        assert torch.equal(taken, model.layer1.pool(lifted))


@pytest.mark.parametrize("name", ["standard", "deformable", "c4", "conv3d_coarse"])
def test_no_index_where_no_scale_is_taken(name: str) -> None:
    side = side_of(name)
    with pytest.raises(ValueError, match="never leaves one scale of several"):
        small(name).scale_indices(random(1, 1, side, side))


@pytest.mark.parametrize("name", [*KINDS, *OTHERS])
def test_stir2_bears_the_tools(name: str) -> None:
    """Compiled without a break, exported, in bfloat16, copied: see ``bears_tools``."""
    bears_tools(small(name).eval(), random(2, 1, side_of(name), side_of(name)))


@pytest.mark.parametrize("name", MNIST3)
def test_mnist3_bears_the_tools(name: str) -> None:
    model = timm.create_model(f"mnist3_{name}").eval()
    if name == "learned_scales":
        settle(model)
    bears_tools(model, random(2, 1, 28, 28))


@pytest.mark.parametrize("name", timm.list_models("wrn16_8_*"))
@torch.no_grad()
def test_wrn16_8(name: str) -> None:
    """Of small images: it has the plain network's numbers, but for what lifts again, and answers with ten logits."""
    model = timm.create_model(name).eval()
    maps = model.feature_maps(random(1, 3, 24, 24))
    assert [found.value.shape[-1] for found in maps.values()] == [24, 12, 6]
    assert [found.stride for found in maps.values()] == [1, 2, 4]
    plain = sum(p.numel() for p in timm.create_model("wrn16_8_standard").parameters())
    again = 9 * (128**2 + 256**2) if name in ("wrn16_8_hermite_b", "wrn16_8_disco") else 0
    above = 16 * 128 * 9 if name == "wrn16_8_hermite_c" else 0
    assert sum(p.numel() for p in model.parameters()) == plain + again + above
    assert model(random(1, 3, 24, 24)).shape == (1, 10)


@pytest.mark.parametrize(("name", "is_exact"), [("mnist3_dss_exact", True), ("mnist3_dss", False)])
@torch.no_grad()
def test_shrinking_moves_the_levels_of_a_network(name: str, is_exact: bool) -> None:
    """Taking every second pixel of all levels moves the map of the second stage by one level, but for usual pools."""
    torch.manual_seed(0)
    model = timm.create_model(name).double().eval()
    lifted = random(1, 1, 2, 32, 32).double()
    smaller = torch.stack([lifted[:, :, 1, ::2, ::2], torch.zeros(1, 1, 16, 16, dtype=torch.float64)], dim=2)
    whole, half = (model.layer2(model.layer1(x)) for x in (lifted, smaller))
    apart = (half[:, :, 0] - whole[:, :, 1, ::2, ::2]).abs().max()
    assert (apart < 1e-12) == is_exact


def test_learned_widths_learn() -> None:
    """Their gradient arrives, from both layers, and each network has widths of its own."""
    first, second = small("learned_scales"), small("learned_scales")
    F.cross_entropy(first(random(2, 1, SMALL, SMALL)), torch.tensor([0, 1])).backward()
    widths = first.layer1.conv.functions.widths
    assert widths is first.layer2.conv.functions.widths is not second.layer1.conv.functions.widths
    assert float(widths.change.grad.abs()) > 0 and float(widths.base.grad.abs()) > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stir2_standard", {"img_size": 12}, "img_size is 12; expected at least 14"),
        ("stir2_standard", {"img_size": (64, 32)}, "expected a square, such as 64"),
        ("mnist3_standard", {"img_size": 32}, "img_size is 32; expected 28"),
        ("mnist3_disco_56", {"enlarged": False}, "pools is 'mean', .*; it needs enlarged=True"),
    ],
)
def test_bad_input(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timm.create_model(name, **options)


def test_a_lifted_image_is_refused() -> None:
    with pytest.raises(ValueError, match="got a lifted tensor"):
        small("hermite")(random(1, 1, 3, 32, 32))
    with pytest.raises(TypeError, match="got uint8"):
        small("hermite")(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
