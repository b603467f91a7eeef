"""Fills holes with LaMa, a network that has seen how pictures go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from multiscale.errors import missing_lama

MULTIPLE = 8  # of which the network's sides must be


class Lama:
    """A TorchScript file, loaded once.

    Args:
        path: of the file; it takes an image (1, 3, H, W) in [0, 1] and a hole (1, 1, H, W) of 0 and 1, and gives the
            filled image (1, 3, H, W) in [0, 1].
        device: of the model.
    """

    def __init__(self, path: Path, device: str):
        if not path.is_file():
            raise missing_lama(path, "there is no such file")
        try:
            self.model = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError as error:
            raise missing_lama(path, f"it is no TorchScript file: {error}") from error
        self.device = device

    def __call__(self, images: Sequence[np.ndarray], holes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.fill(image, hole) for image, hole in zip(images, holes, strict=True)]

    @torch.inference_mode()
    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """One image, RGB."""
        H, W = hole.shape
        padded = torch.from_numpy(mirrored(image)).to(self.device).permute(2, 0, 1)[None] / 255
        new = self.model(padded, torch.from_numpy(mirrored(hole)).to(self.device)[None, None].float())
        return (new[0, :, :H, :W].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def mirrored(pixels: np.ndarray) -> np.ndarray:
    """An image or a hole, continued to the right and below as in a mirror; any size will do."""
    H, W = pixels.shape[:2]
    beyond = [(0, -H % MULTIPLE), (0, -W % MULTIPLE), (0, 0)]
    return np.pad(pixels, beyond[: pixels.ndim], mode="symmetric")
