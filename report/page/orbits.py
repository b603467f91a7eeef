"""What canonicalizers make of one orbit, side by side, and where models fail."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from report.page.members import Walk
from report.page.parts import Section, paragraph, picture

FAILURES = 4  # per model


def forms(found: Sequence[Walk]) -> Section:
    """The orbit of the first image about its middle: a row of members, and a row per site of what it shows."""
    title = "Canonical forms side by side"
    if not found:
        return Section("forms", title, paragraph("No run kept members of orbits."))
    first = found[0].arrays
    middle = len(first["centres"]) // 2
    at = f"strengths {first['strengths'][0]:.2g} to {first['strengths'][-1]:.2g}"
    rows = [("members", "what all models are given", found[0], "pictures")]
    rows += [
        (walk.recipe, f"site {site}", walk, f"form_{place}") for walk in found for place, site in enumerate(walk.sites)
    ]
    body = paragraph("A canonicalizer that undoes what makes the members differ has a row of equal pictures.")
    for recipe, what, walk, name in rows:
        count = len(first["strengths"])
        strip = np.concatenate([walk.picture(name, 0, middle, strength) for strength in range(count)], 1)
        body += f"<figure class='strip'><figcaption>{escape(recipe)}, {escape(what)}</figcaption>"
        body += picture(strip, f"{recipe}, {what}: the first image at {at}") + "</figure>"
    return Section("forms", title, body)


def failures(found: Sequence[Walk]) -> Section:
    """Of every model the images in whose orbits it is surest of a wrong class, at the worst member of each."""
    title = "Failures"
    if not found:
        return Section("failures", title, paragraph("No run kept members of orbits."))
    return Section("failures", title, "".join(map(_failures_of, found)))


def _failures_of(walk: Walk) -> str:
    said = walk.arrays["probabilities"]
    labels = walk.arrays["labels"]
    chosen = said.argmax(3)
    sure = np.where(chosen == labels[:, None, None], -1.0, said.max(3))
    worst = sure.reshape(len(labels), -1).max(1)
    order = [sample for sample in np.argsort(-worst, kind="stable")[:FAILURES] if worst[sample] > 0]
    body = f"<h3>{escape(walk.recipe)}</h3>"
    if not order:
        return body + paragraph(f"No member of the {len(labels)} images is given a wrong class.")
    shown = ["pictures", *(f"form_{place}" for place in range(len(walk.sites)))]
    for sample in order:
        centre, strength = np.unravel_index(sure[sample].argmax(), sure[sample].shape)
        x, y = walk.arrays["centres"][centre]
        label, said_class = labels[sample], chosen[sample, centre, strength]
        words = (
            f"class {label} is taken for {said_class} ({100 * worst[sample]:.0f} %); warp about ({x:g}, {y:g}), "
            f"strength {walk.arrays['strengths'][strength]:.2g}"
        )
        images = "".join(
            picture(walk.picture(name, sample, centre, strength), f"{name.replace('_', ' ')}: {words}")
            for name in shown
        )
        body += f"<figure class='strip'>{images}<figcaption>Image {sample + 1}: {words}</figcaption></figure>"
    return body
