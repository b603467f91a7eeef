"""Holds what Segment Anything is given and which mask is taken, with a tiny one of random weights."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SamModel, SamProcessor

from multiscale.errors import MissingWeights
from multiscale.picture import Box, Picture, Source
from multiscale.sam import Sam
from tests.datagen_ImNet.tiny_models import SIDE, save_sam

RED = (np.array([1, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]  # as ImageNet's colours are scaled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the model and its processor."""
    return save_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Sam:
    return Sam(str(folder), "cpu")


def picture(*size: int, box: Box = (4.0, 6.0, 25.5, 19.0), colour: Any = None) -> Picture:
    """A box and its pixels, noise or one colour."""
    made = Picture(0, Source("tench.JPEG", "tench", "tench"))
    noise = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    made.image = noise if colour is None else np.full((*size, 3), colour, np.uint8)
    made.box = box
    return made


def inputs_of(segmenter: Sam, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Where what the model is given will be found."""
    given: list[dict[str, Any]] = []
    forward = segmenter.model.forward
    monkeypatch.setattr(segmenter.model, "forward", lambda **inputs: given.append(inputs) or forward(**inputs))
    return given


def test_mask_and_score_are_those_of_a_direct_call(folder: Path, segmenter: Sam) -> None:
    model, processor = SamModel.from_pretrained(folder).eval(), SamProcessor.from_pretrained(folder)
    pictures = [picture(50, 70), picture(90, 30, box=(2.0, 40.0, 28.0, 85.0))]
    for given, found in zip(pictures, segmenter(pictures), strict=True):
        inputs = processor(Image.fromarray(given.image), input_boxes=[[list(given.box)]], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs, multimask_output=False)
        (mask,) = processor.post_process_masks(
            outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        assert found.mask.dtype == bool and found.mask.shape == given.image.shape[:2]
        assert 0 < found.mask.mean() < 1
        assert (found.mask == mask[0, 0].numpy()).mean() > 0.999
        assert found.score == pytest.approx(outputs.iou_scores.item(), abs=1e-5)


def test_the_box_is_scaled_like_its_picture(segmenter: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs_of(segmenter, monkeypatch)
    boxes: list[Box] = [(4.0, 6.0, 25.5, 19.0), (2.0, 40.0, 28.0, 85.0), (0.0, 0.0, 32.0, 16.0)]
    segmenter([picture(40, 80, box=boxes[0]), picture(96, 48, box=boxes[1]), picture(16, 32, box=boxes[2])])
    expected = np.array(boxes) * [[64 / 80], [64 / 96], [64 / 32]]
    np.testing.assert_allclose(given[0]["input_boxes"][:, 0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(40, 60), (1, 60), (3, 60), (60, 1), (1, 1), (3, 3)])
def test_the_model_sees_red_where_the_picture_is_red(
    segmenter: Sam, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    given = inputs_of(segmenter, monkeypatch)
    (found,) = segmenter([picture(*size, colour=(255, 0, 0))])
    assert found.mask.shape == size
    H, W = (round(side * SIDE / max(size)) for side in size)
    pixels = given[0]["pixel_values"][0]
    np.testing.assert_allclose(pixels[:, :H, :W].flatten(1).numpy(), np.tile(RED[:, None], H * W), atol=1e-5)
    assert not pixels[:, H:].any() and not pixels[:, :, W:].any()


def test_a_picture_that_shrinks_to_nothing_has_an_empty_mask(segmenter: Sam) -> None:
    thin = [picture(2, 3000), picture(3000, 2)]
    *empty, found = segmenter([*thin, picture(50, 70)])
    (alone,) = segmenter([picture(50, 70)])
    assert [mask.shape for mask, _ in empty] == [(2, 3000), (3000, 2)]
    assert not any(mask.any() for mask, _ in empty) and [score for _, score in empty] == [0, 0]
    np.testing.assert_array_equal(found.mask, alone.mask)
    assert len(segmenter(thin)) == 2


def test_weights_that_are_not_there_are_reported(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    (model / "model.safetensors").unlink()
    for name in (model, tmp_path / "nowhere"):
        with pytest.raises(MissingWeights) as caught:
            Sam(str(name), "cpu")
        download = "hf download facebook/sam-vit-huge"
        for word in (str(name), download, "--segmenter_model FOLDER", "--annotations FILE"):
            assert word in str(caught.value)
