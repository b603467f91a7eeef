"""What makes the map a contraction: spectral radius and residual over the strength of its warps and over damping."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from benchmarks.published import NETWORK
from benchmarks.report import write
from layers.canonicalizer import Canonicalizer, evaluate_in_parts
from layers.fixed_point import FixedPointSolver, spectral_radius
from layers.grid import WarpParams

NOTES = (
    "The published ImageNet map at random initialisation (seed 0) on eight 224 x 224 crops of scikit-learn's two "
    "sample photographs, which are sharp. Median and maximum over images of the spectral radius where thirty "
    "plain steps end, and of the relative residual after five Anderson and thirty Anderson or plain steps; spread "
    "of phi over images (a constant map would converge at once and be worth nothing). Damping moves no fixed "
    "point; strength bounds phi to an interval of that width. `gradient error`: parameter gradients, one-step and "
    "implicit, against 200 unrolled steps, two images at 56 x 56."
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(2)
    image = crops(224)
    rows = []
    for R in (4, 10):
        for strength, damping in ((1.0, 1.0), (1.0, 0.25), (0.5, 1.0), (0.25, 1.0), (0.1, 1.0)):
            row: dict[str, Any] = {"R": R, "strength": strength, "damping": damping}
            row |= convergence(built(R, strength), image, damping)
            if R == 4 and damping == 1:
                errors = gradient_errors(built(R, strength, input_size=56), crops(56)[:2])
                row["gradient error"] = f"{errors['one_step']:.1e} / {errors['implicit']:.1e}"
            rows.append(row)
            print(row, flush=True)
    write("contraction", "python -m benchmarks.contraction", rows, NOTES)


def crops(size: int) -> Tensor:
    """Eight crops of real photographs that ship with scikit-learn, (8, 3, size, size) in [0, 1]."""
    images = []
    for photograph in load_sample_images().images:
        whole = torch.tensor(photograph).permute(2, 0, 1).float() / 255
        for top in (0, 180):
            for left in (40, 350):
                images.append(whole[:, top : top + 224, left : left + 224])
    return torch.nn.functional.interpolate(torch.stack(images), size=(size, size), mode="bilinear", antialias=True)


def built(R: int, strength: float, input_size: int = 224) -> Canonicalizer:
    """The published map, the same weights every time."""
    torch.manual_seed(0)
    return Canonicalizer([R], **NETWORK, strength=strength, input_size=input_size)


def convergence(canonicalizer: Canonicalizer, image: Tensor, damping: float) -> dict[str, Any]:
    """Residuals and spectral radius of the damped map."""
    update = canonicalizer.module_list[0]
    source = canonicalizer.prepared(image)
    evaluate = partial(evaluate_in_parts, update, source)

    def damped(phi: WarpParams) -> WarpParams:
        return WarpParams(*(torch.lerp(old, new, damping) for old, new in zip(phi, evaluate(phi), strict=True)))

    start = WarpParams.identity(len(image), update.grid_size)
    found = {}
    with torch.no_grad():
        for steps, name in ((5, "anderson"), (30, "anderson"), (30, "fixed_point")):
            solver = FixedPointSolver(name, max_steps=steps, tol=1e-5, damping=damping)
            point = solver(evaluate, start)
            found[f"residual, {steps} {name}"] = f"{point.residual.median():.1e} / {point.residual.max():.1e}"
    radius = spectral_radius(damped, point.value, iterations=16, generator=torch.Generator().manual_seed(0))
    spread = torch.cat([part.flatten(1) for part in point.value], 1).std(0).mean()
    return {"radius": f"{radius.median():.2f} / {radius.max():.2f}", **found, "phi spread": float(spread)}


def gradient_errors(canonicalizer: Canonicalizer, image: Tensor, damping: float = 1.0) -> dict[str, float]:
    """Relative distance of the cheap parameter gradients from that of 200 unrolled steps; the solver is put back."""
    solvers = {
        "unrolled": FixedPointSolver("fixed_point", max_steps=200, tol=0, gradient="unrolled", damping=damping),
        "one_step": FixedPointSolver("anderson", max_steps=60),
        "implicit": FixedPointSolver("anderson", max_steps=60, gradient="implicit", backward_steps=60),
    }
    gradients, own = {}, canonicalizer.solver
    try:
        for name, solver in solvers.items():
            canonicalizer.solver = solver
            loss = sum(phi.x.square().mean() + phi.y.pow(3).mean() for phi in canonicalizer(image).phis)
            parts = torch.autograd.grad(loss, list(canonicalizer.parameters()))
            gradients[name] = torch.cat([part.flatten() for part in parts])
    finally:
        canonicalizer.solver = own
    exact = gradients.pop("unrolled")
    return {name: float((found - exact).norm() / exact.norm()) for name, found in gradients.items()}


if __name__ == "__main__":
    main()
