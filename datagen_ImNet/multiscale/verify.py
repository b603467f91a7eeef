"""Holds a set against its manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from multiscale.errors import ManifestError, NoPictures
from multiscale.manifest import NAME, VERSION, Counts, Record, read_lines
from multiscale.picture import stays_below


def manifests(folder: Path) -> list[Path]:
    """That of a split, or those of all splits of a set.

    Raises:
        NoPictures: without any.
    """
    found = [folder / NAME] if (folder / NAME).is_file() else sorted(folder.glob(f"*/{NAME}"))
    if not found:
        raise NoPictures(f"there is no {NAME} in {folder} or in a folder of it")
    return found


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a split, a line each; nothing, if all its files are as the manifest has them."""
    try:
        yield from differences(path)
    except ManifestError as error:
        yield str(error)
    except (AttributeError, KeyError, TypeError) as error:
        yield f"{path} has a line that this program did not write: {error!r}"


def differences(path: Path) -> Iterator[str]:
    """The same, of a manifest whose lines are what they should be."""
    lines = read_lines(path)
    end, header = next(lines, (0, {}))
    if header.get("version") != VERSION:
        yield f"{path} has version {header.get('version')}; expected {VERSION}"
        return
    scales = {f"{scale:g}" for scale in header["settings"]["scale_factors"]}
    known: set[str] = set()
    counts, finished = Counts(), None
    with ThreadPoolExecutor() as pool:
        for number, (end, record) in enumerate(lines, 2):  # noqa: B007  (the last end is read)
            if "finished" in record:
                finished = record["finished"]
                continue
            counts.add([record])
            files = record.get("files", {})
            if "skipped" not in record and files.keys() != scales:
                yield f"line {number}: scales {', '.join(files)} instead of {', '.join(sorted(scales))}"
            known |= {entry["file"] for entry in files.values()}
            for found in filter(None, pool.map(partial(difference, path.parent), files.values())):
                yield f"line {number}: {found}"
    if path.stat().st_size != end:
        yield f"{path} ends in half a line"
    if finished is None:
        yield f"the set is not finished, with {counts.pictures} pictures in the manifest: its command goes on with it"
        return
    if finished != counts.record():
        yield f"the last line counts {finished}, the lines before it {counts.record()}"
    yield from (f"{name} is not in the manifest" for name in found_files(path.parent) if name not in known)


def difference(folder: Path, entry: Record) -> str | None:
    """What is wrong with a file."""
    if not stays_below(entry["file"]):
        return f"{entry['file']} lies outside of the split"
    try:
        content = (folder / entry["file"]).read_bytes()
    except OSError as error:
        return f"{entry['file']} cannot be read: {error.strerror}"
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        return f"{entry['file']} has another checksum, and {len(content)} bytes instead of {entry['bytes']}"
    return None


def found_files(split: Path) -> Iterator[str]:
    """All files below the folders of a split, those left half written too."""
    for above, folders, files in os.walk(split):
        folders.sort()
        if Path(above) != split:
            yield from sorted(Path(above, file).relative_to(split).as_posix() for file in files)
