"""The five stages, built where they work: what holds weights is imported and loaded there alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multiscale.coco import CocoDetector, CocoSegmenter
from multiscale.picture import Picture, Read
from multiscale.settings import Job
from multiscale.stages import Detect, Detector, Inpaint, Inpainter, Segment, Segmenter
from multiscale.write import Write

STAGES = ("read", "detect", "segment", "inpaint", "write")
WITH_WEIGHTS = ("detect", "segment", "inpaint")

AnyStage = Callable[[list[Picture]], list[Any]]
"""The last stage gives lines of the manifest, the others pictures."""


def build_stage(name: str, job: Job) -> AnyStage:
    """One of ``STAGES``."""
    settings = job.settings
    if name == "read":
        return Read(job.pictures, job.classes)
    if name == "detect":
        return Detect(build_detector(job))
    if name == "segment":
        return Segment(build_segmenter(job), settings.min_mask_in_box, settings.scale_factors)
    if name == "inpaint":
        return Inpaint(build_inpainter(job), settings.mask_inflation, settings.mask_blur)
    return Write(job)


def build_detector(job: Job) -> Detector:
    """Drawn boxes, or a Grounding DINO."""
    if job.detector is None:
        return CocoDetector()
    from multiscale.grounding_dino import GroundingDino, caption_of_synset

    return GroundingDino(job.detector, caption_of_synset, job.device, job.settings.box_threshold)


def build_segmenter(job: Job) -> Segmenter:
    """Drawn masks, or a SAM."""
    if job.segmenter is None:
        return CocoSegmenter()
    from multiscale.sam import Sam

    return Sam(job.segmenter, job.device)


def build_inpainter(job: Job) -> Inpainter:
    """Telea's method, or a LaMa."""
    if job.inpainter is None:
        from multiscale.telea import Telea

        return Telea()
    from multiscale.lama import Lama

    return Lama(job.inpainter, job.device)
