"""Draws what scale-equivariant layers convolve with: one kernel of each kind, at four scales, or at four turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from layers.scale.dilation import level_dilations
from layers.scale.hermite import Family, Hermite
from layers.scale.rotations import turning_matrices
from layers.scale.siconv import resized_kernel
from layers.scale.xu import column_kernels
from models.scale_zoo.stir2 import DISCO, HERMITE, KERNEL

COLUMNS = 4
SIDES = (7, 11, 17, 25)
XU_SIDES = (3, 5, 7, 11)
INCHES = 1.0  # side of one panel


class Row(NamedTuple):
    """Kernels of one kind.

    Args:
        name: of the kind.
        kernels: (side, side) each, smaller ones within zeros.
        scales: the words above each.
    """

    name: str
    kernels: list[Tensor]
    scales: list[str]


def rows() -> list[Row]:
    """What is drawn. Kernels that are trained are random here, and the same ones in every row."""
    generator = torch.Generator().manual_seed(1)
    smooth = F.interpolate(torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64), KERNEL, mode="bicubic")
    by_side = {
        mode: [_framed(resized_kernel(smooth, side, mode)[0, 0], max(SIDES)) for side in SIDES]  # type: ignore[arg-type]
        for mode in ("bicubic", "nearest")
    }
    weights = torch.randn(HERMITE.family.effective_size**2, generator=generator, dtype=torch.float64)
    only = Hermite(kernel_size=15, sigmas=HERMITE.sigmas, family=Family(kind="A", effective_size=4))
    taps = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    dilations = level_dilations(2, COLUMNS)
    turns = turning_matrices(KERNEL, 8)[:COLUMNS]
    widths = [f"width {sigma:g}" for sigma in HERMITE.sigmas]
    return [
        *(Row(f"SiConv,\n{mode}", kernels, [f"side {side}" for side in SIDES]) for mode, kernels in by_side.items()),
        Row("Hermite A,\na function", list(only.functions()[1 + 4 * 2]), widths),
        Row("Hermite B,\na mixture", _mixed(HERMITE, weights), widths),
        Row("DISCO,\na mixture", _mixed(DISCO, weights), [f"scale {scale:g}" for scale in DISCO.scales]),
        Row("Deep Scale\nSpaces", _dilated(taps, dilations), [f"taps {dilation} apart" for dilation in dilations]),
        Row("Xu", [*column_kernels(smooth, XU_SIDES)[:, 0]], [f"side {side}" for side in XU_SIDES]),
        Row("C8", [(turn @ smooth.flatten()).view(KERNEL, KERNEL) for turn in turns], [f"{45 * r}°" for r in range(4)]),
    ]


def _framed(kernel: Tensor, side: int) -> Tensor:
    return F.pad(kernel, [(side - kernel.shape[-1]) // 2] * 4)


def _mixed(basis: Any, weights: Tensor) -> list[Tensor]:
    return list(torch.einsum("f,fshw->shw", weights, basis.functions()))


def _dilated(taps: Tensor, dilations: list[int]) -> list[Tensor]:
    found = []
    for dilation in dilations:
        side = dilation * (len(taps) - 1) + 1
        kernel = taps.new_zeros(side, side)
        kernel[::dilation, ::dilation] = taps
        found.append(_framed(kernel, max(dilations) * (len(taps) - 1) + 1))
    return found


def draw(path: str | Path) -> None:
    """Write the figure. Each panel has its own range, and 0 is the grey in the middle of it.

    Args:
        path: of the file; its ending says the format.
    """
    shown = rows()
    figure = Figure(figsize=((COLUMNS + 0.9) * INCHES, 1.22 * len(shown) * INCHES), layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), COLUMNS, squeeze=False)
    for row, line in zip(shown, panels, strict=True):
        line[0].set_ylabel(row.name, rotation=0, ha="right", va="center", fontsize=9)
        for kernel, scale, panel in zip(row.kernels, row.scales, line, strict=True):
            most = float(kernel.abs().max())
            panel.imshow(kernel.numpy(), cmap="gray", vmin=-most, vmax=most, interpolation="nearest")
            panel.set_title(scale, fontsize=9, pad=2)
            panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)
