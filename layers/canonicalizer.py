"""The canonicalizer: per site a small network whose fixed point, given an image or a feature, is the site's warp.

Parameter names are those of the reference's checkpoints (``module_list.<site>.<block>.conv1.weight``), so a state dict
of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.fixed_point import FixedPoint, FixedPointSolver, iterated
from layers.grid import WarpParams, is_traced, unchecked_warp_grid
from layers.residual import EarlyMap, ResidualMap
from layers.sampling import sample_bilinear
from layers.spec import MapSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BAND_ROWS = 16


class CanonicalForm(NamedTuple):
    """What a canonicalizer finds for a batch.

    Args:
        phis: the warp of every site, K pairs for B images.
        steps: (B, K) evaluations before each image stopped.
        residual: (B, K) relative residual of the fixed point, without gradient.
        states: where they were asked for, the warp of every site after each evaluation of its map.
    """

    phis: tuple[WarpParams, ...]
    steps: Tensor
    residual: Tensor
    states: tuple[tuple[WarpParams, ...], ...] = ()

    @classmethod
    def of(cls, points: Sequence[FixedPoint]) -> CanonicalForm:
        """Put the fixed points of K sites side by side."""
        return cls(
            tuple(point.value for point in points),
            torch.stack([point.steps for point in points], dim=1),
            torch.stack([point.residual for point in points], dim=1),
            tuple(zip(*(point.states for point in points), strict=True)),
        )


class ResidualBlock(nn.Module):
    """conv + shortcut, instance norm, softplus, max-pool: computed as one convolution that is pooled early."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, pool: int, stride: int = 1):
        super().__init__()
        self.conv1: Any = nn.Conv2d(in_channels, out_channels, kernel_size, stride)
        self.norm1 = nn.InstanceNorm2d(out_channels, affine=True)
        self.projection: Any = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.pool = pool

    def forward(self, feature: Tensor) -> Tensor:
        margin = self.conv1.kernel_size[0] // 2
        gain = self.norm1.weight
        # Max-pooling commutes with norm and softplus where the gain is not negative. Where it is, the norm of the
        # negated response with the negated gain is the same, so the sign moves into the convolution.
        sign = torch.where(gain < 0, -1.0, 1.0).to(gain.dtype)
        weight, bias = self._merged()
        padded = F.pad(_centred(feature).to(weight.dtype), (margin,) * 4, mode="reflect")
        response = F.conv2d(padded, weight * sign[:, None, None, None], bias * sign, self.conv1.stride)
        mean = response.mean((2, 3), keepdim=True, dtype=torch.promote_types(gain.dtype, torch.float32))
        variance = _variance(response, mean)
        pooled = F.max_pool2d(response, self.pool) if self.pool > 1 else response
        scale = (gain * sign)[:, None, None] * (variance + self.norm1.eps).rsqrt()
        return F.softplus((pooled - mean) * scale + self.norm1.bias[:, None, None])

    def _merged(self) -> tuple[Tensor, Tensor]:
        """The 1x1 shortcut (or the identity) added to the centre of the kernel."""
        kernel = self.conv1.weight
        margin = (kernel.shape[-1] // 2,) * 4
        if self.projection is None:
            shortcut = torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)[:, :, None, None]
            return kernel + F.pad(shortcut, margin), self.conv1.bias
        return kernel + F.pad(self.projection.weight, margin), self.conv1.bias + self.projection.bias


class UpdateMap(nn.ModuleList):
    """f of the fixed point: warp the source by phi, and read the next phi off the result.

    Args:
        grid_size: R of the warp.
        in_channels: of the source.
        spec: the options; the first of its channels is that of images.
    """

    def __init__(self, grid_size: int, in_channels: int, spec: MapSpec):
        channels, strides = (in_channels, *spec.channels[1:]), spec.strides or (1,) * len(spec.pools)
        sizes = zip(channels[:-1], channels[1:], spec.kernel_sizes, spec.pools, strides, strict=True)
        blocks = [ResidualBlock(*of_block) for of_block in sizes]
        super().__init__([*blocks, nn.Conv2d(channels[-1], 2, 1), nn.InstanceNorm2d(2, affine=True)])
        self.grid_size = grid_size
        nn.init.constant_(self[-1].weight, spec.gain)  # type: ignore[arg-type]
        self.strength = spec.strength
        self.separable = spec.separable
        self.in_channels = in_channels
        # Of each block: what reflection pads, and how far its output falls in size.
        self.margins = [(k // 2, s, p) for k, s, p in zip(spec.kernel_sizes, strides, spec.pools, strict=True)]

    def forward(self, phi: WarpParams, source: Tensor) -> WarpParams:
        """Evaluate for phi of B images and their (B, C, H, W) source."""
        grid = unchecked_warp_grid(phi, (source.shape[-2], source.shape[-1]))
        feature = sample_bilinear(source.to(grid.dtype), grid).to(memory_format=torch.channels_last)
        *blocks, head, norm = self
        for block in blocks:
            feature = block(feature)
        response = norm(head(_centred(feature).to(next(head.parameters()).dtype)))
        along_x, along_y = response.to(phi.x.dtype).unbind(1)
        R, rows = self.grid_size, 1 if self.separable else self.grid_size
        # x leaves out the last column, y the first row; y is indexed column first.
        x = F.adaptive_avg_pool2d(along_x, (rows, R))[:, :, :-1]
        y = F.adaptive_avg_pool2d(along_y, (R, rows))[:, 1:].transpose(1, 2)
        return WarpParams(*(0.5 + self.strength * (part.sigmoid() - 0.5) for part in (x, y)))

    def check_size(self, size: Sequence[int]) -> None:
        """Refuse a source so small that a convolution could not pad it by reflection."""
        H, W = size
        for index, (margin, stride, pool) in enumerate(self.margins):
            if min(H, W) <= margin:
                raise ValueError(
                    f"a source of {tuple(size)} is {H} x {W} when it reaches block {index}; reflecting a margin of "
                    f"{margin} needs more. Take a larger input_size, smaller pools or smaller kernels"
                )
            H, W = (-(-side // stride) // pool for side in (H, W))
        if H * W < 2:
            raise ValueError(
                f"a source of {tuple(size)} leaves {H} x {W} after the pools, and instance norm needs at least two "
                "positions. Take a larger input_size or smaller pools"
            )


class Canonicalizer(nn.Module):
    """One independent update map per site, each solved for its own fixed point.

    The maps are where the time goes; ``for update in canonicalizer.module_list: update.compile()`` compiles them.

    Args:
        grid_sizes: R per site.
        channels: of the image, then of every block.
        kernel_sizes: one odd size per block.
        pools: max-pool rate per block.
        feature_channels: of each site's source, which ``condition="feature"`` needs, and the residual equilibrium takes
            for images of other than 3 channels.
        early_features: makes features of images, as ``layers.residual.EarlyMap`` says; ``condition="early"`` needs it.
        **options: the other fields of ``layers.spec.MapSpec``.
    """

    def __init__(
        self,
        grid_sizes: Sequence[int],
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        pools: Sequence[int],
        *,
        feature_channels: Sequence[int] | None = None,
        early_features: nn.Module | None = None,
        **options: Any,
    ):
        super().__init__()
        spec = MapSpec(channels=tuple(channels), kernel_sizes=tuple(kernel_sizes), pools=tuple(pools), **options)
        _check_sites(grid_sizes, spec, feature_channels, early_features)
        self.condition, self.images_at_once = spec.condition, spec.images_at_once
        self.solver = FixedPointSolver(**vars(spec.solver))
        is_residual = spec.equilibrium == "residual"
        self.antialias = spec.antialias or is_residual
        size = spec.correction.input_size if is_residual else spec.input_size
        size = size if spec.condition == "image" else None
        self.input_size = (size, size) if isinstance(size, int) else size
        of_source = feature_channels or [channels[0]] * len(grid_sizes)
        sizes = zip(grid_sizes, of_source, strict=True)
        self.module_list: Any = nn.ModuleList([_map_of(R, C, spec, early_features) for R, C in sizes])
        self.is_normalized = spec.normalize and spec.condition == "image" and not is_residual
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, image: Tensor, evaluations: int = 0) -> CanonicalForm:
        """Solve every site for a (B, C, H, W) image, or evaluate its map so many times; see ``solve``."""
        if self.condition == "feature":
            raise ValueError("this canonicalizer reads features: call solve(site, feature), or the adapted model")
        source = self.prepared(image)
        return CanonicalForm.of([self._solved(site, source, evaluations) for site in range(len(self.module_list))])

    def solve(self, site: int, source: Tensor, evaluations: int = 0) -> FixedPoint:
        """Solve one site for the image or feature, (B, C, H, W), that its map reads.

        With ``evaluations`` there is no solver: the map is evaluated so many times from the identity on, and all the
        states that it passes through are told.
        """
        return self._solved(site, self.prepared(source, site), evaluations)

    def prepared(self, source: Tensor, site: int = 0) -> Tensor:
        """The source as the maps see it: checked, resized and normalised."""
        first = self.module_list[site]
        if source.ndim != 4 or 0 in source.shape or source.shape[1] != first.in_channels:
            raise ValueError(
                f"the canonicalizer got shape {tuple(source.shape)}; expected (B, {first.in_channels}, H, W), B and "
                "size of at least 1"
            )
        if not source.is_floating_point():
            raise TypeError(f"the canonicalizer got {source.dtype}; expected a floating dtype")
        weight = next(first.parameters())
        if source.device != weight.device:
            raise ValueError(f"the image is on {source.device} but the canonicalizer on {weight.device}")
        source = source.to(torch.promote_types(weight.dtype, torch.float32))
        if self.input_size is not None and source.shape[-2:] != self.input_size:
            source = F.interpolate(
                source, size=self.input_size, mode="bilinear", align_corners=False, antialias=self.antialias
            )
        first.check_size(source.shape[-2:])
        if self.condition == "early":
            return source  # for a backbone, which knows images with their mean
        return _centred((source - self.mean) / self.std if self.is_normalized else source)

    def _solved(self, site: int, source: Tensor, evaluations: int) -> FixedPoint:
        update = self.module_list[site]
        start = WarpParams.identity(
            source.shape[0], update.grid_size, separable=update.separable, device=source.device, dtype=source.dtype
        )
        evaluate = partial(evaluate_in_parts, update, source, size=self.images_at_once)
        return iterated(evaluate, start, evaluations) if evaluations else self.solver(evaluate, start)


def evaluate_in_parts(update: nn.Module, source: Tensor, phi: WarpParams, size: int = 1) -> WarpParams:
    """f(phi) of a map for its source, (B, C, H, W): ``size`` images at a time in eager mode on a CPU, else all."""
    if source.device.type != "cpu" or is_traced():
        return update(phi, source)
    # One image at a time: its widest feature stays in a CPU's cache, which halves the time, and its rounding, which a
    # map that is no contraction amplifies, cannot depend on its batch mates.
    parts = zip(phi.x.split(size), phi.y.split(size), source.split(size), strict=True)
    found = [update(WarpParams(x, y), image) for x, y, image in parts]
    return WarpParams(torch.cat([part.x for part in found]), torch.cat([part.y for part in found]))


def _variance(response: Tensor, mean: Tensor) -> Tensor:
    """Of each channel around its mean, (B, C, 1, 1)."""
    # The widest intermediate of all: in eager mode on a CPU, whole temporaries of its size are fresh pages of memory
    # that take longer than the convolution; bands of it stay in the cache.
    is_whole = response.device.type != "cpu" or is_traced()
    bands = (response,) if is_whole else response.split(BAND_ROWS, dim=2)
    total = torch.stack([(band - mean).square().sum((2, 3), keepdim=True) for band in bands]).sum(0)
    return total / (response.shape[2] * response.shape[3])


def _centred(feature: Tensor) -> Tensor:
    """Take the mean of each channel away, which the next instance norm would do anyway.

    Rounding is then relative to what varies: on a flat image three norms in a row would else blow it up to the size of
    a signal, different in every batch.
    """
    return feature - feature.mean((2, 3), keepdim=True)


def load_reference_state(canonicalizer: Canonicalizer, state_dict: Mapping[str, Tensor]) -> None:
    """Load parameters under the reference's names; every unknown, missing or misshapen one is listed."""
    own = canonicalizer.state_dict()
    problems = [f"unknown: {name}" for name in state_dict if name not in own]
    problems += [f"missing: {name}" for name in own if name not in state_dict]
    for name, given in state_dict.items():
        if not isinstance(given, Tensor) or not given.is_floating_point():
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            problems.append(f"wrong kind: {name} is {kind}, expected a floating tensor")
        elif name in own and given.shape != own[name].shape:
            problems.append(f"wrong shape: {name} is {tuple(given.shape)}, expected {tuple(own[name].shape)}")
    if problems:
        raise ValueError("this state does not fit the canonicalizer:\n  " + "\n  ".join(problems))
    canonicalizer.load_state_dict(dict(state_dict))


def _map_of(grid_size: int, in_channels: int, spec: MapSpec, early_features: nn.Module | None) -> nn.Module:
    """The map of a site."""
    if spec.equilibrium == "published":
        return UpdateMap(grid_size, in_channels, spec)
    if early_features is None:
        return ResidualMap(grid_size, in_channels, spec.correction)
    return EarlyMap(grid_size, in_channels, spec.early, early_features)


def _check_sites(
    grid_sizes: Sequence[int],
    spec: MapSpec,
    feature_channels: Sequence[int] | None,
    early_features: nn.Module | None,
) -> None:
    if not grid_sizes or min(grid_sizes) < 2:
        raise ValueError(f"grid_sizes is {list(grid_sizes)}; expected at least one site, each of at least 2")
    condition, given = spec.condition, feature_channels is not None
    if given != (condition == "feature") and spec.equilibrium == "published":
        raise ValueError(f"condition={condition!r} got feature_channels={feature_channels}; only 'feature' needs them")
    if feature_channels is not None and len(feature_channels) != len(grid_sizes):
        raise ValueError(f"{len(feature_channels)} feature_channels for {len(grid_sizes)} sites; expected one each")
    if (early_features is not None) != (condition == "early"):
        given_kind = type(early_features).__name__
        raise ValueError(f"early_features is {given_kind} with condition={condition!r}; only 'early' needs a module")
    if condition == "early" and len(grid_sizes) != 1:
        raise ValueError(f"grid_sizes is {list(grid_sizes)} with condition='early'; expected one site")
