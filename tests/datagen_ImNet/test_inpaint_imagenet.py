"""The script from its command line to its files: a set, a full disk, what people look at, what cannot be meant."""

from __future__ import annotations

import hashlib
import io
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import inpaint_imagenet
from example import scene
from tests.datagen_ImNet.script_runs import SCRIPT, contents, generate, on_annotations, records, run, save_png

SCALES = ["1.3", "1.2", "1.1", "1", "0.9", "0.8", "0.7"]


def test_a_set_has_the_published_names_and_its_manifest_says_all(annotations, tmp_path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path)) == 0
    header, *lines, end = records(tmp_path / "val")
    assert header["version"] == 1 and header["settings"]["scale_factors"] == [float(scale) for scale in SCALES]
    assert end["finished"] == {"pictures": 6, "groups": 6, "files": 42, "skipped": {}}
    assert {path.name for path in (tmp_path / "val").iterdir()} == {"disc", "ball", "manifest.jsonl"}
    for line in lines:
        number = int(line["name"].split("_")[1])
        image, (x, y), radius = scene(number)
        assert line["source"] == f"scene_{number:03d}.png" and line["object"] == 1000 + number
        assert line["class"] == ("disc", "ball")[number % 2] and line["size"] == [96, 72]
        assert line["box"] == pytest.approx([x - radius, y - radius, x + radius, y + radius], abs=0.01)
        assert line["mask_area"] == pytest.approx(np.pi * radius**2, rel=0.05)
        assert line["scores"] == {"box": 1, "mask": 1}
        assert (
            line["sha256"]
            == hashlib.sha256((annotations.parent / "pictures" / line["source"]).read_bytes()).hexdigest()
        )
        assert list(line["files"]) == SCALES
        for scale, entry in line["files"].items():
            assert entry["file"] == f"{line['class']}/{line['name']}_scale_{scale}.JPEG"
            content = (tmp_path / "val" / entry["file"]).read_bytes()
            assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
            assert entry["area"] == pytest.approx(float(scale) ** 2 * line["mask_area"], rel=0.02)
        assert (tmp_path / "val" / line["files"]["1"]["file"]).read_bytes() == jpeg(image)
    told = capsys.readouterr()
    assert "6 pictures: 6 groups, 42 files; 0 skipped" in told.out and "pictures/s" in told.out
    assert "6/6" in told.err and "img/s" in told.err and "skipped=0" in told.err


def jpeg(image: np.ndarray, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def test_scale_one_is_pasted_like_the_others_where_that_is_asked_for(annotations, tmp_path, monkeypatch) -> None:
    words = ("--scale_one", "composite", "--scale_factors", "1", "0.5", "--jpeg_quality", 95)
    assert run(monkeypatch, *on_annotations(annotations, tmp_path, *words)) == 0
    line = records(tmp_path / "val")[1]
    assert list(line["files"]) == ["1", "0.5"]
    image, _, _ = scene(int(line["name"].split("_")[1]))
    pasted = np.asarray(Image.open(tmp_path / "val" / line["files"]["1"]["file"])).astype(int)
    original = np.asarray(Image.open(io.BytesIO(jpeg(image, quality=95)))).astype(int)
    assert 0.5 < abs(pasted - original).mean() < 5  # around the object there is background now


def test_a_finished_set_is_left_as_it_is(annotations, tmp_path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path)) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.JPEG")}
    manifest = (tmp_path / "val" / "manifest.jsonl").read_bytes()
    assert run(monkeypatch, *on_annotations(annotations, tmp_path)) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.JPEG")} == before
    assert (tmp_path / "val" / "manifest.jsonl").read_bytes() == manifest
    assert "0 of them now" in capsys.readouterr().out
    assert run(monkeypatch, *on_annotations(annotations, tmp_path, "--engine", "ray", "--preview", 2)) == 0
    assert "6 pictures are done already: nothing is drawn of them" in capsys.readouterr().err
    assert run(monkeypatch, *on_annotations(annotations, tmp_path, "--no-resume")) == 1
    assert "exists: go on with it (--resume)" in capsys.readouterr().err


def test_a_set_of_class_folders_says_which_classes_are_unknown(tmp_path, monkeypatch) -> None:
    for label in ("n01440764", "n00000000"):
        (tmp_path / "val" / label).mkdir(parents=True)
        save_png(tmp_path / "val" / label / "a.png", Image.fromarray(scene(0)[0]))
    job, sources = inpaint_imagenet.build_job(
        inpaint_imagenet.build_parser().parse_args(
            [
                "--dataset_path",
                str(tmp_path),
                "--output_path",
                str(tmp_path / "set"),
                "--subset",
                "val",
                "--device",
                "cpu",
            ]
        )
    )
    assert [source.label for source in sources] == ["n00000000", "n01440764"]
    assert job.classes is not None and "n01440764" in job.classes and "n00000000" not in job.classes


# A disk that takes no more.


def test_a_full_disk_stops_the_run_and_the_set_goes_on_when_there_is_room(annotations, tmp_path) -> None:
    full, straight = tmp_path / "full", tmp_path / "straight"
    limit = 2000  # bytes a file may have, less than a picture needs

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    stopped = generate(*on_annotations(annotations, full), preexec_fn=no_room)
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert "cannot be written: File too large" in stopped.stderr
    assert not [path for path in full.rglob("*.JPEG")]
    assert generate(*on_annotations(annotations, full)).returncode == 0
    assert generate(*on_annotations(annotations, straight)).returncode == 0
    assert contents(full) == contents(straight)


def test_a_disk_that_fills_up_on_the_way(annotations, tmp_path) -> None:
    disk, straight = tmp_path / "disk", tmp_path / "straight"
    disk.mkdir()
    words = " ".join(f"'{word}'" for word in [sys.executable, SCRIPT, *on_annotations(annotations, disk)])
    inner = (
        f"mount -t tmpfs -o size=100k tmpfs '{disk}' || exit 77; {words} --batch_size 1 2> '{tmp_path}/told' && exit 1;"
        f"test -n \"$(find '{disk}' -name '*.JPEG')\" || exit 2; mount -o remount,size=9m '{disk}' || exit 77;"
        f"{words} --batch_size 1 && cp -r '{disk}' '{tmp_path}/kept'"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", inner], capture_output=True, text=True, timeout=60)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert done.returncode == 0, done.stderr
    assert "cannot be written: No space left on device" in (tmp_path / "told").read_text()
    assert generate(*on_annotations(annotations, straight, "--batch_size", 1)).returncode == 0
    assert contents(tmp_path / "kept") == contents(straight)


# What people look at.


def test_contact_sheets_show_the_first_pictures(annotations, tmp_path, monkeypatch) -> None:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path, "--preview", 2, "--debug", "--batch_size", 1)) == 0
    lines = records(tmp_path / "val")[1:3]
    sheets = {path.relative_to(tmp_path / "preview" / "val").as_posix() for path in tmp_path.glob("preview/val/*/*")}
    assert sheets == {f"{line['class']}/{line['name']}.png" for line in lines}
    sheet = np.asarray(Image.open(tmp_path / "preview" / "val" / sorted(sheets)[0]))
    assert sheet.shape[1] == 4 * 244 and sheet.shape[0] == 3 * 200 + 20  # eleven cells of 96 to 72
    between = contents(tmp_path / "debug" / "val")
    assert len(between) == 3 * 6
    image, *_ = scene(0)
    background = np.asarray(Image.open(tmp_path / "debug" / "val" / "disc" / "scene_000_1000_background.png"))
    hole = np.asarray(Image.open(tmp_path / "debug" / "val" / "disc" / "scene_000_1000_hole.png"))
    mask = np.asarray(Image.open(tmp_path / "debug" / "val" / "disc" / "scene_000_1000_mask.png"))
    assert (background[hole == 0] == image[hole == 0]).all() and (hole[mask > 0] == 255).all()
    assert background[mask > 0].mean() < 70 < image[mask > 0].mean()  # the bright disc is gone
    assert run(monkeypatch, "--verify", tmp_path / "val") == 0  # what is for people is no part of the set


# What cannot be meant.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale_factors", "0", "1"], "scale_factors must lie between 0.01 and 100: 0 1"),
        (["--scale_factors", "1", "1.0"], "scale_factors names a scale twice: 1 1"),
        (["--scale_factors", "nan"], "scale_factors must lie between 0.01 and 100: nan"),
        (["--mask_inflation", "-1"], "mask_inflation must be at least 0, not -1"),
        (["--mask_blur", "-1"], "mask_blur must be at least 0"),
        (["--jpeg_quality", "0"], "jpeg_quality must lie between 1 and 100"),
        (["--batch_size", "0"], "batch_size must be at least 1"),
        (["--box_threshold", "1.5"], "box_threshold must lie in [0, 1], not 1.5"),
        (["--workers", "0"], "--workers and --max_images must be at least 1"),
        (["--subset", "../val"], "--subset names the folder of a split, such as train or val, not '../val'"),
        (["--subset", "preview"], "not 'preview'"),
        (["--subset", ".."], "not '..'"),
        (["--ray_address", "auto"], "--ray_address is for --engine ray"),
        (["--detector_model", "x"], "--annotations and --detector_model exclude each other"),
        (["--inpainter_model", "nowhere.pt"], "nowhere.pt': there is no such file"),
        (["--inpainter_model", "nowhere.pt"], "OpenCV's Telea fills the holes, which needs no weights"),
        (["--annotations", "nowhere.json"], "there is no annotation file nowhere.json"),
        (["--verify", "nowhere"], "there is no manifest.jsonl in nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(annotations, tmp_path, monkeypatch, capsys, words, told) -> None:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path / "set"), *words) == 1
    assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.JPEG"))


@pytest.mark.parametrize("output", [".", "val", "val/n01440764"])
def test_a_set_does_not_go_among_its_own_pictures(tmp_path, monkeypatch, capsys, output) -> None:
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    save_png(tmp_path / "val" / "n01440764" / "a.png", Image.new("RGB", (8, 8)))
    assert run(monkeypatch, "--dataset_path", tmp_path, "--output_path", tmp_path / output, "--subset", "val") == 1
    assert "would put the set among the pictures that it is made of" in capsys.readouterr().err
    assert len(contents(tmp_path)) == 1


@pytest.mark.parametrize("device", ["nonsense", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(annotations, tmp_path, monkeypatch, capsys, device) -> None:
    words = on_annotations(annotations, tmp_path, "--segmenter_model", "nowhere", "--device", device)
    assert run(monkeypatch, *words) == 1
    assert f"--device {device} cannot be used: " in capsys.readouterr().err


def test_other_annotations_do_not_go_on_with_a_set(annotations, tmp_path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *on_annotations(annotations, tmp_path / "set")) == 0
    other = annotations.parent / "other.json"
    other.write_text(annotations.read_text() + " ")
    assert run(monkeypatch, *on_annotations(other, tmp_path / "set")) == 1
    assert "was begun with other settings: annotations was " in capsys.readouterr().err


def test_a_folder_without_the_annotated_files_is_named(annotations, tmp_path, monkeypatch, capsys) -> None:
    words = on_annotations(annotations, tmp_path / "set")
    words[1] = tmp_path
    assert run(monkeypatch, *words) == 1
    assert f"{tmp_path} has none of the files that {annotations} names: check --dataset_path" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_set_without_groups_is_no_success(annotations, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "scenes").mkdir()
    for number in range(6):
        (tmp_path / "scenes" / f"scene_{number:03d}.png").write_bytes(b"nothing")
    words = on_annotations(annotations, tmp_path / "set")
    words[1] = tmp_path / "scenes"
    for _ in range(2):
        assert run(monkeypatch, *words) == 1
        told = capsys.readouterr()
        assert "6 skipped (unreadable 6)" in told.out and "no group was made; " in told.err


def test_a_missing_split_is_named(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "val").mkdir()
    words = ["--dataset_path", tmp_path, "--output_path", tmp_path / "set", "--device", "cpu"]
    assert run(monkeypatch, *words) == 1
    assert f"there is no folder {tmp_path}/train; folders beside it: val" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        run(monkeypatch)
    assert end.value.code == 2 and "--dataset_path and --output_path are needed" in capsys.readouterr().err


def test_the_help_names_the_published_arguments_and_their_defaults() -> None:
    own = inpaint_imagenet.build_parser().parse_args([])
    assert [f"{scale:g}" for scale in own.scale_factors] == SCALES
    assert (own.max_images, own.mask_inflation, own.mask_blur, own.debug) == (10000, 5, 2, False)
    assert (own.resume, own.engine, own.sampling, own.seed) == (True, "local", "uniform", 0)
    told = generate("--help").stdout
    for word in ("--dataset_path", "--subset", "--scale_factors", "--mask_inflation", "--mask_blur", "--debug"):
        assert word in told
