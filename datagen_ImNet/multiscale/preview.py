"""A contact sheet of one picture, for people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from multiscale.picture import Picture

WIDTH, CAPTION, COLUMNS, GAP = 240, 20, 4, 4  # of a cell, height of its caption, cells in a row, pixels between them
MARK = (255, 60, 0)


def contact_sheet(picture: Picture, scaled: Mapping[float, np.ndarray]) -> Image.Image:
    """What the stages made of a picture: itself, box, mask, background, and its scales in rising order."""
    boxed = Image.fromarray(picture.image)
    width = max(2, max(boxed.size) // 150)
    ImageDraw.Draw(boxed).rectangle(picture.box, outline=MARK, width=width)
    tint = np.where(picture.mask[..., None], (picture.image * 0.5 + np.array(MARK) * 0.5), picture.image)
    cells = {
        "original": Image.fromarray(picture.image),
        f"box {picture.box_score:.2f}": boxed,
        f"mask {picture.mask_score:.2f}": Image.fromarray(tint.astype(np.uint8)),
        "inpainted": Image.fromarray(picture.background),
    }
    cells |= {f"scale {scale:g}": Image.fromarray(scaled[scale]) for scale in sorted(scaled)}
    rows = -(-len(cells) // COLUMNS)
    height = min(2 * WIDTH, max(1, round(WIDTH * boxed.height / boxed.width)))
    cell = (WIDTH + GAP, height + CAPTION)
    sheet = Image.new("RGB", (COLUMNS * cell[0], rows * cell[1] + CAPTION), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((2, 1), f"{picture.source.label}  {picture.source.name}", "black", font)
    for number, (text, image) in enumerate(cells.items()):
        left, top = number % COLUMNS * cell[0], number // COLUMNS * cell[1] + CAPTION
        draw.text((left + 2, top + 1), text, "black", font)
        sheet.paste(ImageOps.contain(image, (WIDTH, height)), (left, top + CAPTION))
    return sheet
