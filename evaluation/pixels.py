"""What a model says of every pixel of a batch, and of the warped images, whose answers are brought back."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from evaluation.views import Views
from layers.grid import WarpParams, unchecked_warp_grid, warp_grid
from layers.inverse import inverse_warp_grid
from layers.sampling import sample_bilinear, sample_nearest


class PixelViews(Views):
    """``Views`` of a model that answers with maps, (B, classes, H, W); labels are (B, H, W).

    Maps stay on the device of the model. N counts the images that could be read.
    """

    @cached_property
    def maps(self) -> Tensor:
        """Logits (N, classes, H, W) of the images."""
        return self._maps(self.image)[self.chosen]

    @cached_property
    def maps_of_warped(self) -> Tensor:
        """Logits (N, classes, H, W) of the warped images, where these show them."""
        return self._maps(self._warped)[self.chosen]

    @cached_property
    def unwarped(self) -> Tensor:
        """Logits of the warped images, brought back to where the images show the same."""
        return sample_bilinear(self.maps_of_warped, self.inverse_grid)

    @cached_property
    def returned(self) -> Tensor:
        """Logits of the images, warped and brought back: of a model that follows the warp exactly."""
        return sample_bilinear(sample_bilinear(self.maps, self.grid), self.inverse_grid)

    @cached_property
    def targets(self) -> Tensor:
        """(N, H, W), the labels on the device of the model."""
        return self.labels.to(self.image.device)

    @cached_property
    def targets_of_warped(self) -> Tensor:
        """The labels of the warped images, read where these are read, at the nearest pixel."""
        return sample_nearest(self.targets[:, None], self.grid)[:, 0]

    @cached_property
    def grid(self) -> Tensor:
        """(N, 2, H, W), where the warped images read."""
        return warp_grid(self._warp_of_kept, self.size)

    @cached_property
    def inverse_grid(self) -> Tensor:
        """(N, 2, H, W), where the warped images show the pixels of the images: the exact inverse."""
        x, y = self._warp_of_kept
        one_by_one = zip(x.split(1), y.split(1), strict=True)  # so that on a CPU it works in the cache
        return torch.cat([inverse_warp_grid(WarpParams(*phi), self.size, method="exact") for phi in one_by_one])

    @cached_property
    def seen(self) -> Tensor:
        """(N, H, W), the pixels that both show: where the way there and back ends within half a pixel."""
        H, W = self.size
        back = sample_bilinear(self.grid, self.inverse_grid)
        still = WarpParams.identity(1, 2, device=back.device, dtype=back.dtype)
        sides = back.new_tensor([max(W - 1, 1), max(H - 1, 1)])[:, None, None]
        return ((back - unchecked_warp_grid(still, self.size)) * sides).norm(dim=1) < 0.5

    @cached_property
    def chosen(self) -> Tensor:
        """(B,) on the device of the model, which images could be read."""
        return self.kept.to(self.image.device)

    @property
    def _warp_of_kept(self) -> WarpParams:
        return WarpParams(self.warp.x[self.chosen], self.warp.y[self.chosen])

    def _maps(self, image: Tensor) -> Tensor:
        logits = self.judge.predict(image)
        expected = (len(image), *image.shape[-2:])
        is_map = isinstance(logits, Tensor) and logits.ndim == 4 and (len(logits), *logits.shape[-2:]) == expected
        if not is_map:
            given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"predict returned {given}; expected logits of ({len(image)}, classes, {expected[1:]})")
        return logits.detach().float()
