"""A page that bends a picture, and shows what a network says of it, plain and behind a DEC.

    python demo.py                                                                 a DeiT with random weights
    python demo.py --backbone deit_tiny_patch16_224 --weights FILE                 the same with weights of a file
    python demo.py --plain weights/quickstart_long/42 --dec weights/quickstart_residual/42      two finished runs

It is served on this machine alone, to http://127.0.0.1:7860, and needs no network. It needs pip install ".[demo]".
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor

from config.schema import ConfigError, DigitsData
from dataloader.samples import FORMATS, MOST_BYTES, Reader, Samples, build_reader, build_samples, open_picture
from layers.bump import GRID_SIZE, bump, bumped
from models.pair import Comparison, Pair, beginning_pair, compared, trained_pair
from report.panels import drawn, enlarged, panel, stacked
from train.runs.run import one_line_errors

TOP = 5  # classes that are shown
NO_RUNS = """For models that were trained: `make demo` trains some on digits, in minutes, and then
`python demo.py --plain weights/quickstart_long/42 --dec weights/quickstart_residual/42` shows two of them."""


def main(words: Sequence[str] | None = None) -> None:
    arguments = parsed(words)
    with one_line_errors():
        pair, told = pair_of(arguments)
        samples = build_samples(pair.configs[0].data)
        reader = common_reader(pair, next(iter(samples.values())))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that this folder is removed then too
    with tempfile.TemporaryDirectory(prefix="dec_demo_") as folder:  # of all that is uploaded or drawn
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        try:
            import gradio  # noqa: F401  (it reads these when it is imported)
        except ImportError:
            sys.exit("error: the page needs gradio, which is not installed; run: pip install '.[demo]'")
        place = {"server_name": "127.0.0.1", "server_port": arguments.port, "share": False, "ssr_mode": False}
        try:
            build_page(pair, told, samples, reader).launch(**place, max_file_size=MOST_BYTES)
        except OSError as error:
            if "Cannot find empty port" not in str(error):
                raise
            sys.exit(f"error: port {arguments.port} of this machine is taken; --port names another one")


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--backbone", metavar="NAME", help="a timm model (deit_tiny_patch16_224), behind a DEC that was not trained")
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="safetensors or pth file of the backbone; without one they are random",
    )
    add("--plain", type=Path, metavar="FOLDER", help="of a finished run, for the left side")
    add("--dec", type=Path, metavar="FOLDER", help="of a finished run with method.name: dec, for the right side")
    add("--port", type=int, default=7860, help="of this machine (7860)")
    arguments = parser.parse_args(words)
    if not 0 < arguments.port < 2**16:
        parser.error(f"--port is {arguments.port}; expected 1 to {2**16 - 1}")
    if (arguments.plain is None) != (arguments.dec is None):
        parser.error("one of --plain and --dec is given; expected both, or neither")
    if arguments.plain is not None and (arguments.backbone or arguments.weights):
        parser.error("--backbone and --weights are given beside two runs, which have their own; expected either")
    return arguments


def pair_of(arguments: argparse.Namespace) -> tuple[Pair, str]:
    """Both models, and in words which of them were trained."""
    if arguments.plain is not None:
        return trained_pair(arguments.plain, arguments.dec), f"Left: `{arguments.plain}`. Right: `{arguments.dec}`."
    name = arguments.backbone or "deit_tiny_patch16_224"
    pair = beginning_pair(name, arguments.weights)
    if arguments.weights is None:
        told = f"""**Nothing here was trained.** The weights of {name} are random, so its classes mean nothing, and
        `--weights FILE` gives it others. The DEC has not learned anything either. What you can see is how a picture is
        bent, and that an untrained residual DEC changes nothing: its warp is the identity, and both sides agree."""
    else:
        told = f"""{name} has the weights of `{arguments.weights}`. **The DEC was not trained**: it begins as the
        identity, so both sides agree. What you can see is how far the answer of the network moves when a picture is
        bent. A DEC is trained to make that less."""
    return pair, " ".join(f"{told} {NO_RUNS}".split())


def common_reader(pair: Pair, sample: Image.Image) -> Reader:
    """What both models' loaders do to a picture, and have to do alike."""
    readers = [build_reader(*one) for one in zip((c.data for c in pair.configs), pair.descriptions, strict=True)]
    first, second = (read(sample) for read in readers)
    if first.shape != second.shape or not torch.equal(first, second):
        raise ConfigError("the two runs are shown a picture differently; expected runs on the same data and input size")
    classes = [model(first).shape[-1] for model in (pair.plain, pair.dec)]
    if classes[0] != classes[1]:
        raise ConfigError(f"the two runs know {classes[0]} and {classes[1]} classes; expected runs on the same data")
    return readers[0]


def class_names(pair: Pair, count: int) -> list[str]:
    data = pair.configs[0].data
    if isinstance(data, DigitsData):
        return [f"{number:0{data.n_digits}d}" for number in range(count)]
    known = ImageNetInfo()
    if count == known.num_classes():
        return [known.index_to_description(number).partition(",")[0] for number in range(count)]
    return [f"class {number}" for number in range(count)]


def build_page(pair: Pair, told: str, samples: Samples, reader: Reader) -> Any:
    """The page; its one public call is ``answer``, of what the controls hold."""
    import gradio as gr

    H, W = reader(next(iter(samples.values()))).shape[-2:]
    times = enlarged((H, W))

    def opened(name: str, upload: str | None) -> Tensor:
        try:
            return reader(samples[name] if upload is None else open_picture(upload))
        except ConfigError as error:
            raise gr.Error(str(error)) from error

    @lru_cache(maxsize=4)
    def unbent(name: str, upload: str | None) -> tuple[Tensor, Comparison]:
        image = opened(name, upload)
        return image, compared(pair, image)

    def show(name: str, upload: str | None) -> Image.Image | None:
        try:
            image, _ = unbent(name, upload)
        except gr.Error:  # which the answer tells
            return None
        return panel(image, image)

    def answer(name: str, upload: str | None, x: float, y: float, strength: float, knots: int) -> tuple[Any, ...]:
        """The bend, the top classes of both models for the bent picture, the sites of the DEC, and numbers in words."""
        image, still = unbent(name, upload)
        bent = bumped(image, (x, y), strength, knots)
        found = compared(pair, bent)
        bend = drawn(image, image, bump((x, y), strength, knots), bent)
        sites = [
            drawn(straight.seen, view.seen, view.phi, view.canonical)
            for straight, view in zip(still.sites, found.sites, strict=True)
        ]
        return bend, top(pair, found.plain[0]), top(pair, found.dec[0]), stacked(sites), in_words(still, found)

    # Gradio reads this annotation while it runs, to know that it must pass the click. So it may not become a string,
    # which "from __future__ import annotations" would make of it.
    def place(click: gr.SelectData) -> tuple[float, float]:
        across, down = click.index[0] / (times * W - 1), click.index[1] / (times * H - 1)
        return round(across, 3), round(down, 3)

    # no label, which would lie over a small picture; and no button that shares
    look: dict[str, Any] = {"interactive": False, "format": "png", "show_label": False, "buttons": ["fullscreen"]}
    with gr.Blocks(title="Local scale equivariance", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(f"# A locally bent picture, plain and behind a DEC\n{told}")
        with gr.Row():
            with gr.Column():
                name = gr.Dropdown(list(samples), value=next(iter(samples)), label="picture")
                kinds = [f".{kind.lower()}" for kind in (*FORMATS, "JPG")]
                upload = gr.File(file_types=kinds, type="filepath", height=90, label="or one of your own, up to 8 MiB")
                gr.Markdown("As the models see it: click to bend it there.")
                shown = gr.Image(**look)
                x, y = (gr.Slider(0, 1, 0.5, step=0.001, label=f"{way} of the bump") for way in ("x", "y"))
                strength = gr.Slider(0.25, 4, 2, step=0.05, label="strength: above 1 enlarges, below 1 shrinks")
                knots = gr.Slider(3, 17, GRID_SIZE, step=1, label="knots of the warp, per axis")
            with gr.Column(scale=2):
                gr.Markdown("Left: where the bend reads the picture. Right: the bent picture.")
                bend = gr.Image(**look)
                with gr.Row():
                    plain, dec = (gr.Label(num_top_classes=TOP, label=side) for side in ("plain", "with DEC"))
                gr.Markdown("Left: where the DEC reads the bent picture. Right: what comes out. A row per site.")
                sites = gr.Image(**look)
                words = gr.Markdown()
        controls: list[Any] = [name, upload, x, y, strength, knots]
        changes = [page.load, *(control.change for control in controls)]
        gr.on(changes, answer, controls, [bend, plain, dec, sites, words], trigger_mode="always_last")
        gr.on([page.load, name.change, upload.change], show, [name, upload], shown, api_visibility="private")
        shown.select(place, None, [x, y], api_visibility="private")
    return page


def top(pair: Pair, probabilities: Tensor) -> dict[str, float]:
    """The likeliest classes; those of one name are told apart by their numbers."""
    values, classes = probabilities.topk(min(TOP, len(probabilities)))
    names = class_names(pair, len(probabilities))
    told = [names[k] if names.count(names[k]) == 1 else f"{names[k]} ({k})" for k in classes.tolist()]
    return {name: round(value, 4) for name, value in zip(told, values.tolist(), strict=True)}


def in_words(still: Comparison, found: Comparison) -> str:
    """How far the bend moves both answers, and how the search for each site's warp ended."""
    moved = [(found.plain - still.plain).norm().item(), (found.dec - still.dec).norm().item()]
    lines = [f"The bend moves the probabilities by {moved[0]:.3f} (plain) and {moved[1]:.3f} (with DEC), in L2 norm."]
    lines += [f"Site {v.name}: {v.steps} solver steps, relative residual {v.residual:.1e}." for v in found.sites]
    return "\n\n".join(lines)


if __name__ == "__main__":
    main()
