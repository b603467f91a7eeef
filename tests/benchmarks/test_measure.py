"""The measuring tools against what is known in closed form, and the memory of a training step."""

import pytest
import timm
import torch
from torch import nn

from benchmarks.cost import train
from benchmarks.measure import medians, peak_bytes
from evaluation.cost import multiply_adds
from layers.fixed_point import FixedPointSolver
from layers.scale.deformable import DeformableConv2d
from models.dec import Site, with_dec


def test_multiply_adds_of_a_convolution_and_its_backward_pass() -> None:
    convolution = nn.Conv2d(3, 8, 5, padding=2)
    image = torch.rand(2, 3, 16, 16)
    expected = 2 * 3 * 8 * 25 * 16 * 16
    assert multiply_adds(lambda: convolution(image)) == expected
    # The image needs no gradient, so only that of the weight is added.
    assert multiply_adds(lambda: convolution(image).sum().backward()) == 2 * expected


def test_multiply_adds_of_a_deformable_convolution_and_of_einsum() -> None:
    """Of each tap's product with what it read; how it was read does not count."""
    layer, image = DeformableConv2d(4, 6, 3, padding=1, groups=2), torch.rand(2, 4, 8, 8)
    offsets = 2 * 8 * 8 * 4 * 18 * 9
    with torch.no_grad():
        assert multiply_adds(lambda: layer(image)) == offsets + 2 * 8 * 8 * 6 * 2 * 9
        assert multiply_adds(lambda: torch.einsum("ocf,fs->ocs", image[0, :, :2], image[0, 0, :, :3])) == 4 * 2 * 8 * 3


def test_peak_counts_what_lives_at_the_same_time() -> None:
    megabyte = 2**18  # floats

    def one_after_the_other() -> None:
        for _ in range(5):
            torch.ones(megabyte).add_(1)

    def together() -> None:
        torch.stack([torch.ones(megabyte) for _ in range(3)])

    assert peak_bytes(one_after_the_other) == pytest.approx(2**20, rel=0.01)
    assert peak_bytes(together) == pytest.approx(6 * 2**20, rel=0.01)


def test_medians_come_by_name_and_leave_the_warm_up_out() -> None:
    calls: list[str] = []
    seconds = medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert set(seconds) == {"a", "b"} and min(seconds.values()) >= 0


@pytest.mark.parametrize("gradient", ["one_step", "implicit"])
def test_training_memory_does_not_grow_with_solver_steps(gradient: str) -> None:
    """Ten times the steps hold nothing but a few numbers per image more."""
    peaks = []
    for steps in (6, 60):
        torch.manual_seed(0)
        model = with_dec(
            timm.create_model("test_resnet"),
            [Site("image", 6)],
            channels=(3, 16, 32),
            kernel_sizes=(3, 3),
            pools=(2, 2),
            strength=0.1,
            input_size=64,
            solver=FixedPointSolver(max_steps=steps, tol=0, gradient=gradient),  # type: ignore[arg-type]
        )
        image = torch.rand(4, 3, 64, 64)
        train(model, image)
        peaks.append(peak_bytes(lambda model=model, image=image: train(model, image)))
    assert peaks[1] <= peaks[0] * 1.02, peaks
