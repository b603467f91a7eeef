"""Makes a multi-scale set of labelled photographs: ``python -m benchmarks.photographs PHOTOS/CLASS/NAME.jpg OUTPUT``.

What lies in the middle of a photograph is enlarged or reduced, and the ring around it gives way, so that the border
stays where it is: a local change of scale, for which no mask and no inpainting is needed. With radii in halves of the
shorter side, the disc of radius 0.5 is scaled and nothing beyond 0.95 moves; between them the radius is interpolated
monotonically. All scales, 1 too, are sampled alike and saved as JPEG of quality 95.

Photographs, not files, are divided into training and validation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.interpolate import PchipInterpolator

from dataloader.split import split_indices

SCALES = (1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3)
INNER, OUTER = 0.5, 0.95
FINER = 2  # samples per pixel and axis


def magnified(image: torch.Tensor, scale: float) -> torch.Tensor:
    """(3, H, W) with its middle at this scale."""
    _, H, W = image.shape
    knots = [0, INNER * scale / 2, INNER * scale, OUTER, 1, 4]
    radius_of = PchipInterpolator(knots, [0, INNER / 2, INNER, OUTER, 1, 4])
    rows, columns = (
        (np.arange(size * FINER) + 0.5) / FINER - size / 2 for size in (H, W)
    )  # centres of the samples, in pixels from the middle
    y, x = np.meshgrid(rows, columns, indexing="ij")
    radius = np.hypot(x, y) / (min(H, W) / 2)
    factor = radius_of(radius) / np.maximum(radius, 1e-12)
    grid = torch.from_numpy(np.stack([x * factor * 2 / W, y * factor * 2 / H], axis=-1)).float()
    fine = F.grid_sample(image[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, FINER)[0].clamp(0, 255)


def write_scales(source: Path, target: Path, scales: Sequence[float]) -> None:
    """One photograph at these scales, beside each other in the folder of its class."""
    torch.set_num_threads(1)
    image = torch.from_numpy(np.array(Image.open(source).convert("RGB"))).permute(2, 0, 1).float()
    target.mkdir(parents=True, exist_ok=True)
    for scale in scales:
        pixels = magnified(image, scale).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(target / f"{source.stem}_scale_{scale:g}.JPEG", quality=95)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="\n".join(__doc__.splitlines()[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", type=Path, help="folder with a folder of photographs per class")
    parser.add_argument("output", type=Path, help="takes train/ and val/")
    parser.add_argument("--train", type=float, default=0.7, help="share of the photographs (0.7)")
    for split in ("train", "val"):
        words = {"type": float, "nargs": "+", "default": SCALES}
        parser.add_argument(f"--{split}_scales", **words, help="of these photographs (all seven); 1 makes plain ones")
    options = parser.parse_args()
    found = sorted(path for path in options.photos.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        parser.error(f"{options.photos} has no CLASS/NAME.jpg")
    count = round(options.train * len(found))
    chosen = set(split_indices(len(found), 0, count)[0].tolist())
    with ProcessPoolExecutor() as pool:
        jobs = []
        for number, path in enumerate(found):
            split, scales = ("train", options.train_scales) if number in chosen else ("val", options.val_scales)
            jobs.append(pool.submit(write_scales, path, options.output / split / path.parent.name, scales))
        for job in jobs:
            job.result()
    print(f"{count} photographs to train on, {len(found) - count} to validate")


if __name__ == "__main__":
    main()
