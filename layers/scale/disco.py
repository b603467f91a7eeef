"""The functions of DISCO: kernels whose larger versions act on an image as they do on the shrunk image.

At a whole scale s such a version is known: the kernel with its taps s pixels apart. At scales between there is none,
and the best one in the sense of least squares is searched: filtering with it and then shrinking by the ratio q of two
scales should equal shrinking first and filtering with the smaller one. The published kernels were found by gradient
descent on random images; the objective is linear in the kernels when it is squared, so they are solved for here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.scale.checks import require_count, require_increasing, require_odd
from layers.scale.hermite import Family, normalized
from layers.scale.kept import kept

IMAGES, SIDE = 3, 80  # of uniform noise, which has a mean: without one the kernels' sums would drift
RIDGE = 1e-8  # of the mean of the normal matrix's diagonal
VERSION = 1  # of what is kept on disk


@dataclass(frozen=True, kw_only=True)
class Disco:
    """The functions of DISCO: sums of unit impulses, each of which has its version at every scale.

    Args:
        kernel_size: K, odd, of the largest scale.
        scales: increasing; at least one is a whole number.
        family: the Hermite functions that the impulses are mixed to.
        sigma: their width, in pixels at scale 1.
    """

    kernel_size: int
    scales: tuple[float, ...]
    family: Family
    sigma: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma is {self.sigma}; expected a width in pixels, above 0")
        _require_fit(self.kernel_size, self.family.effective_size, self.scales)

    def functions(self) -> Tensor:
        """(e^2, S, K, K), in float64."""
        effective = self.family.effective_size
        impulses = impulse_versions(self.kernel_size, effective, self.scales)
        with torch.device("cpu"):
            return mixed(impulses, self.family, self.sigma)


def mixed(impulses: Tensor, family: Family, sigma: float) -> Tensor:
    """Hermite functions made of (e^2, S, K, K) versions of unit impulses, normalized."""
    mixing = family.sampled(torch.tensor([sigma], dtype=impulses.dtype), family.effective_size)
    return normalized(torch.einsum("fp,pshw->fshw", mixing.flatten(1), impulses))


def impulse_versions(kernel_size: int, effective_size: int, scales: Sequence[float]) -> Tensor:
    """(e^2, S, K, K) versions at every scale of the e^2 unit impulses of an e x e kernel, in row-major order.

    They are kept on disk, beside what torch.hub keeps, for they take seconds to find.
    """
    return _impulse_versions(kernel_size, effective_size, tuple(map(float, scales))).clone()


@lru_cache(maxsize=16)
def _impulse_versions(kernel_size: int, effective_size: int, scales: tuple[float, ...]) -> Tensor:
    _require_fit(kernel_size, effective_size, scales)
    name = f"disco_v{VERSION}_{kernel_size}_{effective_size}_{'_'.join(map(repr, scales))}"
    shape = (effective_size**2, len(scales), kernel_size, kernel_size)
    return kept(name, shape, lambda: solved_versions(kernel_size, effective_size, scales))


def _require_fit(kernel_size: int, effective_size: int, scales: Sequence[float]) -> None:
    """Refuse scales of which none is known exactly, and kernels that the largest version does not fit into."""
    require_odd("kernel_size", kernel_size)
    require_odd("effective_size", effective_size)
    require_increasing("scales", scales)
    if all(scale != int(scale) for scale in scales):
        raise ValueError(f"scales is {list(scales)}; expected a whole number among them, such as 1")
    least = 2 * math.ceil((effective_size - 1) * scales[-1] / 2 - 1e-9) + 1
    if kernel_size < least:
        raise ValueError(
            f"kernel_size is {kernel_size}; expected at least {least}, for an effective size of {effective_size} at "
            f"scale {scales[-1]:g}"
        )


def solved_versions(kernel_size: int, effective_size: int, scales: Sequence[float]) -> Tensor:
    """The versions themselves, by one linear system for all scales that are no whole numbers."""
    K, taps = kernel_size, kernel_size**2
    known = {place: dilated_impulses(K, effective_size, int(s)) for place, s in enumerate(scales) if s == int(s)}
    free = [place for place in range(len(scales)) if place not in known]
    matrix = torch.zeros(len(free), taps, len(free), taps, dtype=torch.float64)
    right = torch.zeros(len(free), taps, effective_size**2, dtype=torch.float64)
    for image in _noise():
        for small, large in combinations(range(len(scales)), 2):
            if small in known and large in known:
                continue
            ratio = scales[large] / scales[small]
            # What each tap alone contributes, (taps, positions); the smaller kernel's enter with a minus.
            parts = {large: shrunk_responses(image, K, ratio), small: -responses_of_shrunk(image, K, ratio)}
            for row in parts.keys() & set(free):
                for column in parts:
                    gram = parts[row] @ parts[column].T
                    if column in known:
                        right[free.index(row)] -= gram @ known[column].flatten(1).T
                    else:
                        matrix[free.index(row), :, free.index(column)] += gram
    if free:
        square = matrix.reshape(len(free) * taps, -1)
        square = square + RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
        found = torch.linalg.solve(square, right.flatten(0, 1)).reshape(len(free), taps, -1)
        known |= {place: part.T.reshape(-1, K, K) for place, part in zip(free, found, strict=True)}
    return torch.stack([known[place] for place in range(len(scales))], dim=1)


def dilated_impulses(kernel_size: int, effective_size: int, scale: int) -> Tensor:
    """(e^2, K, K) of the impulses at a whole scale: each at the place of its tap, times the scale."""
    require_count("scale", scale)
    half, middle = effective_size // 2, kernel_size // 2
    impulses = torch.zeros(effective_size**2, kernel_size, kernel_size, dtype=torch.float64)
    for number in range(effective_size**2):
        row, column = divmod(number, effective_size)
        impulses[number, middle + scale * (row - half), middle + scale * (column - half)] = 1
    return impulses


def shrink(image: Tensor, ratio: float) -> Tensor:
    """(B, C, H, W) images, smaller by ``ratio``: cubic, half-pixel, without antialiasing."""
    return F.interpolate(image, scale_factor=1 / ratio, mode="bicubic", recompute_scale_factor=False)


def shrunk_responses(image: Tensor, kernel_size: int, ratio: float) -> Tensor:
    """(K^2, positions): what each tap sees in an (H, W) image whose borders meet, shrunk and cropped."""
    return _cropped(shrink(_seen(image, kernel_size), ratio), kernel_size)


def responses_of_shrunk(image: Tensor, kernel_size: int, ratio: float) -> Tensor:
    """(K^2, positions): what each tap sees in the shrunk image, cropped."""
    return _cropped(_seen(shrink(image[None, None], ratio)[0, 0], kernel_size), kernel_size)


def _seen(image: Tensor, kernel_size: int) -> Tensor:
    """(K^2, 1, H, W): the image as the tap at each offset sees it."""
    half = kernel_size // 2
    offsets = range(-half, half + 1)
    return torch.stack([image.roll((-row, -column), (0, 1)) for row in offsets for column in offsets])[:, None]


def _cropped(responses: Tensor, kernel_size: int) -> Tensor:
    margin = kernel_size // 2 + 1
    return responses[:, 0, margin:-margin, margin:-margin].flatten(1)


def _noise() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(IMAGES, SIDE, SIDE, generator=generator, dtype=torch.float64)
