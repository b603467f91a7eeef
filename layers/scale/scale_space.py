"""The lifting of Deep Scale Spaces: the image beside ever more blurred versions of itself, all of full size.

Level k has the variance blur^2 (base^(2k) - 1). If the camera has blurred the image by ``blur`` pixels already, then
level k is blurred by blur * base^k pixels in all. Every base^k-th pixel of it is the image that the same camera, with
the same blur, takes of the scene from base^k times as far. So a smaller scene is the same stack, some levels lower.

The blur is the discrete Gaussian of Lindeberg, T(n, t) = exp(-t) I_n(t), with the modified Bessel function I_n. Unlike
a sampled Gaussian it is a semigroup on the pixel grid: blurring by s and then by t is blurring by s + t.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from layers.scale.checks import require_count, require_plain
from layers.scale.constant import WithConstants
from layers.scale.dilation import check_base


def discrete_gaussian(variance: float, radius: int) -> Tensor:
    """The taps exp(-t) I_n(t) for n = -radius .. radius, in float64: their sum is 1 less the tails beyond.

    They are the Fourier coefficients of exp(t (cos w - 1)), found by the mean over equally spaced w. The mean is exact
    but for taps at multiples of the number of points, which is chosen so large that these vanish.
    """
    if not variance >= 0:
        raise ValueError(f"variance is {variance}; expected a number of at least 0")
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"radius is {radius}; expected a whole number of at least 0")
    points = 2 * radius + 64 + 16 * math.ceil(math.sqrt(variance))
    half_angle = torch.arange(points // 2 + 1, dtype=torch.float64) * (math.pi / points)
    spectrum = torch.exp(-2 * variance * half_angle.sin() ** 2)  # of the half of the circle that the other mirrors
    return torch.fft.irfft(spectrum.to(torch.complex128), points).roll(radius)[: 2 * radius + 1]


def level_variances(levels: int, base: float, blur: float) -> list[float]:
    """How much each level is blurred. Level a + k is level a, blurred by base^(2a) times the variance of level k."""
    return [blur**2 * (base ** (2 * level) - 1) for level in range(levels)]


class ScaleSpace(WithConstants):
    """(B, C, H, W) to (B, C, levels, H, W); level 0 is the image itself. Nothing is learned.

    Beyond the image all is 0, so levels whose blur is as wide as the image are darker near its border.

    Args:
        levels: S. The blur of the last one is ``blur * base**(S - 1)`` pixels: ask for no more than the image can hold.
        base: by how much the scale grows from level to level.
        blur: standard deviation, in pixels, of the blur that the image is assumed to have.
    """

    def __init__(self, levels: int, *, base: float = 2, blur: float = 0.5):
        super().__init__()
        require_count("levels", levels)
        check_base(base, levels)
        if not 0 < blur < math.inf:
            raise ValueError(f"blur is {blur}; expected a number of pixels above 0, such as 0.5")
        self.levels, self.base, self.blur = levels, base, blur
        for level, variance in enumerate(level_variances(levels, base, blur)[1:], start=1):
            with torch.device("cpu"):
                taps = discrete_gaussian(variance, 4 * math.ceil(math.sqrt(variance)))
            self.hold(f"taps{level}", taps / taps.sum())

    @property
    def scales(self) -> tuple[float, ...]:
        """The blur of each level, in units of that of the image."""
        return tuple(float(self.base**level) for level in range(self.levels))

    def forward(self, x: Tensor) -> Tensor:
        require_plain(x, "ScaleSpace")
        blurred = [self._blurred(x, self.get_buffer(f"taps{level}")) for level in range(1, self.levels)]
        return torch.stack([x, *(level.to(x.dtype) for level in blurred)], dim=2)

    def _blurred(self, x: Tensor, taps: Tensor) -> Tensor:
        B, C, H, W = x.shape
        plane = x.reshape(B * C, 1, H, W)
        down, across = _within(taps, H).to(x), _within(taps, W).to(x)
        plane = F.conv2d(plane, down[None, None, :, None], padding=(len(down) // 2, 0))
        return F.conv2d(plane, across[None, None, None, :], padding=(0, len(across) // 2)).reshape(B, C, H, W)


def _within(taps: Tensor, side: int) -> Tensor:
    """Leave out the taps that see nothing but the zeros around the image, wherever they stand."""
    cut = max(0, len(taps) // 2 - (side - 1))
    return taps[cut : len(taps) - cut]
