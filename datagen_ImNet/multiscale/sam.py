"""Finds the pixels of an object from the box around it, with Segment Anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import SamModel, SamProcessor

from multiscale.picture import Picture
from multiscale.pretrained import Pretrained, vanishes
from multiscale.stages import Segmentation

KIND = Pretrained(SamModel, SamProcessor, "--segmenter_model", "facebook/sam-vit-huge")


class Sam:
    """One mask for each box; its score is the IoU that the model predicts.

    A picture so elongated that the model sees nothing of it has an empty mask.

    Args:
        model: name on the Hub, or folder.
        device: of the model.
    """

    def __init__(self, model: str, device: str):
        self.model, self.processor = KIND.load(model, device)
        self.long_side = self.processor.image_processor.size["longest_edge"]
        self.device = device

    def __call__(self, pictures: Sequence[Picture]) -> list[Segmentation]:
        found = [Segmentation(np.zeros(picture.image.shape[:2], bool), 0.0) for picture in pictures]
        seen = [index for index, picture in enumerate(pictures) if not vanishes(picture.image, self.long_side)]
        for index, segmentation in zip(seen, self.segment([pictures[i] for i in seen]) if seen else [], strict=True):
            found[index] = segmentation
        return found

    @torch.inference_mode()
    def segment(self, pictures: list[Picture]) -> list[Segmentation]:
        """Pictures of any sizes: each is padded to the same square, whatever the others are."""
        inputs = self.processor(
            images=[picture.image for picture in pictures],
            input_boxes=[[list(picture.box)] for picture in pictures],
            input_data_format="channels_last",  # an image of three rows would be taken for one of three channels
            return_tensors="pt",
        )
        outputs = self.model(**inputs.to(self.device), multimask_output=False)
        masks = self.processor.post_process_masks(
            outputs.pred_masks.cpu(), inputs["original_sizes"].cpu(), inputs["reshaped_input_sizes"].cpu()
        )
        scores = outputs.iou_scores.flatten().tolist()
        return [Segmentation(mask[0, 0].numpy(), score) for mask, score in zip(masks, scores, strict=True)]
