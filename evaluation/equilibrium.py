"""Whether a canonicalizer reached its fixed points, and whether its warps depend on the image at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from evaluation.predictions import Loader, undisturbed

ITEMS = 256  # that describe a canonicalizer: a number of pictures, for no metric may depend on the size of a batch


def equilibrium(model: nn.Module | Callable, loader: Loader, *, device: torch.device | str = "cpu") -> dict[str, float]:
    """Describe the warps that an adapted model finds for the images of a loader.

    Args:
        model: called with ``return_output=True``; gives phis and residual, (B, K).
        loader: yields (image, label, ...).
        device: where the images are moved to.

    Returns:
        ``residual`` (the median over images and sites), ``residual_99`` (what 99 % of the images stay below at every
        site), and ``phi_std``: the standard deviation over images of phi's entries, averaged; a constant map has none.
    """
    residuals, entries = [], []
    with undisturbed(model):
        for image, *_ in loader:
            output: Any = model(image.to(device), return_output=True)
            residuals.append(output.residual.float().cpu())
            entries.append(torch.cat([part.flatten(1).float().cpu() for phi in output.phis for part in phi], dim=1))
    residual, phi = torch.cat(residuals), torch.cat(entries)
    return {
        "residual": residual.median().item(),
        "residual_99": residual.amax(dim=1).quantile(0.99).item(),
        "phi_std": phi.std(dim=0, correction=0).mean().item(),
    }
