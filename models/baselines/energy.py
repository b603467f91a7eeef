"""The energy canonicalizer: warps are found by a few unrolled steps of gradient descent on an energy.

The energy is a small network's score of the warped image, or the entropy of the backbone's own prediction. It is summed
over the batch, every part of which it judges alone, so no image's warps depend on its batch mates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from layers.canonicalizer import CanonicalForm
from layers.grid import WarpParams
from layers.monotone import unchecked_warp
from layers.spec import Energy, Site, check_blocks
from models.adapted import AdaptedModel
from models.baselines.inner import InnerLoop, Phis
from models.doorways import WarpSite, attach_sites, kind_of
from models.sites import Size, evaluating, probe

ENTROPY_EPSILON = 1e-8


def shannon_entropy(logits: Tensor) -> Tensor:
    """-sum p log p of (B, C) logits, or its mean over the pixels of (B, C, H, W) ones: (B,)."""
    share = logits.softmax(dim=1)
    return _per_image(-(share * (share + ENTROPY_EPSILON).log()).sum(dim=1))


def renyi_entropy(logits: Tensor) -> Tensor:
    """Renyi's entropy of order 2, -log sum p^2, of the same logits."""
    return _per_image(-(2 * logits.log_softmax(dim=1)).logsumexp(dim=1))


class PredictionEntropy(nn.Module):
    """Energy of a prediction: how undecided it is. It has no parameters.

    Args:
        objective: "shannon" or "renyi".
    """

    def __init__(self, objective: Literal["shannon", "renyi"] = "shannon"):
        super().__init__()
        self.entropy = {"shannon": shannon_entropy, "renyi": renyi_entropy}[objective]

    def forward(self, logits: Tensor) -> Tensor:
        """(B, C) or (B, C, H, W) logits -> (B,)."""
        return self.entropy(logits)


class ScoreBlock(nn.Module):
    """GELU of the instance norm of a convolution, plus a 1x1 shortcut, max-pooled.

    No layer of a score has a bias: the norm takes it away, or it adds a constant to the energy, which moves no warp.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, pool: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.InstanceNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = pool

    def forward(self, feature: Tensor) -> Tensor:
        response = F.gelu(self.norm(self.conv(feature))) + self.shortcut(feature)
        return F.max_pool2d(response, self.pool) if self.pool > 1 else response


class EnergyNet(nn.Module):
    """One independent score per site; the energy of an image is minus their sum over the image's warped versions.

    Args:
        num_sites: K.
        channels: of the image, then of every block.
        kernel_sizes: one odd size per block.
        pools: max-pool rate per block; none pools if left out, as published.
        input_size: (H, W) that images are resized to before they are warped, as they come, without statistics.
    """

    def __init__(
        self,
        num_sites: int,
        channels: Sequence[int] = (3, 32, 64),
        kernel_sizes: Sequence[int] = (3, 3),
        pools: Sequence[int] | None = None,
        *,
        input_size: Size = (128, 128),
    ):
        super().__init__()
        pools = [1] * len(kernel_sizes) if pools is None else pools
        check_blocks(channels, kernel_sizes, pools)
        self.input_size = tuple(input_size)
        self.scores: Any = nn.ModuleList(
            nn.Sequential(
                *(ScoreBlock(*block) for block in zip(channels[:-1], channels[1:], kernel_sizes, pools, strict=True)),
                nn.Conv2d(channels[-1], 1, 1, bias=False),
            )
            for _ in range(num_sites)
        )

    def forward(self, image: Tensor, phis: Phis) -> Tensor:
        """Energies, (B,), of (B, C, H, W) images under one warp per site."""
        source = self.prepared(image)
        if len(phis) != len(self.scores):
            raise ValueError(f"{len(phis)} pairs of parameters for {len(self.scores)} scores; expected one each")
        dtype = self.scores[0][0].conv.weight.dtype
        warped = [unchecked_warp(source, phi).to(dtype) for phi in phis]
        return -sum(score(part).mean((1, 2, 3)) for score, part in zip(self.scores, warped, strict=True))

    def prepared(self, image: Tensor) -> Tensor:
        """The image as it is warped: checked and resized; once prepared, it stays as it is."""
        weight = self.scores[0][0].conv.weight
        if image.ndim != 4 or 0 in image.shape or image.shape[1] != weight.shape[1]:
            raise ValueError(
                f"the energy got shape {tuple(image.shape)}; expected (B, {weight.shape[1]}, H, W), none of them zero"
            )
        source = image.to(torch.promote_types(weight.dtype, torch.float32))
        if source.shape[2:] == self.input_size:
            return source
        return F.interpolate(source, size=self.input_size, mode="bilinear", align_corners=True)


class OptimizedModel(AdaptedModel):
    """An adapted backbone whose warps come from an inner optimisation, unrolled in training.

    The gradient of a loss on the warps reaches the energy's parameters (or, for entropies, the backbone's) through the
    last steps, whose memory is kept: per step about that of one forward and two backward passes of the energy. Outside
    training, and without gradient, no step is kept.

    Args:
        backbone: with the hooks of ``sites`` attached.
        sites: doorways, one per site.
        energy: an ``EnergyNet``, or ``PredictionEntropy`` to judge the backbone's own prediction.
        grid_sizes: R per site.
        loop: how the energy is minimised.
        preprocess: as for ``AdaptedModel``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[WarpSite],
        energy: EnergyNet | PredictionEntropy,
        grid_sizes: Sequence[int],
        loop: InnerLoop,
        preprocess: nn.Module | None = None,
    ):
        super().__init__(backbone, sites, preprocess)
        self.energy = energy
        loop.optimizer.check_sites(len(grid_sizes))
        self.grid_sizes = tuple(grid_sizes)
        self.loop = loop

    def under_todays_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An energy was once saved as the canonicalizer that it is not."""
        return {re.sub(r"^canonicalizer\.", "energy.", name): value for name, value in weights.items()}

    def find_warps(self, image: Tensor, evaluations: int = 0) -> CanonicalForm:
        """Minimise the energy from identity; under ``no_grad`` and ``inference_mode`` too, then without history."""
        if evaluations:
            raise TypeError("an energy is minimised by steps of an optimizer; evaluations are those of a DEC's map")
        dtype = torch.promote_types(image.dtype, torch.float32)
        has_gradient = torch.is_grad_enabled()  # which leaving inference mode would switch on
        # Half precision would round the inner gradients away, and inference mode would refuse them.
        full_precision = torch.autocast(image.device.type, enabled=False)
        with full_precision, torch.inference_mode(False), torch.set_grad_enabled(has_gradient):
            start = tuple(WarpParams.identity(len(image), R, device=image.device, dtype=dtype) for R in self.grid_sizes)
            source = image.clone() if image.is_inference() else image
            if isinstance(self.energy, EnergyNet):
                source = self.energy.prepared(source)  # once for all steps
            return self.loop.minimise(partial(self.energies, source), start, self.training)

    def energies(self, image: Tensor, phis: Phis) -> Tensor:
        """The objective, (B,), under these warps: what is minimised, with the backbone in eval mode.

        A loss takes it at identity and at what was found, ``energies(image, output.phis)``.
        """
        if isinstance(self.energy, EnergyNet):
            return self.energy(image, phis)
        # Fused attention has no second derivative, which unrolling needs.
        attention = sdpa_kernel(SDPBackend.MATH) if self.training else nullcontext()
        with evaluating(self.backbone), attention:
            return self.energy(self.predict_under(image, phis))


def with_energy(
    backbone: nn.Module,
    spec: Energy | Sequence[Site],
    *,
    image_size: Size | int | None = None,
    preprocess: nn.Module | None = None,
    **options: Any,
) -> OptimizedModel:
    """Put the energy canonicalizer into a timm backbone, in place.

    Args:
        backbone: any timm model with ``feature_info``.
        spec: where to canonicalize, and how: an ``Energy``, or its sites alone.
        image_size: (H, W) that the backbone takes, where it does not tell.
        preprocess: as for ``AdaptedModel``.
        **options: fields of an ``Energy``, in the place of what ``spec`` has.
    """
    given = replace(spec, **options) if isinstance(spec, Energy) else Energy(sites=tuple(spec), **options)
    found = probe(backbone, image_size)
    for site in given.sites:
        kind_of(site).check(site, found)
    energy: EnergyNet | PredictionEntropy
    if given.objective == "surrogate":
        size = (given.input_size, given.input_size) if isinstance(given.input_size, int) else given.input_size
        energy = EnergyNet(len(given.sites), given.channels, given.kernel_sizes, given.pools, input_size=size)
    else:
        energy = PredictionEntropy(given.objective)
    weight = next(backbone.parameters())
    energy.to(weight.device, torch.promote_types(weight.dtype, torch.float32)).train(backbone.training)
    # Hooks come last, so that a refusal leaves the backbone as it was.
    doorways = attach_sites(backbone, given.sites, found)
    grid_sizes = [site.grid_size for site in given.sites]
    return OptimizedModel(backbone, doorways, energy, grid_sizes, InnerLoop.of(given), preprocess)


def _per_image(entropy: Tensor) -> Tensor:
    """(B,) as it is, (B, H, W) averaged."""
    return entropy if entropy.ndim == 1 else entropy.flatten(1).mean(dim=1)
