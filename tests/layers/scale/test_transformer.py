"""The spatial transformer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.pool import GlobalMax
from layers.scale.transformer import SpatialTransformer, affine_places, resampled
from tests.layers.scale.golden import FOLDER, golden
from tests.layers.scale.trials import bears_tools, fall_of_loss

KINDS = ("affine", "scale")


def moved(kind: str = "affine") -> SpatialTransformer:
    """One that no longer is the identity."""
    torch.manual_seed(0)
    transformer = SpatialTransformer(2, kind=kind)
    nn.init.normal_(transformer.localisation[-1].weight, std=0.3)
    return transformer


def test_published_resampling() -> None:
    numbers, _ = golden("stn_resample")
    torch.testing.assert_close(affine_places(numbers["theta"], 16, 16), numbers["grid"], rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(resampled(numbers["x"], numbers["theta"]), numbers["y"], rtol=1e-10, atol=1e-13)


def test_published_transformer() -> None:
    numbers, settings = golden("stir_model_spatial_transform_C1_n10")
    transformer = SpatialTransformer(1).double()
    parameters = list(transformer.parameters())
    rows = [(i, row) for i, row in enumerate(settings["params"]) if row[0].startswith("transform")]
    assert [list(p.shape) for p in parameters] == [row[1] for _, row in rows]
    with torch.no_grad():
        for parameter, (index, (_, shape, kind)) in zip(parameters, rows, strict=True):
            parameter.copy_(_by_rule(settings["seed"], index, shape, kind))
        parameters[-2].mul_(0.2)
        parameters[-1].add_(torch.tensor([1, 0, 0, 0, 1, 0]))
    value, theta = transformer(numbers["x"], return_theta=True)
    torch.testing.assert_close(theta, numbers["theta"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(value[:, :, ::8, ::8], numbers["x_transformed_sample"], rtol=1e-9, atol=1e-12)


def _by_rule(seed: int, index: int, shape: list[int], kind: str) -> torch.Tensor:
    uniform = np.random.RandomState(1000 * seed + index).uniform(-1, 1, shape)
    return torch.from_numpy(uniform * ((3 / np.prod(shape[1:])) ** 0.5 if kind == "W" else 0.1))


def test_published_counts() -> None:
    with np.load(FOLDER / "stir_param_counts.npz") as file:
        rows = dict(zip(file["models"].tolist(), file["counts"].tolist(), strict=True))
        channels = file["configs"][:, 0].tolist()
    for C, whole, bare in zip(channels, rows["spatial_transform"], rows["standard"], strict=True):
        assert sum(p.numel() for p in SpatialTransformer(C).parameters()) == whole - bare


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [16, 32])
def test_it_begins_as_the_identity(kind: str, side: int) -> None:
    x = torch.randn(2, 2, side, side)
    backbone, transformer = nn.Conv2d(2, 3, 3), SpatialTransformer(2, kind=kind)
    assert torch.equal(nn.Sequential(transformer, backbone)(x), backbone(x))


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_begin_as_the_identity_but_for_rounding(kind: str) -> None:
    x = torch.randn(2, 2, 19, 27, dtype=torch.float64)
    torch.testing.assert_close(SpatialTransformer(2, kind=kind).double()(x), x, rtol=0, atol=1e-12)


def test_pooling_changes_nothing_at_64() -> None:
    transformer, x = moved().localisation, torch.randn(1, 2, 64, 64)
    assert torch.equal(transformer(x), nn.Sequential(*transformer[:6], *transformer[7:])(x))


def test_a_scale_is_read_about_the_centre() -> None:
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    transformer = SpatialTransformer(2, kind="scale").double()
    nn.init.constant_(transformer.localisation[-1].bias, -torch.tensor(3.0).log().item())
    value, theta = transformer(x, return_theta=True)
    torch.testing.assert_close(
        theta, torch.tensor([[[1 / 3, 0, 0], [0, 1 / 3, 0]]], dtype=torch.float64), atol=1e-7, rtol=0
    )
    enlarged = F.interpolate(x[..., 4:8, 4:8], scale_factor=3, mode="bilinear", align_corners=False)
    torch.testing.assert_close(value[..., 2:-2, 2:-2], enlarged[..., 2:-2, 2:-2], rtol=0, atol=1e-5)


def test_the_first_row_of_the_map_is_x() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    by_two_columns = resampled(x, torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]))
    assert torch.equal(by_two_columns[..., :-2], x[..., 2:]) and not by_two_columns[..., -2:].any()


def test_it_learns() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(SpatialTransformer(1), nn.Conv2d(1, 8, 5), GlobalMax(), nn.Linear(8, 2))
    assert fall_of_loss(net) < 0.7
    assert net[0].localisation[-1].weight.any()


@pytest.mark.parametrize("kind", KINDS)
def test_it_bears_the_tools(kind: str) -> None:
    bears_tools(SpatialTransformer(2, kind=kind), torch.randn(2, 2, 9, 8))


def test_places_keep_their_precision_under_autocast() -> None:
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(affine_places(theta, 50, 50), affine_places(theta.bfloat16(), 50, 50))
    assert affine_places(theta.bfloat16(), 50, 50).dtype == torch.float32
    x = torch.randn(1, 1, 32, 32).bfloat16()
    assert torch.equal(resampled(x, theta.bfloat16()), x)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="kind is 'shear'; expected affine or scale"):
        SpatialTransformer(1, kind="shear")
    with pytest.raises(ValueError, match="got 3 x 9; expected at least 4 x 4"):
        SpatialTransformer(1)(torch.zeros(1, 1, 3, 9))
    with pytest.raises(ValueError, match="SpatialTransformer got a lifted tensor"):
        SpatialTransformer(1)(torch.zeros(1, 1, 2, 9, 9))
