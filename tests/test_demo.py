"""The page: it answers as the models do, to this machine alone, and refuses what is no small picture."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import demo
from config.schema import ConfigError
from dataloader.samples import MOST_BYTES, build_reader, open_picture, photographs
from layers.bump import bump, bumped
from models.pair import beginning_pair, compared, trained_pair
from report.panels import drawn, panel, stacked
from tests.train.runs import RESIDUAL, recipe, train

ROOT = Path(__file__).parents[1]
BACKBONE = "test_vit"
SECONDS = 180  # until the page is there, on a busy machine


class Page(NamedTuple):
    process: subprocess.Popen
    client: Any
    temporary: Path


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    """The real script on a free port."""
    pytest.importorskip("gradio", reason="the demo extra is not installed: pip install '.[demo]'")
    from gradio_client import Client

    folder = tmp_path_factory.mktemp("temporary")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "demo.py", "--backbone", BACKBONE, "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    log = (folder / "log").open("w+")
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        while "Running on local URL" not in (folder / "log").read_text():
            assert process.poll() is None and time.monotonic() - began < SECONDS, (folder / "log").read_text()
            time.sleep(0.2)
        yield Page(
            process, Client(f"http://127.0.0.1:{port}", verbose=False, download_files=folder / "fetched"), folder
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()
    assert not list(folder.glob("dec_demo_*"))  # nothing stays behind


def confidences(label: Any) -> dict[str, float]:
    return {entry["label"]: entry["confidence"] for entry in label["confidences"]}


def test_it_answers_what_the_models_say(page: Page) -> None:
    bend, plain, dec, sites, words = page.client.predict("china", None, 0.3, 0.6, 1.5, 9, api_name="/answer")
    pair = beginning_pair(BACKBONE)
    image = build_reader(pair.configs[0].data, pair.descriptions[0])(photographs()["china"])
    found = compared(pair, bumped(image, (0.3, 0.6), 1.5))
    assert confidences(plain) == pytest.approx(demo.top(pair, found.plain[0]), abs=2e-4)
    assert confidences(dec) == pytest.approx(demo.top(pair, found.dec[0]), abs=2e-4)
    assert confidences(plain) == confidences(dec)  # an untrained residual DEC changes nothing
    expected = np.asarray(drawn(image, image, bump((0.3, 0.6), 1.5), bumped(image, (0.3, 0.6), 1.5)), float)
    assert np.abs(np.asarray(Image.open(bend).convert("RGB"), float) - expected).mean() < 0.5
    assert Image.open(sites).size == Image.open(bend).size  # of one site
    assert "Site image: 1 solver steps, relative residual 0.0e+00" in words
    still = compared(pair, image)
    assert f"by {(found.plain - still.plain).norm().item():.3f} (plain)" in words


def test_it_says_what_is_untrained(page: Page) -> None:
    texts = [part["props"].get("value") for part in page.client.config["components"] if part["type"] == "markdown"]
    assert any("Nothing here was trained" in (text or "") and "demo.py --plain" in text for text in texts)


def test_a_picture_of_ones_own_is_taken_and_stays_in_the_temporary_folder(page: Page, tmp_path) -> None:
    from gradio_client import handle_file

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    picture.save(tmp_path / "own.png")
    given = ("china", handle_file(tmp_path / "own.png"), 0.5, 0.5, 1.0, 9)
    _, plain, *_ = page.client.predict(*given, api_name="/answer")
    pair = beginning_pair(BACKBONE)
    image = build_reader(pair.configs[0].data, pair.descriptions[0])(picture)
    assert confidences(plain) == pytest.approx(demo.top(pair, compared(pair, image).plain[0]), abs=2e-4)
    held = [file for file in page.temporary.rglob("own.png") if "fetched" not in file.parts]
    assert held and all(file.relative_to(page.temporary).parts[0].startswith("dec_demo_") for file in held)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("large.png", b"\0" * (MOST_BYTES + 1), "maximum"),
        ("note.txt", b"no picture", "Invalid file type"),
        ("named.png", b"no picture", "no picture that can be read; expected PNG, JPEG"),
    ],
)
def test_other_uploads_are_refused(page: Page, tmp_path, name: str, content: bytes, message: str) -> None:
    from gradio_client import handle_file

    (tmp_path / name).write_bytes(content)
    with pytest.raises(Exception, match=message):
        page.client.predict("china", handle_file(tmp_path / name), 0.5, 0.5, 1.0, 9, api_name="/answer")


def test_nothing_listens_to_other_machines(page: Page) -> None:
    process = psutil.Process(page.process.pid)
    listening = [
        one
        for each in (process, *process.children(recursive=True))
        for one in each.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert {one.laddr.ip for one in listening} == {"127.0.0.1"}


def test_two_finished_runs_stand_side_by_side(tmp_path) -> None:
    few = {"data": {"train_items": 16}, "train": {"epochs": 1, "batch_size": 8}}
    own = {"method": RESIDUAL, "train": {"canonicalizer_lr": 0.01}}
    for name, parts in {"plain": (few,), "dec": (few, own)}.items():
        (tmp_path / f"of_{name}").mkdir()
        train(recipe(tmp_path / f"of_{name}", *parts), tmp_path / name)
    words = ["--plain", str(tmp_path / "plain"), "--dec", str(tmp_path / "dec")]
    pair, told = demo.pair_of(demo.parsed(words))
    assert str(tmp_path / "dec") in told
    sample = next(iter(demo.build_samples(pair.configs[0].data).values()))
    image = demo.common_reader(pair, sample)(sample)
    assert image.shape == (1, 1, 112, 112) and demo.class_names(pair, 100)[7] == "07"
    found = compared(pair, image)
    output = pair.dec(image, return_output=True)
    torch.testing.assert_close(found.dec, output.logits.softmax(-1))
    torch.testing.assert_close(found.plain, pair.plain(image).softmax(-1))
    assert found.sites[0].steps == output.steps[0, 0] and found.sites[0].residual == output.residual[0, 0]
    with pytest.raises(ConfigError, match=r"method\.name none; expected a run with dec"):
        trained_pair(tmp_path / "dec", tmp_path / "plain")
    mixed = beginning_pair(BACKBONE)
    with pytest.raises(ConfigError, match="expected runs on the same data"):
        demo.common_reader(mixed._replace(configs=(mixed.configs[0], pair.configs[1])), sample)


@pytest.mark.parametrize(
    "words", [["--plain", "x"], ["--plain", "x", "--dec", "y", "--weights", "z"], ["--port", "99999"]]
)
def test_wrong_words_are_refused(words: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        demo.parsed(words)
    assert re.search(r"expected (both|either|1 to 65535)", capsys.readouterr().err)


def test_a_port_that_is_taken_is_named() -> None:
    pytest.importorskip("gradio", reason="the demo extra is not installed: pip install '.[demo]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = [sys.executable, "demo.py", "--backbone", BACKBONE, "--port", str(port)]
        found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == f"error: port {port} of this machine is taken; --port names another one"


def test_pictures_of_other_kinds_are_seen_as_they_are_meant(tmp_path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(open_picture(tmp_path / "deep.png"))[..., 0], ramp // 256)
    turned = Image.fromarray(np.repeat(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)[..., None], 3, -1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    turned.save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(np.asarray(open_picture(tmp_path / "phone.png")), np.rot90(np.asarray(turned), -1))
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0] = (200, 10, 10, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    shown = np.asarray(open_picture(tmp_path / "clear.png"))
    assert (shown[0] == (200, 10, 10)).all() and (shown[1:] == 255).all()


def test_sites_stand_below_each_other() -> None:
    rows = [Image.new("RGB", (4 + k, 3), (k, k, k)) for k in range(3)]
    whole = np.asarray(stacked(rows))[..., 0]
    assert whole.shape == (3 * 3 + 2 * 8, 6) and whole[:3, :4].max() == 0 and (whole[11:14, :5] == 1).all()
    assert whole[3:11].min() == 255


def test_panels_share_the_brightness_of_one_picture_and_a_uniform_one_has_no_noise() -> None:
    still = torch.tensor([0.0, 0.5, 1.0, 0.0]).reshape(1, 1, 2, 2)
    assert np.asarray(panel(still / 2, still)).max() == 128
    noise = 0.3 + 1e-7 * torch.randn(1, 3, 4, 4)
    assert np.ptp(np.asarray(panel(noise, noise)).astype(int)) <= 1


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path) -> None:
    Image.new("1", (6000, 5000)).save(tmp_path / "wide.png")
    with pytest.raises(ConfigError, match="6000 x 5000 pixels; expected at most 24,000,000"):
        open_picture(tmp_path / "wide.png")
