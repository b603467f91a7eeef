"""The wide residual network of the STL-10 comparisons: 16 layers, eight times as wide, for images of 96 x 96.

It takes days on a GPU to train, and stands here for that; no test trains it.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from layers.scale.disco import Disco
from layers.scale.hermite import Family, Hermite, geometric
from layers.scale.mixing import ScaleConv1x1
from layers.scale.pool import ScalePool
from layers.scale.steerable import Steerable
from models.scale_zoo.geometry import Geometry, behind
from models.scale_zoo.network import ScaleNetwork
from models.scale_zoo.registry import register
from models.scale_zoo.system import Layer, Place, System, norm, plain, steerable

KERNEL, SIDE, BLOCKS, DROPOUT = 3, 96, 2, 0.3
WIDTHS, STRIDES = (16, 128, 256, 512), (1, 2, 2)
PLACE = Place(KERNEL, SIDE, same=True, bias=False)  # a norm follows each of the layers
FAMILY, GROWTH, COUNT = Family(kind="A", effective_size=KERNEL), 1.41, 3


class Block(nn.Module):
    """Norm, ReLU, convolution, twice; beside it the input, or a mixture of its channels.

    Args:
        system: whose layers it gets.
        sizes: channels that enter and leave.
        stride: of the block.
        interaction: of its first layer.
        pools: whether a maximum over 2 x 2 places takes the place of a stride.
    """

    def __init__(self, system: System, sizes: tuple[int, int], stride: int, interaction: int, *, pools: bool):
        super().__init__()
        entering, leaving = sizes
        layer: Layer = system.later or system.first
        step = 1 if pools else stride
        self.norm1 = norm(system.maps, entering)
        self.conv1 = layer(entering, leaving, PLACE._replace(stride=step, interaction=interaction))
        self.norm2 = norm(system.maps, leaving)
        self.conv2 = layer(leaving, leaving, PLACE)
        self.shortcut: nn.Module | None = None
        if entering != leaving:
            is_lifted = system.maps == "lifted"
            mixed: Any = ScaleConv1x1 if is_lifted else nn.Conv2d
            kernel = () if is_lifted else (1,)
            self.shortcut = mixed(entering, leaving, *kernel, stride=step, bias=False)
        self.pool = nn.MaxPool3d((1, stride, stride)) if pools and stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        beside = x if self.shortcut is None else self.pool(self.shortcut(active))
        hidden = F.relu(self.norm2(self.pool(self.conv1(active))))
        return beside + self.conv2(F.dropout(hidden, DROPOUT, self.training))

    def behind(self, before: Geometry) -> Geometry:
        """Of its two layers; what goes beside them sees less."""
        return behind(self.conv2, behind(self.pool, behind(self.conv1, before)))


class Wrn16x8(ScaleNetwork):
    """The network, with a system's layers.

    Args:
        system: it.
        num_classes: of the last layer.
        in_chans: of the image.
        lifts_again: the stages, counted from 1, before which one scale is left, and lifted again.
        interaction: how many scales the first layer of the first block reads.
        pools: whether maxima take the place of strides, as DISCO has it.
    """

    stages = ("layer1", "layer2", "layer3")

    def __init__(
        self,
        system: System,
        num_classes: int = 10,
        in_chans: int = 3,
        *,
        lifts_again: tuple[int, ...] = (),
        interaction: int = 1,
        pools: bool = False,
    ):
        super().__init__(system, num_classes, in_chans)
        self.conv = system.first(in_chans, WIDTHS[0], PLACE)
        for number, (entering, leaving, stride) in enumerate(
            zip(WIDTHS[:-1], WIDTHS[1:], STRIDES, strict=True), start=1
        ):
            again = [ScalePool(), system.first(entering, entering, PLACE)] if number in lifts_again else []
            first = Block(system, (entering, leaving), stride, interaction if number == 1 else 1, pools=pools)
            others = [Block(system, (leaving, leaving), 1, 1, pools=pools) for _ in range(BLOCKS - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*again, first, *others))
        self.norm = norm(system.maps, WIDTHS[-1])
        self.finish(system, WIDTHS[-1], WIDTHS[1:], (1, 2, 4))
        self.apply(_draw)

    def prepare(self, x: Tensor) -> Tensor:
        return self.conv(self.lift(x))

    def geometry(self) -> Geometry:
        return behind(self.conv, super().geometry())

    def closing(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(x))

    def features_of(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))


def _draw(module: nn.Module) -> None:
    """The published weights of a fresh network: normal, by the number of outputs that each input has a part in."""
    if isinstance(module, nn.Conv2d | Steerable | ScaleConv1x1):
        weight: Any = module.weight
        nn.init.normal_(weight, std=(2 * weight.shape[1] / weight.numel()) ** 0.5)
        bias: Any = module.bias
        if bias is not None:
            nn.init.zeros_(bias)


def hermite(first: float) -> System:
    """SESN with three widths in kernels of 7 x 7."""
    widths = geometric(first, GROWTH ** (COUNT - 1), COUNT)
    return steerable(lambda: Hermite(kernel_size=7, sigmas=widths, family=FAMILY), widths)


def disco() -> System:
    """DISCO at three scales in kernels of 5 x 5."""
    scales = (1.0, GROWTH, 2.0)
    return steerable(lambda: Disco(kernel_size=5, scales=scales, family=FAMILY, sigma=0.9), scales)


MEAN, STD = (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)
for _name, _system, _fixed in (
    ("standard", System(first=plain), {}),
    ("hermite_a", hermite(0.9), {}),
    ("hermite_b", hermite(0.9), {"lifts_again": (2, 3)}),
    ("hermite_c", hermite(1.1), {"interaction": 2}),
    ("disco", disco(), {"lifts_again": (2, 3), "pools": True}),
):
    register(
        f"wrn16_8_{_name}",
        Wrn16x8,
        _system,
        input_size=(3, SIDE, SIDE),
        first_conv="conv",
        mean=MEAN,
        std=STD,
        takes_any_size=True,
        **_fixed,
    )
