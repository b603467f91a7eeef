"""All stages with models, tiny ones: class folders in, scales out, and what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from example import scene, write_annotated
from tests.datagen_ImNet.script_runs import contents, generate, on_annotations, records, run
from tests.datagen_ImNet.tiny_models import save_grounding_dino, save_sam

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, but LaMa's weights exist in no other form
KNOWN, UNKNOWN = "n01440764", "n00000000"
COUNT = 6


class Grey(nn.Module):
    """Fills with grey."""

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return image * (1 - hole) + 0.5 * hole


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Arguments that name pictures and models; random models find their objects anywhere."""
    root = tmp_path_factory.mktemp("models")
    for label, count in ((KNOWN, COUNT), (UNKNOWN, 1)):
        (root / "pictures" / "val" / label).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(scene(number)[0]).resize((96 + 8 * (number % 2), 72))
            image.save(root / "pictures" / "val" / label / f"{number}.png")
    for name in ("dino", "sam"):
        (root / name).mkdir()
    torch.jit.script(Grey()).save(root / "lama.pt")
    return [
        *("--dataset_path", root / "pictures", "--subset", "val", "--device", "cpu"),
        *("--detector_model", save_grounding_dino(root / "dino"), "--segmenter_model", save_sam(root / "sam")),
        *("--inpainter_model", root / "lama.pt", "--box_threshold", 0, "--min_mask_in_box", 0, "--batch_size", 3),
        *("--mask_inflation", 0, "--mask_blur", 0),
    ]


def test_models_make_the_same_set_in_one_process_and_in_two(words, tmp_path, monkeypatch) -> None:
    assert run(monkeypatch, *words, "--output_path", tmp_path / "1") == 0
    assert generate(*words, "--output_path", tmp_path / "2", "--workers", 2).returncode == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    header, *lines, end = records(tmp_path / "1" / "val")
    assert header["settings"]["detector"].endswith("dino") and len(header["settings"]["inpainter"]) == 64
    assert end["finished"]["pictures"] == COUNT + 1 and end["finished"]["groups"] >= 1
    unknown = [line for line in lines if line["class"] == UNKNOWN]
    assert [line["skipped"] for line in unknown] == ["unknown_class"]
    for line in lines:
        if line["class"] == KNOWN:
            assert 0 < line["scores"]["box"] < 1 and len(line["box"]) == 4
            assert line.get("skipped") in (None, "vanishes", "fills_picture", "no_mask")
        if "files" in line:
            assert len(line["files"]) == 7 and line["scores"]["mask"] != 1


@pytest.mark.parametrize("option", ["--detector_model", "--segmenter_model", "--inpainter_model"])
def test_missing_weights_stop_the_run_and_the_message_helps(words, tmp_path, monkeypatch, capsys, option) -> None:
    nowhere = tmp_path / "nowhere"
    assert run(monkeypatch, *words, option, nowhere, "--output_path", tmp_path / "set") == 1
    told = capsys.readouterr().err
    assert f"{option}: cannot load '{nowhere}'" in told and "to get it: " in told
    assert ("--annotations FILE reads boxes" if option != "--inpainter_model" else "Telea") in told
    assert not list((tmp_path / "set").rglob("*.JPEG"))


def test_a_worker_tells_of_unusable_weights_too(tmp_path: Path) -> None:
    annotations, file = write_annotated(tmp_path / "scenes", 2), tmp_path / "lama.pt"
    file.write_text("nothing")
    done = generate(*on_annotations(annotations, tmp_path / "set", "--inpainter_model", file, "--workers", 2))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"--inpainter_model: cannot load '{file}': it is no TorchScript file" in done.stderr
