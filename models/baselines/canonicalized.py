"""The canonicalisation baseline: every image reaches the backbone under the best of a fixed list of warps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from layers.grid import WarpParams, check_params
from layers.monotone import unchecked_inverse_warp, unchecked_warp
from layers.spec import PROFILE_ROWS, Candidates
from models.wrapped import WrappedBackbone

POOL = 4  # after every layer of the scorer except the last
MIDDLE = 3  # intervals that a candidate changes; all others keep 1


class CanonicalizedOutput(NamedTuple):
    """Logits with the choice that led to them.

    Args:
        logits: of the backbone, restored where the model restores.
        phi: the chosen candidate of every image, a constant without gradient.
        scores: (B, W), one per image and candidate.
    """

    logits: Tensor
    phi: WarpParams
    scores: Tensor


def candidate_warps(values: Sequence[float], limit: int, *, grid_size: int = PROFILE_ROWS) -> WarpParams:
    """The published list of candidates: every ordered pair of ``limit`` one-dimensional profiles.

    A profile gives each of the R rows one of ``values``, which fills the three middle intervals of that row; the other
    intervals are 1. Profiles come in the order of an odometer whose last row turns fastest, so a small ``limit``
    changes the last rows alone. The pair of profiles (i, j) for x and y is candidate ``i * limit + j``.

    Args:
        values: the alphabet, at least two different numbers, as ``layers.spec.Candidates`` checks them.
        limit: how many profiles to use.
        grid_size: R, at least 5 (four intervals), so that not every interval is a middle one.

    Returns:
        Parameters of limit**2 warps.
    """
    if grid_size < MIDDLE + 2:
        raise ValueError(f"grid_size is {grid_size}; expected at least {MIDDLE + 2}")
    profiles = torch.tensor(list(islice(product(values, repeat=grid_size), limit)))
    parts = torch.ones(limit, grid_size, grid_size - 1)
    start = (grid_size - 1 - MIDDLE) // 2
    parts[:, :, start : start + MIDDLE] = profiles.unsqueeze(-1)
    return WarpParams(parts.repeat_interleave(limit, dim=0), parts.repeat(limit, 1, 1))


class CandidateScorer(nn.Module):
    """Judges a warped image: a plain convolutional network whose one-channel output is averaged.

    Args:
        channels: of the image, then of every layer; the last must be 1.
        kernel_sizes: one odd size per layer.
    """

    def __init__(self, channels: Sequence[int] = (3, 4, 1), kernel_sizes: Sequence[int] = (3, 3)):
        super().__init__()
        if not kernel_sizes or len(channels) != len(kernel_sizes) + 1:
            raise ValueError(
                f"{len(channels)} channels and {len(kernel_sizes)} kernel_sizes do not fit: expected n + 1 and n for n "
                "layers, the image's channels first"
            )
        if min(channels) < 1 or channels[-1] != 1:
            raise ValueError(f"channels is {list(channels)}; expected numbers of at least 1, and 1 for the last layer")
        if any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise ValueError(f"kernel_sizes is {list(kernel_sizes)}; expected odd numbers, which keep the size")
        self.layers: Any = nn.ModuleList(
            nn.Conv2d(before, after, size, padding=size // 2)
            for before, after, size in zip(channels[:-1], channels[1:], kernel_sizes, strict=True)
        )

    @property
    def in_channels(self) -> int:
        """Channels of the images that it judges."""
        return self.layers[0].in_channels

    @property
    def least_side(self) -> int:
        """Pixels per side that the pools need."""
        return POOL ** (len(self.layers) - 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,) scores."""
        *hidden, last = self.layers
        for layer in hidden:
            image = F.max_pool2d(F.relu(layer(image)), POOL)
        return last(image).mean((1, 2, 3))


class CanonicalizedModel(WrappedBackbone):
    """A backbone that sees every image under the candidate warp with the highest score.

    The choice is a one-hot argmax, through which the gradient passes as if it were a softmax. Time is W warps and
    scores per image; another W of each where the scorer learns, and another W warps where the backbone's loss reaches
    it. Memory is that of one candidate for the whole batch, whatever W is.

    Args:
        backbone: any module that takes (B, C, H, W).
        candidates: parameters of W warps.
        channels: of the scorer.
        kernel_sizes: of the scorer.
        restore: undo the chosen warp on a dense output, (B, classes, H, W).
        preprocess: what warped images go through before the backbone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        candidates: WarpParams,
        *,
        channels: Sequence[int] = (3, 4, 1),
        kernel_sizes: Sequence[int] = (3, 3),
        restore: bool = False,
        preprocess: nn.Module | None = None,
    ):
        super().__init__(backbone, preprocess)
        check_params(candidates)
        self.candidates_x: Tensor
        self.candidates_y: Tensor
        self.scorer = CandidateScorer(channels, kernel_sizes)
        # Not in the state dict: the list is a setting, and follows from the recipe.
        self.register_buffer("candidates_x", candidates.x.detach().clone(), persistent=False)
        self.register_buffer("candidates_y", candidates.y.detach().clone(), persistent=False)
        self.restore = restore

    def forward(self, image: Tensor, return_output: bool = False) -> Tensor | CanonicalizedOutput:
        """Logits of (B, C, H, W) images, or with ``return_output`` the chosen warps and all scores too."""
        scores = self.score(image)
        candidates = self.candidates_for(image)
        chosen = scores.argmax(dim=1)
        phi = WarpParams(candidates.x[chosen], candidates.y[chosen])
        warped = unchecked_warp(image, phi)
        if torch.is_grad_enabled() and scores.requires_grad:
            warped = _StraightThrough.apply(warped, scores.softmax(dim=1), image, candidates.x, candidates.y)
        logits = super().forward(warped)
        if self.restore:
            if logits.ndim != 4:
                raise ValueError(
                    f"restore=True undoes warps of dense outputs, (B, classes, H, W); this backbone returns "
                    f"{tuple(logits.shape)}"
                )
            logits = unchecked_inverse_warp(logits, phi)
        return CanonicalizedOutput(logits, phi, scores) if return_output else logits

    def ask_backbone(self, image: Tensor, call: Callable[[Tensor], Any]) -> Any:
        """What a method of the backbone gives for images under the warps that are chosen for them."""
        return super().ask_backbone(unchecked_warp(image, self(image, return_output=True).phi), call)

    def score(self, image: Tensor) -> Tensor:
        """The score of every image under every candidate: (B, W)."""
        self._check_image(image)
        candidates = self.candidates_for(image)
        judge: Callable[..., Tensor] = self._score_under
        if torch.is_grad_enabled():
            # The backward pass warps and judges again, instead of keeping W warped batches.
            judge = partial(checkpoint, judge, use_reentrant=False, preserve_rng_state=False)
        return torch.stack([judge(image, x, y) for x, y in zip(*candidates, strict=True)], dim=1)

    def candidates_for(self, image: Tensor) -> WarpParams:
        """The W candidates, in the dtype that warps this image."""
        dtype = torch.promote_types(image.dtype, torch.float32)
        return WarpParams(self.candidates_x.to(dtype), self.candidates_y.to(dtype))

    def _score_under(self, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.scorer(_warped(image, x, y))

    def _check_image(self, image: Tensor) -> None:
        if not isinstance(image, Tensor):
            raise TypeError(f"image is {type(image).__name__}; expected a tensor")
        channels, side = self.scorer.in_channels, self.scorer.least_side
        if image.ndim != 4 or len(image) == 0 or image.shape[1] != channels or min(image.shape[2:]) < side:
            raise ValueError(
                f"image has shape {tuple(image.shape)}; expected (B, {channels}, H, W), B of at least 1, H and W of "
                f"at least {side}, which the pools of the scorer need"
            )
        if not image.is_floating_point():
            raise TypeError(f"image is {image.dtype}; expected a floating dtype")


def with_candidates(
    backbone: nn.Module,
    spec: Candidates | None = None,
    *,
    image_size: int | None = None,
    preprocess: nn.Module | None = None,
    **options: Any,
) -> CanonicalizedModel:
    """Put the best of the published list of warps in front of a backbone.

    Args:
        backbone: any timm model.
        spec: the list and its scorer; None for the published ones of MNIST.
        image_size: taken as other methods do, and not needed.
        preprocess: what warped images go through before the backbone.
        **options: fields of a ``Candidates``, in the place of what ``spec`` has.
    """
    given = replace(spec or Candidates(), **options)
    warps = candidate_warps(given.values, given.limit)
    scorer = {"channels": given.channels, "kernel_sizes": given.kernel_sizes}
    return CanonicalizedModel(backbone, warps, **scorer, restore=given.restore, preprocess=preprocess)


class _StraightThrough(torch.autograd.Function):
    """Passes on the chosen images, and differentiates as the sum of all candidates weighted by their shares would.

    That gradient of a share is the product of the image's gradient with the candidate, which is warped once more for
    it, instead of keeping W warped batches. Shares are otherwise constants: the image gets its gradient from what was
    chosen alone.
    """

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, shares: Tensor, image: Tensor, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(shares, image, x, y)
        return chosen.view_as(chosen)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        shares, image, x, y = ctx.saved_tensors
        products = [
            (gradient * _warped(image, *part)).sum((1, 2, 3), dtype=shares.dtype) for part in zip(x, y, strict=True)
        ]
        return gradient, torch.stack(products, dim=1), None, None, None


def _warped(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """All images under one warp of (R, R - 1) parameters."""
    return unchecked_warp(image, WarpParams(x.expand(len(image), -1, -1), y.expand(len(image), -1, -1)))
