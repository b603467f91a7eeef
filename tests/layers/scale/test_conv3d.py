"""An ordinary 3-D convolution over the scale axis of SiConv2d, as docs/scale/conv3d.md describes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.pool import GlobalMax
from layers.scale.siconv import SiConv2d
from tests.layers.scale.trials import bears_tools, fall_of_loss


def net(scales: int, depth: int = 3) -> nn.Sequential:
    head = nn.Conv3d(4, 8, (depth, 3, 3))
    return nn.Sequential(SiConv2d(1, 4, 3, scales), nn.ReLU(), head, nn.ReLU(), GlobalMax(), nn.Linear(8, 2))


def test_a_depth_of_one_is_a_plain_convolution_of_every_scale() -> None:
    lifted, head = torch.randn(2, 4, 5, 8, 7, dtype=torch.float64), nn.Conv3d(4, 8, (1, 3, 3)).double()
    for scale in range(5):
        expected = F.conv2d(lifted[:, :, scale], head.weight[:, :, 0], head.bias)
        torch.testing.assert_close(head(lifted)[:, :, scale], expected, rtol=0, atol=1e-13)


def test_a_shift_of_the_scale_axis_shifts_the_output_and_a_rescaled_image_does_not() -> None:
    whole = net(7).double()
    lift, head = whole[0], whole[2]
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    lifted = torch.randn(1, 4, 7, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(head(lifted[:, :, 1:]), head(lifted)[:, :, 1:], rtol=0, atol=1e-13)
    enlarged = lift(x.repeat_interleave(3, 2).repeat_interleave(3, 3))
    # Side 9 answers the enlarged image as side 3 did the image; side 11, the next one, does not as 5 did.
    torch.testing.assert_close(enlarged[:, :, 3, 3:-3:3, 3:-3:3], lift_of(lift, x, 3), rtol=0, atol=1e-13)
    assert (enlarged[:, :, 4, 4:-4:3, 4:-4:3][..., :2, :2] - lift_of(lift, x, 5)).abs().max() > 1e-3


def lift_of(lift: SiConv2d, x: torch.Tensor, side: int) -> torch.Tensor:
    return F.conv2d(x, lift.kernels()[(side - 3) // 2], lift.bias)


def test_published_shapes() -> None:
    lifted = SiConv2d(1, 16, 7, 29)(torch.zeros(1, 1, 64, 64))
    assert lifted.shape == (1, 16, 29, 58, 58)
    assert nn.Conv3d(16, 32, 7, device="meta")(lifted.to("meta")).shape == (1, 32, 23, 52, 52)


def test_it_learns() -> None:
    torch.manual_seed(0)
    assert fall_of_loss(net(4)) < 0.7


def test_it_bears_the_tools() -> None:
    bears_tools(net(4), torch.randn(2, 1, 10, 9))
