"""Holds what Grounding DINO is given and which of its boxes is taken, with a tiny one of random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
)

from multiscale.errors import MissingWeights, SettingsError
from multiscale.grounding_dino import GroundingDino, caption_of_synset
from multiscale.picture import Picture, Source
from tests.datagen_ImNet.tiny_models import save_grounding_dino

RED = (np.array([1, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]  # as ImageNet's colours are scaled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the model and its processor."""
    return save_grounding_dino(tmp_path_factory.mktemp("grounding_dino"))


@pytest.fixture(scope="module")
def build(folder: Path) -> Callable[..., GroundingDino]:
    """Builds a detector that takes any box, or those above a threshold; labels are looked for as they are."""
    return lambda threshold=0.0: GroundingDino(str(folder), lambda label: f"{label}.", "cpu", threshold)


@pytest.fixture(scope="module")
def detector(build: Callable[..., GroundingDino]) -> GroundingDino:
    return build()


def picture(*size: int, label: str = "tench", colour: Any = None) -> Picture:
    """A source and its pixels, noise or one colour."""
    made = Picture(0, Source(f"{label}.JPEG", label, label))
    noise = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    made.image = noise if colour is None else np.full((*size, 3), colour, np.uint8)
    return made


def inputs_of(detector: GroundingDino, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Where what the model is given will be found."""
    given: list[dict[str, Any]] = []
    forward = detector.model.forward
    monkeypatch.setattr(detector.model, "forward", lambda **inputs: given.append(inputs) or forward(**inputs))
    return given


def test_the_surest_box_is_taken_in_pixels_of_the_picture(folder: Path, detector: GroundingDino) -> None:
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor = GroundingDinoProcessor.from_pretrained(folder)
    for given in (picture(50, 70), picture(90, 40, label="bird")):
        H, W = given.image.shape[:2]
        inputs = processor(Image.fromarray(given.image), f"{given.source.label}.", return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs)
        scores = outputs.logits[0].sigmoid().amax(-1)
        x, y, w, h = outputs.pred_boxes[0, scores.argmax()].tolist()
        (found,) = detector([given])
        assert found is not None
        assert found.score == pytest.approx(scores.max().item(), abs=1e-5)
        expected = ((x - w / 2) * W, (y - h / 2) * H, (x + w / 2) * W, (y + h / 2) * H)
        assert found.box == pytest.approx(expected, abs=1e-3)


def test_a_box_must_exceed_the_threshold(build: Callable[..., GroundingDino], detector: GroundingDino) -> None:
    given = picture(50, 70)
    (found,) = detector([given])
    assert found is not None
    assert build(found.score - 1e-4)([given]) == [found]
    assert build(found.score + 1e-4)([given]) == [None]


def test_a_box_grows_with_its_picture(detector: GroundingDino) -> None:
    small, large = detector([picture(30, 40, colour=90), picture(60, 80, colour=90)])
    assert small is not None and large is not None
    assert large.box == pytest.approx([2 * side for side in small.box], abs=1e-3)


def test_no_picture_changes_what_is_found_in_another(detector: GroundingDino) -> None:
    pictures = [picture(50, 70), picture(90, 30, label="bird"), picture(1, 1), picture(50, 70, label="tench tinca")]
    for given, found in zip(pictures, detector(pictures), strict=True):
        (alone,) = detector([given])
        assert found is not None and alone is not None
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        assert found.box == pytest.approx(alone.box, abs=1e-3)


@pytest.mark.parametrize("size", [(20, 30), (1, 30), (3, 30), (30, 1), (1, 1), (3, 3)])
def test_the_model_sees_red_where_the_picture_is_red(
    detector: GroundingDino, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    given = inputs_of(detector, monkeypatch)
    detector([picture(*size, colour=(255, 0, 0))])
    pixels = given[0]["pixel_values"][0]
    np.testing.assert_allclose(pixels.flatten(1).numpy(), np.tile(RED[:, None], pixels[0].numel()), atol=1e-5)


def test_each_picture_has_its_own_caption(detector: GroundingDino, monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs_of(detector, monkeypatch)
    detector([picture(8, 8, label="bird"), picture(8, 9, label="tench"), picture(8, 8, label="tench  tinca")])
    captions = [detector.processor.batch_decode(inputs["input_ids"]) for inputs in given]
    assert captions == [["[CLS] bird. [SEP] [PAD] [PAD]", "[CLS] tench tinca. [SEP]"], ["[CLS] tench. [SEP]"]]


def test_a_picture_that_shrinks_to_nothing_has_no_box(detector: GroundingDino) -> None:
    thin = [picture(2, 3000), picture(3000, 2), picture(1, 256)]
    *none, found, just = detector([*thin, picture(50, 70), picture(1, 255)])
    assert none == [None] * 3
    assert just is not None
    assert [found] == detector([picture(50, 70)])
    assert detector(thin) == [None] * 3


@pytest.mark.parametrize(
    ("synset", "caption"),
    [
        ("n01440764", "tench  tinca tinca."),
        ("n04065272", "recreational vehicle  rv  r.v."),
        ("n00007846", "person  individual  someone  somebody  mortal  soul."),  # of ImageNet 21k alone
    ],
)
def test_a_caption_has_all_names_of_a_class(synset: str, caption: str) -> None:
    assert caption_of_synset(synset) == caption


def test_an_unknown_class_is_reported() -> None:
    with pytest.raises(SettingsError, match="no name is known for 'tench': it is no synset of ImageNet"):
        caption_of_synset("tench")


def empty(folder: Path) -> None:
    """A folder of something else."""
    shutil.rmtree(folder)
    folder.mkdir()


def other_model(folder: Path) -> None:
    """Another network than the option asks for."""
    (folder / "config.json").write_text(json.dumps({"model_type": "sam"}))


def cut_off(folder: Path) -> None:
    """A download that did not end."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def pickled(folder: Path) -> None:
    """Weights that can run a program as they are read."""
    weights = folder / "model.safetensors"
    torch.save(GroundingDinoForObjectDetection.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
    weights.unlink()


def without_words(folder: Path) -> None:
    """No tokenizer."""
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("broken", [shutil.rmtree, empty, other_model, cut_off, pickled, without_words])
def test_weights_that_are_not_there_are_reported(folder: Path, tmp_path: Path, broken: Callable[[Path], None]) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    broken(model)
    with pytest.raises(MissingWeights) as caught:
        GroundingDino(str(model), caption_of_synset, "cpu", 0.35)
    download = "hf download IDEA-Research/grounding-dino-tiny"
    for word in (str(model), download, "--detector_model FOLDER", "--annotations FILE"):
        assert word in str(caught.value)
