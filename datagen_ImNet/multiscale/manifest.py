"""The journal of a set, ``manifest.jsonl``, by which a run goes on after a kill.

The first line holds the version, the settings and the libraries, then comes a line for each picture in the order of the
run, and at the end one with the counts. Lines are added a batch at a time, when all files of the batch are in place.
"""

from __future__ import annotations

import fcntl
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

from multiscale.errors import CannotWrite, ManifestError
from multiscale.picture import Source

NAME = "manifest.jsonl"
VERSION = 1

Record = dict[str, Any]


@dataclass
class Counts:
    """What has come of the pictures so far."""

    groups: int = 0
    files: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def pictures(self) -> int:
        """Those that are dealt with."""
        return self.groups + self.skipped.total()

    def add(self, records: Iterable[Record]) -> None:
        """Count what became of some pictures."""
        for record in records:
            if "skipped" in record:
                self.skipped[record["skipped"]] += 1
            else:
                self.groups += 1
                self.files += len(record["files"])

    def record(self) -> Record:
        """As the manifest's last line has it."""
        skipped = dict(sorted(self.skipped.items()))
        return {"pictures": self.pictures, "groups": self.groups, "files": self.files, "skipped": skipped}


class Manifest:
    """An open journal, which belongs to one run at a time.

    Args:
        split: folder of the set.
        header: settings and versions of the libraries.
        sources: in the order of the run.
        batch_size: of the settings.
        resume: whether there may be one; it is kept up to its last whole batch.
    """

    def __init__(self, split: Path, header: Record, sources: Sequence[Source], batch_size: int, resume: bool = True):
        self.path, self.counts = split / NAME, Counts()
        self.file = _locked(self.path)
        try:
            if not self.path.stat().st_size:
                self._write([{"version": VERSION, **header}])
            elif not resume:
                raise ManifestError(f"{self.path} exists: go on with it (--resume), or name another --output_path")
            else:
                self._take_up(header, sources, batch_size)
        except BaseException:
            self.close()
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Note a whole batch."""
        self._write(records)
        self.counts.add(records)

    def finish(self) -> None:
        """Note that nothing is left to do."""
        self._write([{"finished": self.counts.record()}])

    def close(self) -> None:
        """Let another run have it."""
        self.file.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_up(self, header: Record, sources: Sequence[Source], batch_size: int) -> None:
        """Count the whole batches that are done, and cut off what follows them."""
        lines = read_lines(self.path)
        begun = list(islice(lines, 2))
        if len(begun) < 2:  # no picture is in it, so its settings bind nobody
            self.file.truncate(0)
            return self._write([{"version": VERSION, **header}])
        kept, first = begun[0]
        compare(self.path, first, header)
        batch: list[Record] = []
        for end, record in chain(begun[1:], lines):
            if "finished" in record:
                break
            batch.append(record)
            number = self.counts.pictures + len(batch)
            self._check(record, number - 1, sources)
            if len(batch) == batch_size or number == len(sources):
                self.counts.add(batch)
                kept, batch = end, []
        self.file.truncate(kept)

    def _check(self, record: Record, number: int, sources: Sequence[Source]) -> None:
        if number >= len(sources):
            raise ManifestError(
                f"{self.path} has more than the {len(sources)} pictures of this run: raise --max_images"
            )
        source = sources[number]
        if (record.get("source"), record.get("object")) != (source.file, source.object_id):
            raise ManifestError(
                f"{self.path}: picture {number} is {record.get('source')} and would now be {source.file}: other files "
                "lie there than before, so name another --output_path"
            )

    def _write(self, records: Iterable[Record]) -> None:
        try:
            left = memoryview("".join(json.dumps(record) + "\n" for record in records).encode())
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            raise CannotWrite(f"{self.path} cannot be written: {error.strerror}") from error


def read_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """Each whole line of a manifest and where it ends; a last one that a kill has torn is left out."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise ManifestError(f"{path}: line {number} is no record")
            yield end, record


def compare(path: Path, found: Record, header: Record) -> None:
    """Raise unless a set was begun with the same settings; other versions of libraries are only told.

    Raises:
        ManifestError: with the settings that differ.
    """
    if found.get("version") != VERSION:
        raise ManifestError(f"{path} has version {found.get('version')}; this program writes version {VERSION}")
    before, now = found.get("settings", {}), json.loads(json.dumps(header["settings"]))
    if other := [
        f"{key} was {before.get(key)} and is {now.get(key)}" for key in now if before.get(key) != now.get(key)
    ]:
        raise ManifestError(f"{path} was begun with other settings: {'; '.join(other)}. Name another --output_path")
    before, now = found.get("libraries"), header["libraries"]
    if before != now:
        print(f"begun with {before}, goes on with {now}: bytes may differ", file=sys.stderr)


def _locked(path: Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ManifestError(f"another run is writing {path}") from None
    return file
