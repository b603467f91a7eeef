"""What a model is shown, finds and says, member by member over an orbit of local warps, for a reader to walk through.

The warps are those of the study of orbits, at more strengths: what lies around a centre grows or shrinks, all else
gives way. Pictures are for the eye: they have a byte per value, and at most ``SIDE`` pixels a side.

Arrays, of the first N <= 12 images at P centres and S strengths, K classes:
    labels: (N,).
    centres: (P, 2), x and y in [0, 1]. strengths: (S,); at the middle one, 1, the image is left as it is.
    probabilities: (N, P, S, K).
    pictures: (N, P, S, C, H, W), from 0 to 255, which is the range of the image that they are made of.
    sites: (L,) names of what finds warps, none of a plain network. residuals: (N, P, S, L).
    grid_0, grid_1, ...: of each site (N, P, S, 2, LINES, LINES), where it reads the picture, x and y in [0, 1], for
        points at even distances.
    form_0, form_1, ...: of each site, like pictures: what it shows in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measure import SHARE, Measure, Trial
from evaluation.studies.orbits import CENTRES
from evaluation.study import Findings, Study, Subject, device_of, finds_warps
from layers.bump import bumped
from layers.frame import Frame
from layers.grid import WarpParams, unchecked_evaluate_grid
from layers.sampling import sample_bilinear

ITEMS = 12  # a page that shows five models has few megabytes for each
SIDE = 96
LINES = 9
STRENGTHS = tuple(2 ** (third / 3) for third in range(-3, 4))

Arrays = dict[str, np.ndarray]


def study(model: Any, subject: Subject) -> Findings:
    """Of the first images, one after the other."""
    images, labels = subject.images(min(subject.count, ITEMS))
    of_images = [members(model, image) for image in images.to(device_of(model))]
    arrays = {name: np.stack([found[name] for found in of_images]) for name in of_images[0]}
    own = np.take_along_axis(arrays["probabilities"], labels.numpy()[:, None, None, None], 3)
    arrays |= {"labels": labels.numpy(), "centres": np.array(CENTRES), "strengths": np.array(STRENGTHS)}
    arrays["sites"] = np.array([site.name for site in model.sites] if finds_warps(model) else [], dtype=str)
    return Findings({"member_score": own.mean().item()}, arrays)


def members(model: Any, image: Tensor) -> Arrays:
    """All of one image (C, H, W)."""
    low, high = image.min(), image.max()
    of_centres = [_at_centre(model, image, centre) for centre in CENTRES]
    stacked = {name: torch.stack([found[name] for found in of_centres]).cpu() for name in of_centres[0]}
    shown = {name for name in stacked if name == "pictures" or name.startswith("form_")}
    return {
        name: (_bytes(value, low.cpu(), high.cpu()) if name in shown else value.float()).numpy()
        for name, value in stacked.items()
    }


def _at_centre(model: Any, image: Tensor, centre: tuple[float, float]) -> dict[str, Tensor]:
    """The members around one centre, (S, ...) each."""
    warped = torch.cat([bumped(image[None], centre, strength) for strength in STRENGTHS])
    height, width = warped.shape[-2:]
    side = max(height, width)
    size = (max(1, height * min(SIDE, side) // side), max(1, width * min(SIDE, side) // side))
    pictures = warped if size == (height, width) else F.interpolate(warped, size, mode="bilinear", antialias=True)
    if not finds_warps(model):
        nothing = warped.new_zeros(len(warped), 0)
        return {"pictures": pictures, "probabilities": model(warped).softmax(-1), "residuals": nothing}
    output = model(warped, return_output=True)
    found = {"pictures": pictures, "probabilities": output.logits.softmax(-1), "residuals": output.residual}
    for site, (phi, frame) in enumerate(zip(output.phis, model.frames((height, width)), strict=True)):
        found[f"grid_{site}"] = reading(phi, frame, (LINES, LINES))
        found[f"form_{site}"] = sample_bilinear(pictures, reading(phi, frame, size).to(pictures))
    return found


def reading(phi: WarpParams, frame: Frame, size: tuple[int, int]) -> Tensor:
    """Where a site reads an image for points at even distances, (B, 2, height, width) in [0, 1] of the image."""
    rows, columns = (torch.linspace(0, 1, n, device=phi.x.device, dtype=torch.float32) for n in size)
    points = torch.cartesian_prod(rows, columns).flip(1).expand(len(phi.x), -1, -1)
    read = frame.to_whole(unchecked_evaluate_grid(WarpParams(phi.x.float(), phi.y.float()), points))
    return read.transpose(1, 2).unflatten(2, size)


def _bytes(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return ((values.float() - low) / (high - low).clamp_min(1e-12) * 255).round().clamp(0, 255).to(torch.uint8)


STUDY = Study(name="members", run=study, measures=[Measure(name="member_score", unit=SHARE, trial=Trial.STUDY)])
