"""Finds the object of a picture by the names of its class, with Grounding DINO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from timm.data import ImageNetInfo
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

from multiscale.errors import SettingsError
from multiscale.picture import Picture
from multiscale.pretrained import Pretrained, vanishes
from multiscale.stages import Detection

KIND = Pretrained(
    GroundingDinoForObjectDetection, GroundingDinoProcessor, "--detector_model", "IDEA-Research/grounding-dino-tiny"
)


class GroundingDino:
    """Takes the surest box of each picture.

    Pictures of one size go through the model together: padded to a common size, what is found in one would depend on
    the others, as the backbone sees the padding.

    Args:
        model: name on the Hub, or folder.
        caption_of: what to look for, of a picture's label; closed with ".".
        device: of the model.
        box_threshold: that a box's score exceeds.
    """

    def __init__(self, model: str, caption_of: Callable[[str], str], device: str, box_threshold: float):
        self.model, self.processor = KIND.load(model, device)
        known, needed = self.processor.tokenizer.vocab_size, self.model.config.text_config.vocab_size
        if known < needed:  # without its files, transformers 5 makes a tokenizer that knows no word
            raise KIND.missing(model, f"its tokenizer knows {known} words of {needed}")
        self.long_side = self.processor.image_processor.size["longest_edge"]
        self.caption_of, self.device, self.box_threshold = caption_of, device, box_threshold

    def __call__(self, pictures: Sequence[Picture]) -> list[Detection | None]:
        of_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            if not vanishes(picture.image, self.long_side):
                of_size[picture.image.shape].append(index)
        found: list[Detection | None] = [None] * len(pictures)
        for indices in of_size.values():
            alike = [pictures[index] for index in indices]
            captions = [self.caption_of(picture.source.label) for picture in alike]
            for index, detection in zip(indices, self.detect([p.image for p in alike], captions), strict=True):
                found[index] = detection
        return found

    @torch.inference_mode()
    def detect(self, images: list[np.ndarray], captions: list[str]) -> list[Detection | None]:
        """Images of one size."""
        # RGB, as the weights were trained; the published pipeline fed RGB where its library expected BGR.
        # The layout is said, as an image of three rows would be taken for one of three channels.
        inputs = self.processor(
            images=images, text=captions, padding=True, input_data_format="channels_last", return_tensors="pt"
        ).to(self.device)
        sizes = [image.shape[:2] for image in images]
        results = self.processor.post_process_grounded_object_detection(
            self.model(**inputs), inputs["input_ids"], threshold=self.box_threshold, target_sizes=sizes
        )
        return [surest(result) for result in results]


def surest(result: dict[str, Any]) -> Detection | None:
    """The box of the highest score, if any is left."""
    scores = result["scores"]
    if not len(scores):
        return None
    best = int(scores.argmax())
    left, top, right, bottom = result["boxes"][best].tolist()
    return Detection((left, top, right, bottom), float(scores[best]))


def caption_of_synset(synset: str) -> str:
    """All names of a class of ImageNet, 1k or 21k, as one caption: two blanks between them, a full stop at the end."""
    try:
        names = _imagenet().label_name_to_description(synset)
    except KeyError as error:
        raise SettingsError(f"no name is known for '{synset}': it is no synset of ImageNet, as n01440764 is") from error
    return names.lower().replace(", ", "  ").rstrip(".") + "."


@cache
def _imagenet() -> ImageNetInfo:
    return ImageNetInfo()
