"""The closed form of DISCO's kernels: as good as the published ones, the same every time, and quickly read again."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from layers.scale import disco
from layers.scale.disco import impulse_versions, shrink, solved_versions
from tests.layers.scale.golden import golden

SMALL = (5, 3, (1.0, 1.41, 2.0))
STIR = (15, 7, (1.0, 1.26, 1.59, 2.0))


def circular(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    half = kernels.shape[-1] // 2
    return F.conv2d(F.pad(x, [half] * 4, mode="circular"), kernels[:, None])


def residual(versions: torch.Tensor, scales: tuple[float, ...], noise: torch.Tensor) -> float:
    """Squared difference of filtering before and after shrinking, over the size of the latter; all pairs together."""
    margin = versions.shape[-1] // 2 + 1
    apart = size = 0.0
    for small, large in combinations(range(len(scales)), 2):
        ratio = scales[large] / scales[small]
        before = shrink(circular(noise, versions[:, large]), ratio)
        after = circular(shrink(noise, ratio), versions[:, small])
        before, after = (part[..., margin:-margin, margin:-margin] for part in (before, after))
        apart, size = apart + float((before - after).square().sum()), size + float(after.square().sum())
    return apart / size


def test_operators_are_the_published_ones() -> None:
    values, settings = golden("disco_operators_141")
    x, kernels, ratio = values["x"], values["kernel"][:, 0], settings["q"]
    torch.testing.assert_close(shrink(x, ratio), values["rescaled"], rtol=1e-10, atol=1e-12)
    for name, found in (
        ("conv_then_resize", shrink(circular(x, kernels), ratio)),
        ("resize_then_conv", circular(shrink(x, ratio), kernels)),
    ):
        torch.testing.assert_close(found, values[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("size", "name"), [(SMALL, "disco_proxy_K5_e3"), (STIR, "disco_proxy_K15_e7_summary")])
def test_as_good_as_published(size, name: str) -> None:
    values, _ = golden(name)
    noise = torch.from_numpy(np.random.RandomState(1234).uniform(0, 1, (2, 1, 80, 80)))
    versions = impulse_versions(*size)
    assert residual(versions, size[2], noise) < 1.02 * float(values["total_relative_residual"])
    if "proxy" in values:
        assert residual(values["proxy"], size[2], noise) == pytest.approx(
            float(values["total_relative_residual"]), rel=1e-9
        )
        gap = (versions[:, 1] - values["proxy"][:, 1]).norm() / values["proxy"][:, 1].norm()
        assert gap < 0.1


def test_impulses_keep_their_mass_and_place() -> None:
    """A version of an impulse sums to about 1; on average over the functions its row is the tap's, times the scale."""
    versions = impulse_versions(*SMALL)
    torch.testing.assert_close(versions.sum((2, 3)), torch.ones(9, 3, dtype=torch.float64), rtol=0, atol=0.02)
    place = torch.arange(-2.0, 3, dtype=torch.float64)
    rows = (versions.sum(3) * place).sum(2).reshape(3, 3, 3).mean(1)  # (row of the tap, scale)
    wanted = torch.tensor([-1.0, 0, 1], dtype=torch.float64)[:, None] * torch.tensor(SMALL[2], dtype=torch.float64)
    torch.testing.assert_close(rows, wanted, rtol=0, atol=0.25)


def test_they_are_the_least_of_the_objective() -> None:
    """Beyond the margin, that is: there the images' borders do not meet as shrunken ones do."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 1, 80, 80, generator=generator, dtype=torch.float64)
    versions = solved_versions(*SMALL)
    steps = 1e-3 * torch.randn(20, 9, 5, 5, generator=generator, dtype=torch.float64)

    def objective(between: torch.Tensor) -> float:
        apart = 0.0
        margin = 5 // 2 + 1
        given = torch.stack([versions[:, 0], between, versions[:, 2]], 1)
        for small, large in ((0, 1), (1, 2)):
            ratio = SMALL[2][large] / SMALL[2][small]
            gap = shrink(circular(noise, given[:, large]), ratio) - circular(shrink(noise, ratio), given[:, small])
            apart += float(gap[..., margin:-margin, margin:-margin].square().sum())
        return apart

    least = objective(versions[:, 1])
    for step in steps:
        up, down = objective(versions[:, 1] + step), objective(versions[:, 1] - step)
        assert up > least and down > least
        assert abs(up - down) < 1e-3 * (up + down - 2 * least)  # the slope beside the curvature


def test_kept_on_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    disco._impulse_versions.cache_clear()
    first = impulse_versions(*SMALL)
    assert len(list(tmp_path.rglob("*.pt"))) == 1
    assert torch.equal(first, solved_versions(*SMALL))
    monkeypatch.setattr(disco, "solved_versions", None)
    disco._impulse_versions.cache_clear()
    start = time.perf_counter()
    assert torch.equal(impulse_versions(*SMALL), first)
    assert time.perf_counter() - start < 0.1
    impulse_versions(*SMALL).zero_()
    assert torch.equal(impulse_versions(*SMALL), first)
