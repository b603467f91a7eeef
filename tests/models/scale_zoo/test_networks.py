"""What must be true of every network of the zoo: timm takes it, its maps lie where they say, and tools bear it."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import models.scale_zoo  # noqa: F401  (makes the networks known to timm)
from layers.scale.functions import settle
from layers.scale.pool import ScaleMean, ScalePool
from models.scale_zoo import stir2
from tests.layers.scale.trials import bears_tools
from train.runs.checkpoint import save_weights

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


POOLING = ("mnist3_standard", "mnist3_xu_56", "mnist3_dss_scalar_56", "mnist3_hermite", "mnist3_dss")


@pytest.mark.parametrize("name", POOLING)
@torch.no_grad()
def test_maps_of_pooling_networks_lie_where_they_say(name: str) -> None:
    """The same, of the first two stages, which are of any size."""
    torch.manual_seed(0)
    model = timm.create_model(name).double().eval()
    whole = random(1, 1, 96, 96).double()
    of_part, of_whole = (_stages(model, x) for x in (whole[..., 16:80, 16:80], whole))
    told = model.feature_maps(random(1, 1, 28, 28).double())
    for stage, inner in of_part.items():
        found = told[stage]
        shift = round(16 / found.stride)
        for level in range(inner.shape[2] if found.is_lifted else 1):
            margin = found.margins[level if len(found.margins) > 1 else 0]
            one, other = (value[:, :, level] if found.is_lifted else value for value in (inner, of_whole[stage]))
            other = other[..., shift : shift + one.shape[-2], shift : shift + one.shape[-1]]
            cut = slice(margin, one.shape[-1] - margin)
            assert cut.start < cut.stop
            torch.testing.assert_close(one[..., cut, cut], other[..., cut, cut])


def _stages(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    found, x = {}, model.prepare(x)
    for name in model.stages[:2]:
        x = found[name] = model.get_submodule(name)(x)
    return found


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


@pytest.mark.parametrize("name", ["standard", "disco", "dss_scalar"])
def test_mnist3_takes_an_image_of_56_as_it_is(name: str) -> None:
    small, large = (timm.create_model(f"mnist3_{name}_56", img_size=side).eval() for side in (28, 56))
    small.load_state_dict(large.state_dict())
    image = torch.rand(1, 1, 28, 28)
    enlarged = image.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(small(image), large(enlarged))
    for one, other in zip(small.feature_info, large.feature_info, strict=True):
        assert 2 * one["reduction"] == other["reduction"]
    strides = [[maps.stride for maps in net.feature_maps(x).values()] for net, x in ((small, image), (large, enlarged))]
    assert [2 * stride for stride in strides[0]] == strides[1] == [info["reduction"] for info in large.feature_info]


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


READ = ("stir2_hermite", "stir2_dss_v2", "stir2_spatial_transform", "mnist3_xu", "wrn16_8_disco")


@pytest.mark.parametrize("name", READ)
@torch.no_grad()
def test_timm_reads_features_of_it(name: str) -> None:
    """With what stands before the stages, and over scales the largest answer."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    torch.manual_seed(0)
    reader = timm.create_model(name, features_only=True).eval()
    channels, H, W = (3, 32, 32) if name.startswith("wrn") else model.pretrained_cfg["input_size"]
    x = random(2, channels, H, W)
    if name == "stir2_spatial_transform":
        for network in (model, reader.model):
            nn.init.constant_(network.lift.localisation[-1].bias, 0.3)
    wanted = [found.value for found in model.feature_maps(x).values()]
    for found, value, count in zip(reader(x), wanted, reader.feature_info.channels(), strict=True):
        assert torch.equal(found, value.amax(2) if value.ndim == 5 else value) and found.shape[1] == count
    _, (last,) = model.forward_intermediates(x, indices=1)
    assert torch.equal(last, reader(x)[-1])


@pytest.mark.parametrize("name", ["stir2_learned_scales", "stir2_hermite", "stir2_c8", "mnist3_xu", "mnist3_dss"])
def test_it_is_kept_and_pickled(name: str, tmp_path: Path) -> None:
    """What layers share is written too, and read again."""
    model = timm.create_model(name).eval()
    save_weights(tmp_path, model)
    other = timm.create_model(name).eval()
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = random(2, *model.pretrained_cfg["input_size"])
    assert torch.equal(other(x), model(x))
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


@pytest.mark.parametrize("name", ["stir2_standard", "mnist3_hermite", "wrn16_8_standard"])
def test_no_classes_leave_the_features(name: str) -> None:
    model = timm.create_model(name, num_classes=0).eval()
    size = (3, 32, 32) if name.startswith("wrn") else model.pretrained_cfg["input_size"]
    assert model(random(1, *size)).shape == (1, model.num_features)
    model.reset_classifier(3)
    assert model(random(1, *size)).shape == (1, 3)


@torch.no_grad()
def test_wrn16_8_by_hand() -> None:
    """Norm, ReLU, convolution, twice, and beside it the input or its mixture, which sees the active input."""
    torch.manual_seed(0)
    model = timm.create_model("wrn16_8_standard").eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    image = random(1, 3, 20, 20)
    x = F.conv2d(image, model.conv.weight, padding=1)
    for layer, stride in ((model.layer1, 1), (model.layer2, 2), (model.layer3, 2)):
        for number, block in enumerate(layer):
            step = stride if number == 0 else 1
            active = block.norm1(x).relu()
            beside = F.conv2d(active, block.shortcut.weight, stride=step) if number == 0 else x
            hidden = block.norm2(F.conv2d(active, block.conv1.weight, stride=step, padding=1)).relu()
            x = beside + F.conv2d(hidden, block.conv2.weight, padding=1)
    torch.testing.assert_close(model(image), model.fc(model.norm(x).relu().mean((2, 3))))
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1] >= 128:
            wanted = (2 * module.weight.shape[1] / module.weight.numel()) ** 0.5
            assert float(module.weight.std()) == pytest.approx(wanted, rel=0.02)


@torch.no_grad()
def test_settings_of_the_networks() -> None:
    """Those that no published number holds."""
    assert timm.create_model("wrn16_8_hermite_c").scales == pytest.approx((1.1, 1.551, 2.18691))
    assert timm.create_model("mnist3_xu").layer1.conv.sides == (1, 3, 5, 7, 11, 15, 23)
    assert isinstance(timm.create_model("stir2_dss").close, ScaleMean)
    published, ours = (timm.create_model(f"mnist3_learned_scales{end}") for end in ("_published", ""))
    assert [type(model.layer1.after[0]) for model in (published, ours)] == [nn.Identity, nn.ReLU]
    tail = timm.create_model("mnist3_disco_56").layer3.after
    assert [type(part) for part in tail] == [nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d]
    assert (tail[1].kernel_size, tail[1].stride, tail[2].kernel_size, tail[2].stride) == (7, 1, 2, 4)


@pytest.mark.parametrize("name", ["stir2_dss", "stir2_deformable_dss"])
def test_a_mean_takes_no_scale(name: str) -> None:
    with pytest.raises(ValueError, match="never leaves one scale of several"):
        timm.create_model(name).scale_indices(random(1, 1, 64, 64))


@torch.no_grad()
def test_indices_of_the_wide_network() -> None:
    """Where it lifts again, one scale was left before; at the end, after the last norm."""
    model = timm.create_model("wrn16_8_disco").eval()
    found = model.scale_indices(random(1, 3, 16, 16))
    assert [(name, tuple(index.level.shape)) for name, index in found.items()] == [
        ("layer2", (1, 128, 16, 16)),
        ("layer3", (1, 512)),
    ]


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
        ("mnist3_standard", {"img_size": 56}, "img_size is 56; expected 28"),
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
