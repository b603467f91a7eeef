"""Why a run stops."""

from __future__ import annotations

from pathlib import Path


class Stopped(Exception):
    """What people can put right, said in a message; behind it, the same command goes on."""


class SettingsError(Stopped):
    """A setting that cannot be right."""


class ManifestError(Stopped):
    """A manifest that cannot be gone on with."""


class CannotWrite(Stopped):
    """The disk is full, or the folder is not ours to write in."""


class LostWorker(Stopped):
    """A worker is gone, and its batch with it."""


class MissingWeights(Stopped):
    """Weights are neither here nor to be had; the message says where they are, and what works without them."""


class NoPictures(Stopped):
    """What was named holds nothing to work on."""


DRAWN = "--annotations FILE reads boxes and masks from a COCO file"
"""Works without a detector and a segmenter."""


def missing_weights(option: str, name: str, reason: str, source: str, without: str) -> MissingWeights:
    """The report on one model.

    Args:
        option: that names the model.
        name: what it was given.
        reason: why that cannot be loaded; the first line is shown.
        source: what to do to have the model.
        without: what works without it.
    """
    shown = (reason.strip().splitlines() or ["no reason is known"])[0]
    return MissingWeights(f"{option}: cannot load '{name}': {shown}\n  to get it: {source}\n  without it: {without}")


def missing_lama(path: Path, reason: str) -> MissingWeights:
    """The report on the file of an inpainter."""
    source = (
        "big-lama exported to TorchScript, for instance "
        "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt, then --inpainter_model FILE"
    )
    without = "leave out --inpainter_model: OpenCV's Telea fills the holes, which needs no weights"
    return missing_weights("--inpainter_model", str(path), reason, source, without)
