"""Predictions before and after a random warp: what a model that is equivariant to local scale does not care about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.predictions import Comparison, Loader, Pairs, Predict, joined, logits_of, undisturbed
from layers.grid import WarpParams
from layers.monotone import inverse_monotone_warp, monotone_warp
from layers.seeds import item_warps


def warp_pairs(
    predict: Predict,
    loader: Loader,
    positions: Sequence[int] | None = None,
    *,
    grid_size: int = 8,
    strength: float = 0.25,
    seed: int = 0,
    floor_items: int | None = 256,
    device: torch.device | str = "cpu",
) -> Comparison:
    """Logits of every item, of the item under one random warp, and of the item warped and restored.

    Args:
        predict: from images (B, C, H, W) to logits (B, classes), see ``predictions``.
        loader: yields (image, label, ...).
        positions: which items of the whole evaluation the loader yields, in its order; left out, all from 0 on. The
            warp of an item is drawn by its position, so the parts of a divided evaluation agree with the whole.
        grid_size: R, the number of knots per axis of the warps.
        strength: of the warps.
        seed: of the warps.
        floor_items: restore the items at positions below this, or all where None; inverting a warp exactly takes
            longer than a small model does.
        device: where the images are moved to.
    """
    labels, clean, warped, restored, has_floor = [], [], [], [], []
    seen = 0
    with undisturbed(predict):
        for image, label, *_ in loader:
            at = range(seen, seen + len(image)) if positions is None else positions[seen : seen + len(image)]
            seen += len(image)
            if len(at) != len(image):
                raise ValueError(f"positions names {len(positions or ())} items, but the loader yields more")
            image = image.to(device)
            phi = WarpParams(*(part.to(device) for part in item_warps(at, grid_size, strength, seed, "warp error")))
            changed = monotone_warp(image, phi)
            labels.append(torch.as_tensor(label))
            clean.append(logits_of(predict, image, device))
            warped.append(logits_of(predict, changed, device))
            kept = torch.tensor([floor_items is None or position < floor_items for position in at])
            has_floor.append(kept)
            if kept.any():
                chosen = kept.to(device)
                image = _unwarped(changed[chosen], WarpParams(phi.x[chosen], phi.y[chosen]))
                restored.append(logits_of(predict, image, device))
    if positions is not None and seen != len(positions):
        raise ValueError(f"positions names {len(positions)} items, but the loader yields {seen}")
    before = joined(clean)
    floor = Pairs(before[joined(has_floor).bool()], joined(restored)) if seen else Pairs(before, before)
    return Comparison(joined(labels).long(), Pairs(before, joined(warped)), floor)


def _unwarped(image: Tensor, phi: WarpParams) -> Tensor:
    """Undo warps image by image: so that on a CPU the exact inverse works in the cache."""
    if image.is_cuda:
        return inverse_monotone_warp(image, phi, method="exact")
    one_by_one = zip(image.split(1), phi.x.split(1), phi.y.split(1), strict=True)
    return torch.cat([inverse_monotone_warp(i, WarpParams(x, y), method="exact") for i, x, y in one_by_one])
