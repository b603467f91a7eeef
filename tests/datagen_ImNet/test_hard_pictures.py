"""Pictures, objects and names that are hard: none stops a run, and each is in the manifest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from example import annotated_disc, scene, write_coco
from multiscale.errors import CannotWrite
from multiscale.picture import Source
from multiscale.settings import Job, Settings
from multiscale.write import Write
from tests.datagen_ImNet.script_runs import on_annotations, picture_of, records, run, save_png


def test_hard_pictures_stop_nothing_and_are_all_in_the_manifest(tmp_path, monkeypatch) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    image, centre, radius = scene(3)
    H, W = image.shape[:2]
    plain = Image.fromarray(image)
    turned = Image.Exif()
    turned[0x0112] = 6
    ramp = (image[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    (pictures / "corrupt.png").write_bytes(b"\x89PNG nothing")
    plain.save(pictures / "torn.jpg", "JPEG")
    (pictures / "torn.jpg").write_bytes((pictures / "torn.jpg").read_bytes()[:700])
    save_png(pictures / "grey.png", plain.convert("L"))
    plain.convert("CMYK").save(pictures / "cmyk.jpg", "JPEG")
    save_png(pictures / "sixteen.png", Image.fromarray(ramp))
    save_png(pictures / "palette.png", plain.quantize())
    save_png(pictures / "turned.png", plain.rotate(90, expand=True), exif=turned)
    save_png(pictures / "turned_badly.png", plain, exif=turned)
    save_png(pictures / "pixel.png", Image.new("RGB", (1, 1)))
    for name in ("border", "corner", "full", "tiny", "empty", "outside", "away", "plain"):
        save_png(pictures / f"{name}.png", plain)
    whole = [[0, 0, W, 0, W, H, 0, H]]
    disc = {"centre": centre, "radius": radius}
    objects = {
        "corrupt.png": disc,
        "torn.jpg": disc,
        "nowhere.png": disc,
        "grey.png": disc,
        "cmyk.jpg": disc,
        "sixteen.png": disc,
        "palette.png": disc,
        "turned.png": disc,
        "turned_badly.png": disc,
        "pixel.png": {"bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]},
        "border.png": {"centre": (4, 30), "radius": 14},
        "corner.png": {"centre": (W - 2, H - 1), "radius": 14},
        "full.png": {"bbox": [0, 0, W, H], "segmentation": whole},
        "tiny.png": {"bbox": [40, 40, 1, 1], "segmentation": [[40, 40, 41, 40, 41, 41, 40, 41]]},
        "empty.png": {"segmentation": [], **disc},
        "outside.png": {"bbox": [W + 5, 3, 8, 8], **disc},
        "away.png": {"bbox": [0, 0, 9, 9], **disc},
        "plain.png": disc,
    }
    images, annotations = [], []
    for number, (name, item) in enumerate(objects.items()):
        size = {"width": 1, "height": 1} if name == "pixel.png" else {"width": W, "height": H}
        images.append({"id": number, "file_name": name, **size})
        item = dict(item)
        own = annotated_disc(number, number, item.pop("centre", centre), item.pop("radius", radius))
        annotations.append(own | item)
    path = write_coco(tmp_path / "instances.json", images, annotations, [{"id": 1, "name": "disc"}])
    assert run(monkeypatch, *on_annotations(path, tmp_path / "set", "--workers", 1)) == 0
    lines = {line["source"]: line for line in records(tmp_path / "set" / "val")[1:-1]}
    assert lines.keys() == objects.keys()
    skipped = {name: line["skipped"] for name, line in lines.items() if "skipped" in line}
    assert skipped == {
        "corrupt.png": "unreadable",
        "torn.jpg": "unreadable",
        "nowhere.png": "unreadable",
        "turned_badly.png": "wrong_size",
        "pixel.png": "vanishes",
        "full.png": "fills_picture",
        "tiny.png": "vanishes",
        "empty.png": "no_mask",
        "outside.png": "no_box",
        "away.png": "mask_outside_box",
    }
    for name, line in lines.items():
        assert bool(line.get("reason")) == (name in skipped) and ("files" in line) == (name not in skipped)
        for entry in line.get("files", {}).values():
            with Image.open(tmp_path / "set" / "val" / entry["file"]) as made:
                assert (made.mode, made.size) == ("RGB", (W, H))
    finished = records(tmp_path / "set" / "val")[-1]["finished"]
    assert (finished["pictures"], finished["groups"], finished["skipped"]["vanishes"]) == (18, 8, 2)
    assert run(monkeypatch, "--verify", tmp_path / "set") == 0


@pytest.mark.parametrize("scale", ["1.3", "0.7"])
def test_an_object_at_the_border_stays_at_the_border_or_shrinks_away_from_it(tmp_path, monkeypatch, scale) -> None:
    """Cut on every side alike: nothing is shifted inwards."""
    (tmp_path / "pictures").mkdir()
    image = np.full((60, 80, 3), 40, np.uint8)
    image[20:40, :20] = image[20:40, 60:] = 200
    save_png(tmp_path / "pictures" / "sides.png", Image.fromarray(image))
    images = [{"id": 0, "file_name": "sides.png", "width": 80, "height": 60}]
    sides = [
        {"id": n, "image_id": 0, "category_id": 1, "bbox": [x, 20, 20, 20]}
        | {"segmentation": [[x, 20, x + 20, 20, x + 20, 40, x, 40]]}
        for n, x in enumerate((0, 60))
    ]
    path = write_coco(tmp_path / "a.json", images, sides, [{"id": 1, "name": "side"}])
    assert run(monkeypatch, *on_annotations(path, tmp_path / "set", "--jpeg_quality", 100)) == 0
    left, right = (
        np.asarray(Image.open(tmp_path / "set" / "val" / "side" / f"sides_{n}_scale_{scale}.JPEG")).astype(int)
        for n in (0, 1)
    )
    assert abs(left[:, :40] - right[:, ::-1][:, :40]).max() <= 6  # JPEG
    assert (left[30, 0] > 190).all() == (scale == "1.3")


def test_no_name_of_the_annotations_leads_out_of_the_folders(annotations, tmp_path, monkeypatch, capsys) -> None:
    content = json.loads(annotations.read_text())
    path, output = tmp_path / "a.json", tmp_path / "deep" / "er" / "set"
    (tmp_path / "pictures").symlink_to(annotations.parent / "pictures")
    outside = tmp_path / "outside.png"
    outside.write_bytes((annotations.parent / "pictures" / content["images"][0]["file_name"]).read_bytes())
    content["images"][0]["file_name"] = str(outside)
    content["images"][1]["file_name"] = "../outside.png"
    path.write_text(json.dumps(content))
    assert run(monkeypatch, *on_annotations(path, output, "--preview", 6, "--debug")) == 0
    assert records(output / "val")[-1]["finished"]["skipped"] == {"outside_folder": 2}
    before = {file for file in tmp_path.rglob("*") if not file.is_relative_to(output)}
    content["annotations"][2]["id"] = "/../../../../ESCAPED"
    path.write_text(json.dumps(content))
    assert run(monkeypatch, *on_annotations(path, tmp_path / "deep" / "er" / "another")) == 1
    assert "an id in annotations is '/../../../../ESCAPED'; expected an integer" in capsys.readouterr().err
    assert {file for file in tmp_path.rglob("*") if not file.is_relative_to(output)} == before


@pytest.mark.parametrize(("label", "name"), [("a", "/../../../x"), ("../..", "x"), ("/{root}", "x"), ("linked", "x")])
def test_what_writes_stays_in_its_folder_whatever_the_names(tmp_path, label: str, name: str) -> None:
    job = Job(settings=Settings(), pictures=tmp_path, output=tmp_path / "deep" / "set", subset="val")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (tmp_path / "deep" / "set").mkdir(parents=True)
    job.split.symlink_to(elsewhere)  # a split may lie on another disk
    (elsewhere / "linked").symlink_to(tmp_path)
    before = {*tmp_path.rglob("*")}
    with pytest.raises(CannotWrite, match=r" lies outside of .*; nothing is written there"):
        Write(job).place(b"content", job.split, f"{label.format(root=tmp_path)}/{name}.png")
    assert {*tmp_path.rglob("*")} == before
    Write(job).place(b"content", job.split, "known/x.png")
    assert (elsewhere / "known" / "x.png").read_bytes() == b"content"


@pytest.mark.parametrize("more", [["--preview", 1], ["--debug"], []])
def test_every_kind_of_file_is_kept_in_its_folder(tmp_path, monkeypatch, more: list) -> None:
    """Also where a source was made by other ways than from annotations or a folder."""
    picture = picture_of(scene(3)[0])
    picture.source = Source("x.png", "disc", "/../../../ESCAPED")
    picture.mask = np.zeros(picture.image.shape[:2], bool)
    picture.mask[20:40, 30:50] = True
    picture.box, picture.box_score, picture.mask_score, picture.mask_area = (30, 20, 50, 40), 1.0, 1.0, 400
    picture.hole, picture.background = picture.mask.astype(np.float32), picture.image
    shown = {"preview": int("--preview" in more), "debug": "--debug" in more}
    job = Job(settings=Settings(), pictures=tmp_path, output=tmp_path / "deep" / "set", subset="val", **shown)
    job.split.mkdir(parents=True)
    if more:
        monkeypatch.setattr(Write, "save", lambda *_: {})
    with pytest.raises(CannotWrite, match=r"ESCAPED.* lies outside of "):
        Write(job)([picture])
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_names_of_any_bytes_are_taken(annotations, tmp_path, monkeypatch) -> None:
    content = json.loads(annotations.read_text())
    (tmp_path / "pictures").mkdir()
    for image, name in zip(content["images"], ["a b", "a%s", "snow ☃", "line\nend", "\udcff", "x" * 230], strict=True):
        source = annotations.parent / "pictures" / image["file_name"]
        image["file_name"] = f"{name}.png"
        (tmp_path / "pictures" / image["file_name"]).write_bytes(source.read_bytes())
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert run(monkeypatch, *on_annotations(path, tmp_path / "set", "--preview", 6)) == 0
    finished = records(tmp_path / "set" / "val")[-1]["finished"]
    assert (finished["groups"], finished["skipped"]) == (5, {"name_too_long": 1})
    assert run(monkeypatch, "--verify", tmp_path / "set") == 0
