"""The two-layer network of the STIR study, with every system: it is small, so that systems and not sizes compare.

image 64 x 64, 16 channels by 7 x 7, ReLU, 32 channels by 7 x 7, ReLU, the global maximum, a linear layer
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from layers.scale.correlation import ScaleCorrelation
from layers.scale.deformable import DeformableConv2d
from layers.scale.deformable_scale import DeformableScaleCorrelation
from layers.scale.disco import Disco
from layers.scale.functions import LearnedFunctions
from layers.scale.halving import Halving, SharedConv
from layers.scale.hermite import Family, Hermite
from layers.scale.pool import GlobalMax, ScaleMean, ScalePool
from layers.scale.rotations import RotationConv, RotationLifting
from layers.scale.scale_space import ScaleSpace
from layers.scale.siconv import SiConv2d
from layers.scale.steerable import SAME, LiftingConv2d, ScaleConv2d
from layers.scale.transformer import SpatialTransformer
from layers.scale.widths import ScaleWidths
from models.scale_zoo.network import ScaleNetwork, Stage, square_side
from models.scale_zoo.registry import register
from models.scale_zoo.system import Place, System, kanazawa, made, plain, relu, steerable, xu

KERNEL, SIDE, WIDTHS = 7, 64, (16, 32)
HERMITE = Hermite(
    kernel_size=15,
    sigmas=(2.0, 2.52, 3.17, 4.0),
    family=Family(kind="B", effective_size=7, mult=1.5, max_order=4),
)
DISCO = Disco(
    kernel_size=15,
    scales=(1.0, 1.26, 1.59, 2.0),
    family=Family(kind="B", effective_size=7, mult=1.9, max_order=4),
    sigma=1.9,
)
REACH = 1.7  # kernels of learned widths begin with 15 pixels too
FACTORS = tuple(1.26**power for power in range(-2, 4))
SIDES = (3, 5, 7, 9, 11)
COARSE = (7, 11, 17, 25, 37)  # each about 1.5 times the one before: a sixth of SiConv's sides, a fifth of its work
LEVELS = 3  # of Deep Scale Spaces: kernels of 7, 13 and 25 pixels


class Stir2(ScaleNetwork):
    """The network, with a system's layers.

    Args:
        system: it.
        num_classes: of the last layer.
        in_chans: of the image.
        img_size: its side; SiConv has a kernel for every size of object that fits it.
    """

    stages = ("layer1", "layer2")

    def __init__(
        self,
        system: System,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = SIDE,
    ):
        super().__init__(system, num_classes, in_chans)
        side = square_side(img_size)
        if side < 2 * KERNEL:
            raise ValueError(f"img_size is {img_size}; expected at least {2 * KERNEL}, for two kernels of {KERNEL}")
        same = system.pyramid > 1
        first = Place(KERNEL, side, same, shared=made(system.share))
        second = first._replace(side=side if same else side - KERNEL + 1)
        self.layer1 = Stage(system.first(in_chans, WIDTHS[0], first), made(system.pool), relu(system.maps))
        later = system.later or system.first
        self.layer2 = Stage(later(WIDTHS[0], WIDTHS[1], second), made(system.pool), relu(system.maps))
        self.global_pool = GlobalMax()
        self.img_size = side
        self.finish(system, WIDTHS[1], WIDTHS, (1, 1))

    def features_of(self, x: Tensor) -> Tensor:
        return self.global_pool(x)


def siconv(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """All sides that fit the map, enlarged bicubically."""
    scales = (at.side - at.kernel) // 2 + 1
    return SiConv2d(in_channels, out_channels, at.kernel, scales, interpolation="bicubic")


def coarse_siconv(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """A few sides, far apart."""
    sides = tuple(side for side in COARSE if side <= at.side)
    return SiConv2d(in_channels, out_channels, at.kernel, sides=sides, interpolation="bicubic")


def conv3d(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """Over seven scales and space, as published."""
    return nn.Conv3d(in_channels, out_channels, at.kernel)


def coarse_conv3d(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """Over three scales and space."""
    return nn.Conv3d(in_channels, out_channels, (3, at.kernel, at.kernel))


def correlation(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """Of Deep Scale Spaces, without interaction of levels."""
    return ScaleCorrelation(in_channels, out_channels, at.kernel)


def deformable_correlation(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """The same with offsets."""
    return DeformableScaleCorrelation(in_channels, out_channels, at.kernel)


def shared(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """One convolution for all levels."""
    return SharedConv(in_channels, out_channels, at.kernel)


def deformable(in_channels: int, out_channels: int, at: Place, *, modulated: bool = False) -> nn.Module:
    """With offsets; the second version has masks too."""
    return DeformableConv2d(in_channels, out_channels, at.kernel, padding=at.padding, modulated=modulated)


def rotations(order: int) -> System:
    """The control: a network with another symmetry built in."""

    def first(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return RotationLifting(in_channels, out_channels, at.kernel, order=order)

    def later(in_channels: int, out_channels: int, at: Place) -> nn.Module:
        return RotationConv(in_channels, out_channels, at.kernel, order=order)

    return System(first=first, later=later, maps="lifted", has_scales=False)


def learned_lifting(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """SESN's, with widths that all layers share and learn. The kernels grow with them: so maps keep their side."""
    return LiftingConv2d(in_channels, out_channels, LearnedFunctions(at.shared, HERMITE.family, REACH), padding=SAME)


def learned_later(in_channels: int, out_channels: int, at: Place) -> nn.Module:
    """The same on a lifted map."""
    return ScaleConv2d(in_channels, out_channels, LearnedFunctions(at.shared, HERMITE.family, REACH), padding=SAME)


SCALE_SPACE = partial(ScaleSpace, LEVELS)
LEVEL_SCALES = tuple(2.0**level for level in range(LEVELS))
SYSTEMS: dict[str, System] = {
    "standard": System(first=plain),
    "pixel_pool": System(first=siconv, pool=partial(ScalePool, "pixel")),
    "slice_pool": System(first=siconv, pool=partial(ScalePool, "slice")),
    "energy_pool": System(first=siconv, pool=partial(ScalePool, "energy")),
    "energy_abs_pool": System(first=siconv, pool=partial(ScalePool, "energy_abs")),
    "conv3d": System(first=siconv, later=conv3d, maps="lifted"),
    "pixel_pool_coarse": System(first=coarse_siconv, pool=partial(ScalePool, "pixel")),
    "slice_pool_coarse": System(first=coarse_siconv, pool=partial(ScalePool, "slice")),
    "energy_pool_coarse": System(first=coarse_siconv, pool=partial(ScalePool, "energy")),
    "conv3d_coarse": System(first=coarse_siconv, later=coarse_conv3d, maps="lifted"),
    "ensemble": System(first=plain, pyramid=3),
    "spatial_transform": System(first=plain, lift=SpatialTransformer),
    "spatial_transform_scale": System(first=plain, lift=partial(SpatialTransformer, kind="scale")),
    "xu": xu(SIDES),
    "kanazawa": System(first=partial(kanazawa, factors=FACTORS)),
    "hermite": steerable(lambda: HERMITE, HERMITE.sigmas),
    "disco": steerable(lambda: DISCO, DISCO.scales),
    "learned_scales": System(
        first=learned_lifting,
        later=learned_later,
        close=ScalePool,
        maps="lifted",
        share=partial(ScaleWidths, len(HERMITE.sigmas), first=HERMITE.sigmas[0], span=2.0),
    ),
    "dss": System(first=correlation, lift=lambda _: SCALE_SPACE(), close=ScaleMean, maps="lifted", scales=LEVEL_SCALES),
    "dss_max": System(
        first=correlation, lift=lambda _: SCALE_SPACE(), close=ScalePool, maps="lifted", scales=LEVEL_SCALES
    ),
    "dss_v2": System(first=shared, lift=lambda _: Halving(LEVELS), maps="levels", scales=LEVEL_SCALES),
    "deformable_dss": System(
        first=deformable_correlation, lift=lambda _: SCALE_SPACE(), close=ScaleMean, maps="lifted", scales=LEVEL_SCALES
    ),
    "deformable": System(first=deformable),
    "deformable_v2": System(first=partial(deformable, modulated=True)),
    "c4": rotations(4),
    "c8": rotations(8),
}

for _name, _system in SYSTEMS.items():
    register(f"stir2_{_name}", Stir2, _system, input_size=(1, SIDE, SIDE), first_conv="layer1.conv")
