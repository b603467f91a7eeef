"""Makes a multi-scale set: finds the labelled object of each picture, takes it out, and puts it back at several scales.

    python inpaint_imagenet.py --dataset_path IMAGENET --output_path MULTI_SCALE --subset val --max_images 1000
    python inpaint_imagenet.py --dataset_path PICTURES --annotations instances.json --output_path MULTI_SCALE
    python inpaint_imagenet.py --verify MULTI_SCALE

Reads IMAGENET/val/SYNSET/NAME.JPEG and writes MULTI_SCALE/val/SYNSET/NAME_scale_S.JPEG, and beside the synsets a
manifest.jsonl of what was done. With --annotations, a file in COCO's format, every object of it that is not a crowd
counts as a picture, the files that it names lie in PICTURES, and no model is needed. The same command goes on after a
kill.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from multiscale.coco import coco_sources
from multiscale.errors import NoPictures, SettingsError, Stopped, missing_lama
from multiscale.local import run_local
from multiscale.manifest import Counts, Manifest, Record
from multiscale.picture import Picture, Source
from multiscale.settings import DETECTOR, SEGMENTER, Job, Settings
from multiscale.sources import folder_sources, read_synsets, sampled
from multiscale.verify import manifests, problems
from multiscale.write import sweep

SYNSETS = Path(__file__).parent / "imagenet_synsets.txt"
MOST_PROBLEMS = 20  # that are shown
SHARED = {  # settings that the command line has under the same name
    *("scale_one", "mask_inflation", "mask_blur", "box_threshold", "min_mask_in_box", "jpeg_quality"),
    *("sampling", "seed", "batch_size"),
}


def main() -> int:
    """Runs from the command line; returns 0, or 1 where something is wrong."""
    parser = build_parser()
    options = parser.parse_args()
    try:
        if options.verify:
            return verify(options.verify)
        if not (options.dataset_path and options.output_path):
            parser.error("--dataset_path and --output_path are needed (or --verify)")
        return generate(options)
    except Stopped as error:
        print(f"inpaint_imagenet.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    own = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--dataset_path", type=Path, help="folder of the splits; with --annotations, of their pictures")
    add("--output_path", type=Path, help="takes SUBSET/CLASS/NAME_scale_S.JPEG")
    add("--subset", default="train", help="split: train or val (train)")
    add("--scale_factors", type=float, nargs="+", default=own.scale_factors, help="1.3 1.2 1.1 1 .9 .8 .7")
    add("--max_images", type=int, default=10000, help="pictures that are taken (10000); more begin with the same")
    add("--mask_inflation", type=int, default=own.mask_inflation, help="pixels by which the hole is larger (5)")
    add("--mask_blur", type=int, default=own.mask_blur, help="a third of the width of the hole's soft edge (2)")
    add("--debug", action="store_true", help="save mask, hole and background in OUTPUT_PATH/debug")
    add("--seed", type=int, default=own.seed, help="of the pictures that are taken (0)")
    add("--sampling", choices=("uniform", "balanced"), default=own.sampling, help="over pictures, or classes in turn")
    add("--batch_size", type=int, default=own.batch_size, help="pictures that the models see together (8)")
    add("--annotations", type=Path, help="COCO file of boxes and masks, instead of detector and segmenter")
    add("--detector_model", help=f"Grounding DINO, name or folder ({DETECTOR})")
    add("--segmenter_model", help=f"SAM, name or folder ({SEGMENTER})")
    add("--inpainter_model", help="LaMa, a TorchScript file; without it OpenCV's Telea, which needs no weights")
    add("--device", help="of the models (cuda where there is one, else cpu)")
    add("--box_threshold", type=float, default=own.box_threshold, help="least score of a box (0.35)")
    add("--min_mask_in_box", type=float, default=own.min_mask_in_box, help="least share of the mask in the box (0.8)")
    add(
        "--scale_one",
        choices=("original", "composite"),
        default=own.scale_one,
        help="the picture itself, or pasted too",
    )
    add("--jpeg_quality", type=int, default=own.jpeg_quality, help="of all scales (75)")
    add("--synsets", type=Path, default=SYNSETS, help="text file of the known classes (imagenet_synsets.txt)")
    add("--engine", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster")
    add("--workers", type=int, default=1, help="processes, or actors of each stage (1)")
    add("--ray_address", help="of a running cluster, for instance auto; without it Ray starts on this machine")
    add("--resume", action=argparse.BooleanOptionalAction, default=True, help="go on where a run was stopped (default)")
    add("--preview", type=int, default=0, metavar="N", help="draw contact sheets of the first N pictures")
    add("--verify", type=Path, metavar="DIR", help="hold a finished set against its manifest, and do nothing else")
    return parser


def generate(options: argparse.Namespace) -> int:
    """Makes a set, or the rest of it; returns 1 if there is no group in it."""
    if options.workers < 1 or options.max_images < 1:
        raise SettingsError("--workers and --max_images must be at least 1")
    if options.ray_address and options.engine != "ray":
        raise SettingsError("--ray_address is for --engine ray")
    job, all_sources = build_job(options)
    settings, start = job.settings, time.monotonic()
    sources = sampled(all_sources, settings.sampling, settings.seed, options.max_images)
    header = {"settings": asdict(settings), "libraries": libraries(job)}
    with Manifest(job.split, header, sources, settings.batch_size, options.resume) as manifest:
        before = manifest.counts.pictures
        if before and (job.preview or job.debug):
            print(f"{before} pictures are done already: nothing is drawn of them", file=sys.stderr)
        with tqdm(total=len(sources), initial=before, unit="img", dynamic_ncols=True) as bar:
            for records in run(batches(sources, before, settings.batch_size), job, options):
                manifest.append(records)
                bar.set_postfix(skipped=manifest.counts.skipped.total(), refresh=False)
                bar.update(len(records))
        manifest.finish()
        sweep(job.split)
    print(report(manifest.counts, manifest.counts.pictures - before, time.monotonic() - start, manifest.path))
    if not manifest.counts.groups:
        print(f"no group was made; {manifest.path} says why, and must go before another try", file=sys.stderr)
    return int(not manifest.counts.groups)


def build_job(options: argparse.Namespace) -> tuple[Job, list[Source]]:
    """The settings of the command line, and all sources that there are."""
    annotated = options.annotations is not None
    if annotated and options.detector_model:
        raise SettingsError("--annotations and --detector_model exclude each other: either gives the boxes")
    if Path(options.subset).name != options.subset or options.subset in ("", "..", "preview", "debug"):
        raise SettingsError(f"--subset names the folder of a split, such as train or val, not '{options.subset}'")
    pictures, output = options.dataset_path.resolve(), options.output_path.resolve()  # a cluster works elsewhere
    if annotated:
        sources, classes = coco_sources(options.annotations), None
        if not any((pictures / source.file).is_file() for source in sources):
            raise NoPictures(f"{pictures} has none of the files that {options.annotations} names: check --dataset_path")
    else:
        pictures /= options.subset
        if (output / options.subset).is_relative_to(pictures):
            raise SettingsError(f"--output_path {output} would put the set among the pictures that it is made of")
        sources, classes = folder_sources(pictures), read_synsets(options.synsets)
    detector = None if annotated else options.detector_model or DETECTOR
    segmenter = options.segmenter_model or (None if annotated else SEGMENTER)
    inpainter = Path(options.inpainter_model).resolve() if options.inpainter_model else None
    if inpainter and not inpainter.is_file():
        raise missing_lama(inpainter, "there is no such file")
    given = {key: value for key, value in vars(options).items() if key in SHARED}
    settings = Settings(
        **given,
        scale_factors=tuple(float(f"{scale:g}") for scale in options.scale_factors),  # as the files are called
        detector=detector or "annotations",
        segmenter=segmenter or "annotations",
        inpainter=checksum(inpainter) if inpainter else "telea",
        annotations=checksum(options.annotations) if annotated else None,
        synsets=None if annotated else checksum(options.synsets),
    )
    job = Job(
        settings=settings,
        pictures=pictures,
        output=output,
        subset=options.subset,
        classes=classes,
        detector=found_here(detector),
        segmenter=found_here(segmenter),
        inpainter=inpainter,
        device=usable_device(options) if detector or segmenter or inpainter else "cpu",
        preview=options.preview,
        debug=options.debug,
    )
    return job, sources


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def found_here(model: str | None) -> str | None:
    """A model's folder under its whole path, or its name on the Hub."""
    return str(Path(model).resolve()) if model and Path(model).exists() else model


def usable_device(options: argparse.Namespace) -> str:
    """What was asked for, if it is there, or else a GPU where there is one; the machines of a cluster are not asked."""
    import torch

    if options.device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(options.device)
        if options.engine == "local":
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        first = (str(error).splitlines() or ["no reason is known"])[0]
        raise SettingsError(f"--device {options.device} cannot be used: {first}") from None
    return options.device


def batches(sources: Sequence[Source], start: int, size: int) -> Iterator[list[Picture]]:
    """What is left to do; the batches are the same wherever a run begins."""
    for first in range(start, len(sources), size):
        yield [Picture(first + k, source) for k, source in enumerate(sources[first : first + size])]


def run(work: Iterator[list[Picture]], job: Job, options: argparse.Namespace) -> Iterator[list[Record]]:
    """The lines of each batch, in order, from the engine that was asked for."""
    if options.engine == "local":
        return run_local(work, job, options.workers)
    try:
        from multiscale.cluster import run_ray
    except ImportError as error:
        raise SettingsError(
            f"--engine ray needs Ray (pip install 'ray[data]'), or take --engine local: {error}"
        ) from None
    return run_ray(work, job, options.workers, options.ray_address)


def libraries(job: Job) -> dict[str, str]:
    """Whose versions may change bytes."""
    names = ["numpy", "cv2", "PIL"]
    names += ["torch", "transformers"] * (job.detector is not None or job.segmenter is not None)
    names += ["torch"] * (job.inpainter is not None)
    return {name: importlib.import_module(name).__version__ for name in names}


def report(counts: Counts, done: int, seconds: float, path: Path) -> str:
    """The closing summary."""
    skipped = ", ".join(f"{word} {count}" for word, count in counts.skipped.most_common())
    return (
        f"{counts.pictures} pictures: {counts.groups} groups, {counts.files} files; "
        f"{counts.skipped.total()} skipped{f' ({skipped})' if skipped else ''}\n"
        f"{done} of them now, in {seconds:.0f} s, {done / seconds:.2f} pictures/s; {path}"
    )


def verify(folder: Path) -> int:
    """Holds a set against its manifests; 1 where they differ."""
    wrong = 0
    for path in manifests(folder):
        found = list(problems(path))
        wrong += len(found)
        for problem in found[:MOST_PROBLEMS]:
            print(problem)
        print(f"{path}: {len(found)} problems" if found else f"{path}: all files are as it has them")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
