"""What every layer must bear: it learns, it can be traced, copied and cast, and it keeps nothing of a forward."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def blobs(count: int = 64, side: int = 12) -> tuple[Tensor, Tensor]:
    """Noisy images of a small blob (0) or a broad one (1), (count, 1, side, side), and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    widths = torch.where(labels == 0, 0.8, 2.0)[:, None, None]
    place = torch.arange(side) - (side - 1) / 2
    images = torch.exp(-(place[:, None] ** 2 + place**2) / (2 * widths**2))
    return (images + 0.05 * torch.randn(images.shape, generator=generator))[:, None], labels


def fall_of_loss(net: nn.Module, side: int = 12, steps: int = 20) -> float:
    """The loss on 64 images after ``steps`` steps, as a part of what it was."""
    images, labels = blobs(side=side)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


def bears_tools(module: nn.Module, x: Tensor) -> None:
    """It compiles without a break, exports for any number of images, runs in bfloat16 autocast, and keeps no state."""
    torch.compiler.reset()  # or the classes of earlier modules count against the limit of recompilations
    before = _state(module)
    expected = module(x)
    assert _state(module) == before
    for other in (torch.compile(module, backend="eager", fullgraph=True), deepcopy(module)):
        assert torch.equal(other(x), expected)
    exported: Any = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("B")},)).module()
    torch.testing.assert_close(exported(x), expected)
    torch.testing.assert_close(exported(x[:1]), expected[:1])
    with torch.autocast("cpu", torch.bfloat16):
        cast = module(x.float() if x.dtype == torch.float64 else x)
    cast.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    torch.testing.assert_close(cast.float(), expected.float(), rtol=0.05, atol=0.05)


def _state(module: nn.Module) -> list[str]:
    return [repr({k: v for k, v in vars(part).items() if k[0] != "_"}) for part in module.modules()]
